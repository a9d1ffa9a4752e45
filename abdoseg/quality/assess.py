"""Each organ's quality: numbers for the record and the CSV, and the reasons why a person should look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.anatomy.reference_ranges import ENLARGED_ML, HEALTHY_ML, Range, expected_hu
from abdoseg.image.volume import Geometry
from abdoseg.image.volumetry import OrganVolume
from abdoseg.quality.confidence import REVIEW, predict
from abdoseg.quality.evidence import Evidence, gaps_mm
from abdoseg.quality.odd_parts import KIDNEYS, OddPart

# Why a person should look at an organ; `wording` says it in a sentence.
Reason = Literal[
    "not_found",
    "removed",
    "doubtful",
    "uncertain",
    "corrected",
    "rival",
    "unclaimed",
    "ascites",
    "mass",
    "hydronephrosis_or_cyst",
    "small",
    "atrophy",
    "large",
    "hepatomegaly",
    "splenomegaly",
    "unusual_hu",
    "wrong_side",
    "misplaced",
    "apart",
    "unequal",
]
DOUBTFUL = 0.85  # mean probability below which an organ is to be looked at
CORRECTED = 0.05  # fraction of an organ's volume that post-processing changed
DROPPED_RIVAL = 0.2  # fraction of it that a dropped piece has: that piece may be the organ
UNCLAIMED = 0.08  # of it, like tissue beyond its border: .044 at most in 34 scans, .14 and more where a part was missed
DISEASED = 1.5  # times beyond the range of healthy adults, where no source says from where on an organ is enlarged
UNEQUAL = 2.0  # one kidney's volume over the other's
WRONG_SIDE_MM = 10.0  # an organ that is all further beyond the body's middle is on the wrong side
NEAR_MM = 15.0  # between surfaces
# Between surfaces; in 23 patients no right kidney is further than 10 mm from the liver, no left one than 25 from the
# spleen.
FAR_MM = 40.0
NEXT_TO = {"kidney_right": "liver", "kidney_left": "spleen"}
# The first organ's centre lies further right (axis 0), forwards (1) or up (2) than the other's, by at least so many mm.
# In the same patients the least are 90, 115, 108, 16, 22, 6 and 8 mm; a scan's end may make it less.
ORDER = (
    ("liver", "kidney_left", 0, 0.0),
    ("liver", "spleen", 0, 0.0),
    ("kidney_right", "kidney_left", 0, 0.0),
    ("liver", "kidney_right", 1, -20.0),
    ("liver", "kidney_left", 1, -20.0),
    ("liver", "kidney_right", 2, -30.0),
    ("liver", "kidney_left", 2, -30.0),
)
COLUMNS = (
    "confidence",
    "entropy",
    "predicted_dice",
    "p_below_85",
    "pieces_dropped",
    "dropped_ml",
    "unclaimed_ml",
    "expected_ml",
    "expected_hu",
    "side",
    "neighbours",
    "review",
    "reasons",
)
ENLARGED: Mapping[str, Reason] = MappingProxyType({"liver": "hepatomegaly", "spleen": "splenomegaly"})
RIGHT, LEFT = ("liver", "kidney_right"), ("spleen", "kidney_left")


class Corrections(Protocol):
    """What post-processing changed of an organ."""

    @property
    def pieces(self) -> int: ...
    @property
    def dropped_ml(self) -> float: ...
    @property
    def largest_ml(self) -> float: ...
    @property
    def fluid_ml(self) -> float: ...
    @property
    def total_ml(self) -> float: ...
    def sentences(self, organ: str) -> list[str]: ...


@dataclass(frozen=True)
class Quality:
    """One organ's. None where the organ is absent, or where no reference is known.

    confidence: mean probability over its voxels against the likeliest other organ. entropy: mean bits of that choice.
    predicted_dice, p_below_85: the Dice to be expected, and the probability that it is below .85; see `confidence`.
    pieces_dropped, dropped_ml: what was no part of it. largest_dropped_ml: the largest piece of that. fluid_ml: fluid
    that lay on it. corrected_ml: all that post-processing changed. unclaimed_ml: tissue like it that joins it beyond
    its border. odd_part: of other HU, a mass or fluid. expected_ml: of healthy adults. expected_hu: of its tissue in
    any phase. side: of the body's middle, where that is known. neighbours: organs within 15 mm. reasons: why to look.
    """

    confidence: float | None
    entropy: float | None
    predicted_dice: float | None
    p_below_85: float | None
    pieces_dropped: int
    dropped_ml: float
    largest_dropped_ml: float
    fluid_ml: float
    corrected_ml: float
    unclaimed_ml: float | None
    odd_part: OddPart | None
    expected_ml: Range | None
    expected_hu: Range | None
    side: str | None
    neighbours: tuple[str, ...]
    reasons: tuple[Reason, ...]

    @property
    def review(self) -> bool:
        """Whether a person should look at the organ."""
        return bool(self.reasons)


def columns(quality: Mapping[str, Quality]) -> dict[str, dict[str, object]]:
    """The columns of the volumes CSV: a value by organ, lists parted by ";", ranges as "low..high"."""
    found = {name: {organ: getattr(one, name) for organ, one in quality.items()} for name in COLUMNS}
    return {name: {organ: _text_of(value) for organ, value in values.items()} for name, values in found.items()}


def recorded_quality(record: Mapping[str, Any]) -> dict[str, Quality]:
    """The quality by organ that a run's record holds; empty for a record without it, or of another version's."""
    names = [field.name for field in fields(Quality)]
    try:
        return {
            organ: Quality(**{name: _frozen(name, values[name]) for name in names})
            for organ, values in record.get("quality", {}).items()
        }
    except (AttributeError, KeyError, TypeError):
        return {}


def _frozen(name: str, value: Any) -> Any:
    if name == "odd_part" and value is not None:
        return OddPart(**value)
    return tuple(value) if isinstance(value, list) else value


def _text_of(value: object) -> object:
    if not isinstance(value, tuple):
        return value
    if value and isinstance(value[0], float):
        return "..".join(f"{end:.0f}" for end in value)
    return ";".join(value)


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of a case from the network's grid. evidence: of the organs that stay. removed: why others do not.

    middle: index along I of the grid's that halves the body; None when that is not known. odd_parts: by organ.
    """

    evidence: Mapping[str, Evidence]
    corrections: Mapping[str, Corrections]
    removed: Mapping[str, str]
    geometry: Geometry
    middle: float | None
    odd_parts: Mapping[str, OddPart] = field(default_factory=dict)


