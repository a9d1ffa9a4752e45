"""The cohort table: a row a case with volumes, predicted Dice, flags, seconds and error, from a folder of results."""

from __future__ import annotations

import json
import logging
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.errors import OutputError
from abdoseg.image.volumetry import read_volumes
from abdoseg.io.record import needs_review
from abdoseg.runtime.files import write_csv, writing
from abdoseg.runtime.ledger import Ledger

LOG = logging.getLogger("abdoseg")
TABLE = "cohort.csv"
WHISKERS = 1.5  # interquartile ranges beyond the quartiles, where outliers begin. Source: Tukey 1977
FEWEST = 8  # volumes of an organ below which none is called an outlier


@dataclass(frozen=True)
class CohortRow:
    """One case. error: why it failed, None where it is done. review: whether a person should look at it. reasons: to
    look at an organ, by organ.

    volumes_ml: by organ, of those that were delivered. predicted_dice, confidence: of those that are there. cut: organs
    that the scan's border cuts. scan_warnings: those of warnings that doubt the scan, not an organ. report: its HTML
    page's name, where there is one.
    """

    case: str
    error: str | None = None
    exit_code: int = 0
    review: bool = False
    seconds: float | None = None
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    predicted_dice: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    scan_warnings: tuple[str, ...] = ()
    report: str | None = None

    @property
    def status(self) -> str:
        """failed, review or ok."""
        return "failed" if self.error else "review" if self.review else "ok"

    def whole_ml(self, organ: str) -> float | None:
        """The organ's volume in ml; None where it was not found, or is cut."""
        return None if organ in self.cut else self.volumes_ml.get(organ) or None

    @property
    def least_dice(self) -> float | None:
        """The lowest Dice that is predicted for one of its organs; None where none is."""
        return min(self.predicted_dice.values(), default=None)

    @property
    def badness(self) -> tuple[bool, bool, int, int, float]:
        """What rows are sorted by, the worst first: failures, review, then by reasons, warnings, and predicted Dice."""
        return (
            self.error is not None,
            self.review,
            sum(map(len, self.reasons.values())),
            len(self.warnings),
            1 - min(self.predicted_dice.values(), default=1.0),
        )


def read_cohort(folder: Path) -> list[CohortRow]:
    """The cases of a folder of results, the worst first: of its ledgers, of all shards and runs, and of its records.

    A case's last run counts. Raises OutputError when there is none.
    """
    lines = Ledger(folder).latest()
    rows = {}
    for case, record in _records(folder):
        try:
            rows[case] = _done(folder, case, record)
        except (AttributeError, TypeError, ValueError) as error:
            LOG.warning("%s: passed over, since it is damaged (%s)", folder / f"{case}.json", error)
    for case, line in lines.items():
        if line["status"] == "failed":
            rows[case] = CohortRow(case, line.get("error") or "failed", int(line.get("exit_code") or 1))
    if not rows:
        raise OutputError(f"{folder}: holds no results of abdoseg segment; name the folder given with -o")
    return sorted(rows.values(), key=lambda row: (*(-value for value in row.badness), row.case))


def organs_of(rows: Sequence[CohortRow]) -> list[str]:
    """The organs that the rows have, in the order of their labels."""
    found = {organ for row in rows for organ in row.volumes_ml}
    return sorted(found, key=lambda organ: BY_NAME[organ].label if organ in BY_NAME else math.inf)


def outliers(rows: Sequence[CohortRow], organ: str) -> list[CohortRow]:
    """The cases whose volume of the whole organ lies far from the others', the farthest first; none among a few."""
    known = [(volume, row) for row in rows if (volume := row.whole_ml(organ))]
    if len(known) < FEWEST:
        return []
    low, middle, high = statistics.quantiles([volume for volume, _ in known], n=4)
    reach = WHISKERS * (high - low)
    far = [(volume, row) for volume, row in known if not low - reach <= volume <= high + reach]
    return [row for _, row in sorted(far, key=lambda pair: -abs(pair[0] - middle))]


def write_table(rows: Sequence[CohortRow], path: Path) -> None:
    """Writes the rows as CSV, in the place of a former table. Raises OutputError."""
    organs = organs_of(rows)
    measured = [f"{organ}_{what}" for what in ("ml", "predicted_dice", "confidence") for organ in organs]
    names = ["case", "status", "reasons", "cut", "warnings", *measured, "seconds", "exit_code", "error"]
    with writing(path, overwrite=True) as temporary:
        write_csv(temporary, names, (_table_row(row, organs) for row in rows))


def _table_row(row: CohortRow, organs: Sequence[str]) -> list[object]:
    reasons = "; ".join(f"{organ}: {' '.join(reasons)}" for organ, reasons in row.reasons.items())
    measures = (row.volumes_ml, row.predicted_dice, row.confidence)
    numbers = [measure.get(organ, "") for measure in measures for organ in organs]
    ended = ["" if row.seconds is None else row.seconds, row.exit_code, row.error or ""]
    return [row.case, row.status, reasons, "; ".join(row.cut), "; ".join(row.warnings), *numbers, *ended]


def summary(rows: Sequence[CohortRow]) -> list[str]:
    """What the table says in two lines: counts by status, and each whole organ's median volume."""
    counts = {status: sum(row.status == status for row in rows) for status in ("failed", "review")}
    done = len(rows) - counts["failed"]
    volumes = []
    for organ in organs_of(rows):
        found = [volume for row in rows if (volume := row.whole_ml(organ))]
        if found:
            far = len(outliers(rows, organ))
            volumes.append(
                f"{title_of(organ)} {statistics.median(found):.0f} ml" + (f" (outliers: {far})" if far else "")
            )
    return [
        f"{done} of {len(rows)} cases are done, {counts['failed']} failed, {counts['review']} to review",
        f"median volumes: {', '.join(volumes) or 'none'}",
    ]


def _records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Our records in a folder, by case."""
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        versions = record.get("versions") if isinstance(record, dict) else None
        if isinstance(versions, dict) and "abdoseg" in versions:
            yield path.name.removesuffix(".json"), record


def _done(folder: Path, case: str, record: Mapping[str, Any]) -> CohortRow:
    quality: Mapping[str, Mapping[str, Any]] = record.get("quality", {})
    report = f"{case}_report.html"
    volumes = read_volumes(folder / f"{case}_volumes.csv")
    return CohortRow(
        case,
        review=needs_review(record),
        seconds=round(sum(record.get("seconds", {}).values()), 2),
        volumes_ml={row.organ: row.volume_ml for row in volumes},
        predicted_dice=_known(quality, "predicted_dice"),
        confidence=_known(quality, "confidence"),
        reasons={organ: tuple(found["reasons"]) for organ, found in quality.items() if found.get("reasons")},
        cut=tuple(row.organ for row in volumes if row.touches),
        warnings=tuple(record.get("warnings", ())),
        scan_warnings=tuple(record.get("scan_warnings", ())),
        report=report if (folder / report).exists() else None,
    )


def _known(quality: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float]:
    """A number of each organ's quality, of the organs that have one."""
    return {organ: round(float(found[name]), 3) for organ, found in quality.items() if found.get(name) is not None}
