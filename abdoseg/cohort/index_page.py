"""The cohort's index page: one self-contained HTML file that lists every case, the worst first, with its preview."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.cohort.table import CohortRow, organs_of, outliers, summary
from abdoseg.cohort.thumbnail import thumbnail_path
from abdoseg.errors import OutputError
from abdoseg.rendering.charts import DataPoint, Series, box_plot
from abdoseg.rendering.html import data_uri, hex_colour, render_page
from abdoseg.rendering.slices import colour_of
from abdoseg.runtime.files import writing

PAGE = "index.html"
MARK = "A cohort segmented by abdoseg"  # by which the page is known as ours, to be replaced
TONES = {"failed": "bad", "review": "warn", "ok": "good"}
HINT = "The worst first; the predicted Dice is the lowest of its organs. A click on a header sorts."
NO_REPORTS = (
    " Once there are reports of the cases (abdoseg export with --report on this folder), their names lead there."
)
NAMED = 12  # outliers of an organ whose cases are named
MOST_DOTS = 2000  # of an organ; beyond, the plot is left out, since it would make the page slow


def write_index(rows: Sequence[CohortRow], folder: Path) -> Path:
    """Writes the page into the results' folder, in the place of a former one. Raises OutputError for another's page."""
    path = folder / PAGE
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:20_000]:
        raise OutputError(f"{path}: is not a page of abdoseg's; move it, or write the results into another folder")
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(index_page(rows, folder), encoding="utf-8")
    return path


def index_page(rows: Sequence[CohortRow], folder: Path) -> str:
    """The page as text. folder: where reports and thumbnails lie."""
    organs = organs_of(rows)
    counts = {status: sum(row.status == status for row in rows) for status in TONES}
    return render_page(
        "cohort.html",
        folder.resolve().name,
        lead=f"{MARK}. For research; not a medical device.",
        foot=f"abdoseg {__version__}",
        figures=[
            ("cases", len(rows)), ("done", len(rows) - counts["failed"]), ("failed", counts["failed"]),
            ("to review", counts["review"]),
        ],
        glance=f"{summary(rows)[1].capitalize()}.",
        notes=_outlier_notes(rows, organs),
        boxes=_boxes(rows, organs),
        hint=HINT + ("" if any(row.report for row in rows) else NO_REPORTS),
        statuses=list(counts.items()),
        headers=["case", "status", "why", *(f"{title_of(organ)}, ml" for organ in organs), "predicted Dice", "seconds"],
        numeric=range(3, len(organs) + 5),
        rows=[_row(row, organs, folder) for row in rows],
    )  # fmt: skip


def _row(row: CohortRow, organs: Sequence[str], folder: Path) -> dict[str, Any]:
    numbers = [_number(row.volumes_ml.get(organ), "{:.0f}") for organ in organs]
    return {
        "case": row.case,
        "status": row.status,
        "tone": TONES[row.status],
        "why": row.error or "; ".join(_reasons(row) or row.warnings),
        "numbers": [*numbers, _number(row.least_dice, "{:.2f}"), _number(row.seconds, "{:.1f}")],
        "report": quote(row.report) if row.report else None,
        "preview": _preview(thumbnail_path(folder, row.case)),
    }


def _reasons(row: CohortRow) -> list[str]:
    """Why to look at a case, in few words: its organs' reasons, those that are cut, and what is said of the scan."""
    flags = [f"{title_of(organ)}: {', '.join(reasons).replace('_', ' ')}" for organ, reasons in row.reasons.items()]
    cut = [f"cut by the scan's border: {', '.join(map(title_of, row.cut))}"] if row.cut else []
    return [*row.scan_warnings, *flags, *cut]


def _number(value: float | None, form: str) -> tuple[str, str]:
    """A number's text, and what it is sorted by."""
    return ("", "") if value is None else (form.format(value), str(value))


def _preview(path: Path) -> str | None:
    try:
        return data_uri(path.read_bytes(), "image/jpeg")
    except OSError:
        return None


def _outlier_notes(rows: Sequence[CohortRow], organs: Sequence[str]) -> list[str]:
    notes = []
    for organ in organs:
        far = outliers(rows, organ)
        if far:
            cases = ", ".join(f"{row.case} ({row.volumes_ml[organ]:.0f} ml)" for row in far[:NAMED])
            notes.append(f"{title_of(organ)}, volumes far from the others': {cases}{', ...' if far[NAMED:] else ''}")
    return notes


def _boxes(rows: Sequence[CohortRow], organs: Sequence[str]) -> Sequence[str]:
    """One plot an organ, of those that are whole, since organs' volumes differ tenfold."""
    if len(rows) > MOST_DOTS:
        return []
    plots = []
    for organ in organs:
        points = tuple(DataPoint(volume, row.case) for row in rows if (volume := row.whole_ml(organ)))
        label = BY_NAME[organ].label if organ in BY_NAME else 0
        if points:
            series = Series(title_of(organ), hex_colour(colour_of(organ, label)), points)
            plots.append(box_plot([series], "ml"))
    return plots
