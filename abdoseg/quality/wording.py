"""Quality in words: a warning, with its numbers, for each thing that a person should look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from abdoseg.anatomy.organs import title_of
from abdoseg.anatomy.reference_ranges import ENLARGED_ML
from abdoseg.image.volumetry import OrganVolume
from abdoseg.quality.assess import CORRECTED, FAR_MM, NEXT_TO, Quality, Reason
from abdoseg.quality.odd_parts import KIDNEYS


def sentences(rows: Sequence[OrganVolume], quality: Mapping[str, Quality], removed: Mapping[str, str]) -> list[str]:
    """A warning for each thing that a person should look at. removed: why an organ was, in half a sentence."""
    lines = [f"{title_of(organ)}: removed, since {why}" for organ, why in removed.items()]
    if removed and not any(row.voxels for row in rows):
        return [f"no organ was found for certain; removed: {', '.join(map(title_of, removed))}", *lines]
    for row in rows:
        found, name = quality[row.organ], title_of(row.organ)
        if row.touches:
            lines.append(f"{name}: reaches the scan's {', '.join(row.touches)} border; its volume is a lower bound")
        texts = [_text(reason, row, found, rows) for reason in found.reasons]
        lines += [f"{name}: {text}" for text in texts if text]
    return lines


def _text(reason: Reason, row: OrganVolume, found: Quality, rows: Sequence[OrganVolume]) -> str | None:
    """What a reason means for an organ; None where other warnings say it. rows: of all organs."""
    match reason:
        case "removed":
            return None
        case "not_found":
            return "not found in this scan"
        case "doubtful":
            return f"the network is in doubt (confidence {found.confidence:.2f})"
        case "uncertain":
            expected = f"probability {found.p_below_85:.2f}; expected Dice {found.predicted_dice:.2f}"
            return f"its Dice may be below .85 ({expected})"
        case "corrected":
            told_ml = found.fluid_ml + (found.largest_dropped_ml if "rival" in found.reasons else 0.0)
            if found.corrected_ml - told_ml <= CORRECTED * row.volume_ml:
                return None
            return f"{_part(found.corrected_ml, row)} were changed by post-processing"
        case "rival":
            return f"a piece of {_part(found.largest_dropped_ml, row)} was dropped"
        case "unclaimed":
            part = _part(found.unclaimed_ml or 0.0, row)
            return f"{part} of tissue like it join it, with no edge between: was a part missed?"
        case "ascites":
            return f"{_part(found.fluid_ml, row)} of fluid lay on it and were cut off: ascites?"
        case "mass" | "hydronephrosis_or_cyst":
            odd = found.odd_part
            assert odd is not None  # it is the reason
            part = f"about {odd.ml:.0f} ml ({odd.ml / (odd.organ_ml or row.volume_ml):.0%} of it)"
            if odd.fluid:
                return f"{part} of fluid ({odd.hu:.0f} HU) in it or at it: a dilated pelvis or a cyst?"
            what = "a tumour, a cyst, or a mass or fluid beside it?"
            return f"{part} have {odd.hu:.0f} HU, the rest about {odd.usual_hu:.0f}: {what}"
        case "small":
            return _size("unusually small", row, found)
        case "large":
            return _size("unusually large", row, found)
        case "atrophy":
            return f"{_size('unusually small', row, found)}: atrophy?"
        case "hepatomegaly" | "splenomegaly":
            return f"{_size(f'enlarged, more than {ENLARGED_ML[row.organ]:.0f} ml,', row, found)}: {reason}?"
        case "unusual_hu":
            dark, bright = found.expected_hu or (0.0, 0.0)
            return f"{row.mean_hu:.0f} HU is not its tissue's in any phase ({dark:.0f} to {bright:.0f})"
        case "wrong_side":
            return "lies on the other side of the body; are the file's axes right?"
        case "misplaced":
            return "does not lie where the other organs say that it should"
        case "apart":
            return f"lies more than {FAR_MM:.0f} mm from the {title_of(NEXT_TO[row.organ])}"
        case "unequal":
            (other,) = (other for other in rows if other.organ in KIDNEYS and other is not row)
            return f"less than half as large as the other one ({row.volume_ml:.0f} ml, {other.volume_ml:.0f} ml)"


def _part(ml: float, row: OrganVolume) -> str:
    return f"{ml:.0f} ml ({ml / row.volume_ml:.0%} of it)"


def _size(what: str, row: OrganVolume, found: Quality) -> str:
    low, high = found.expected_ml or (0.0, 0.0)
    return f"{row.volume_ml:.0f} ml is {what} for an adult (healthy: {low:.0f} to {high:.0f} ml)"