def assess(rows: Sequence[OrganVolume], found: Findings) -> dict[str, Quality]:
    """The quality of each row's organ."""
    gaps = gaps_mm(found.evidence, FAR_MM)
    result = {}
    for row in rows:
        organ, corrections = row.organ, found.corrections[row.organ]
        evidence = found.evidence.get(organ) if row.voxels else None
        across = _across_mm(evidence, found)
        odd_part = found.odd_parts.get(organ) if evidence else None
        near = sorted(other for other, gap in gaps.get(organ, {}).items() if gap <= NEAR_MM)
        prediction = predict(organ, found.evidence, corrections) if evidence else None
        reasons = _itself(row, evidence, corrections, organ in found.removed)
        if odd_part:
            reasons.append("hydronephrosis_or_cyst" if odd_part.fluid else "mass")
        if prediction and prediction.p_poor >= REVIEW and "doubtful" not in reasons:
            reasons.append("uncertain")
        if evidence:
            reasons += ["wrong_side"] if _is_wrong(organ, across) else []
            reasons += _place(organ, found.evidence, gaps)
            reasons += ["unequal"] if _is_unequal(row, rows) else []
        result[organ] = Quality(
            confidence=evidence.confidence if evidence else None,
            entropy=evidence.entropy if evidence else None,
            predicted_dice=prediction.dice if prediction else None,
            p_below_85=prediction.p_poor if prediction else None,
            pieces_dropped=corrections.pieces,
            dropped_ml=corrections.dropped_ml,
            largest_dropped_ml=corrections.largest_ml,
            fluid_ml=corrections.fluid_ml,
            corrected_ml=corrections.total_ml,
            unclaimed_ml=evidence.unclaimed_ml if evidence else None,
            odd_part=odd_part,
            expected_ml=HEALTHY_ML.get(organ),
            expected_hu=expected_hu(organ),
            side=None if across is None else "right" if across.mean() > 0 else "left",
            neighbours=tuple(near),
            reasons=tuple(dict.fromkeys(reasons)),
        )
    return result


def _itself(row: OrganVolume, evidence: Evidence | None, corrections: Corrections, removed: bool) -> list[Reason]:
    """The reasons that lie in the organ itself."""
    lesion = BY_NAME[row.organ].is_lesion
    if evidence is None:  # a liver without tumours is as it should be
        return [] if lesion else ["removed" if removed else "not_found"]
    reasons: list[Reason] = ["doubtful"] if evidence.confidence < DOUBTFUL else []
    if lesion:
        return reasons
    if corrections.total_ml > CORRECTED * row.volume_ml:
        reasons.append("corrected")
    if corrections.largest_ml > DROPPED_RIVAL * row.volume_ml:
        reasons.append("rival")
    if evidence.unclaimed_ml > UNCLAIMED * evidence.volume_ml:
        reasons.append("unclaimed")
    if corrections.fluid_ml > 0:
        reasons.append("ascites")
    low, high = HEALTHY_ML.get(row.organ, (0.0, np.inf))
    if row.complete and row.volume_ml < low / DISEASED:
        reasons.append("atrophy" if row.organ in KIDNEYS else "small")
    if row.volume_ml > ENLARGED_ML.get(row.organ, high * DISEASED):
        reasons.append(ENLARGED.get(row.organ, "large"))
    dark, bright = expected_hu(row.organ) or (-np.inf, np.inf)
    if row.mean_hu is not None and not dark <= row.mean_hu <= bright:
        reasons.append("unusual_hu")
    return reasons


def _across_mm(evidence: Evidence | None, found: Findings) -> npt.NDArray[np.float64] | None:
    """(N,) how far the organ's points lie to the right of the body's middle; None when either is not known."""
    if evidence is None or found.middle is None:
        return None
    to_grid = np.linalg.inv(found.geometry.affine)
    at = evidence.points_mm @ to_grid[0, :3] + to_grid[0, 3]
    return np.asarray((at - found.middle) * found.geometry.spacing_mm[0])


def _is_wrong(organ: str, across_mm: npt.NDArray[np.float64] | None) -> bool:
    """Whether the whole organ lies clearly on the other side."""
    if across_mm is None:
        return False
    if organ in RIGHT:
        return bool(across_mm.max() < -WRONG_SIDE_MM)
    return organ in LEFT and bool(across_mm.min() > WRONG_SIDE_MM)


def _place(organ: str, evidence: Mapping[str, Evidence], gaps: Mapping[str, Mapping[str, float]]) -> Iterator[Reason]:
    """The reasons that lie in where the organ is among the others."""
    for one, other, axis, least_mm in ORDER:
        if organ not in (one, other) or one not in evidence or other not in evidence:
            continue
        if evidence[one].centre_mm[axis] - evidence[other].centre_mm[axis] < least_mm:
            yield "misplaced"
    if gaps[organ].get(NEXT_TO.get(organ, ""), 0.0) > FAR_MM:
        yield "apart"


def _is_unequal(row: OrganVolume, rows: Sequence[OrganVolume]) -> bool:
    """Whether a kidney is less than half as large as the other, both being whole."""
    others = [other for other in rows if other.organ.startswith("kidney") and other.complete]
    return row in others and row.volume_ml * UNEQUAL < max(other.volume_ml for other in others)
