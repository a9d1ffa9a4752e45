"""Changes between two time points of one patient: of volumes, of lesions, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from abdoseg.anatomy.organs import title_of
from abdoseg.evaluation.tables import Row, json_values
from abdoseg.image.lesions import Lesion
from abdoseg.image.registration import Registration

Status = Literal["matched", "split", "merged", "regrouped", "vanished", "new", "out_of_view", "not_compared"]
MEASURABLE_MM = 10.0  # longest axial diameter from which on RECIST 1.1 measures a lesion
STATUS: Mapping[Status, str] = MappingProxyType(
    {
        "matched": "one lesion in both scans",
        "split": "one lesion before, several where it was after",
        "merged": "several lesions before, one where they were after",
        "regrouped": "several lesions before that lie in several others after",
        "vanished": "before, and nowhere near after",
        "new": "after, and nowhere near before",
        "out_of_view": "where the other scan does not reach",
        "not_compared": "the livers could not be brought upon each other, or a scan was not searched for lesions",
    }
)


@dataclass(frozen=True)
class Change:
    """One quantity at both time points; None where it was not measured."""

    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """After less before."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def percent(self) -> float | None:
        """The difference in percent of what was before; None where that is nothing."""
        return 100 * (self.difference / self.before) if self.difference is not None and self.before else None

    def row(self, unit: str) -> Row:
        """Its values by column."""
        return {f"before_{unit}": self.before, f"after_{unit}": self.after, f"difference_{unit}": self.difference} | {
            f"difference_{unit}_percent": self.percent
        }


@dataclass(frozen=True)
class VolumeChange:
    """An organ's volume in ml; or the liver's burden in percent, whose difference is in percentage points.

    quantity: an organ's name, with `_with_lesions` where its lesions are part of it, or burden_percent. cut: which of
    before and after show the organ cut by the scan's border, so that the volume is a lower bound.
    """

    quantity: str
    change: Change
    cut: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The quantity for people."""
        if self.quantity == "burden_percent":
            return "burden"
        organ = self.quantity.removesuffix("_with_lesions")
        return f"{title_of(organ)}{' with lesions' if organ != self.quantity else ''}"

    @property
    def title(self) -> str:
        """The quantity for people, with its unit."""
        return f"{self.name}, {'%' if self.quantity == 'burden_percent' else 'ml'}"

    @property
    def percent(self) -> float | None:
        """The difference in percent of what was before; None where that is nothing, and of a burden."""
        return None if self.quantity == "burden_percent" else self.change.percent

    def row(self) -> Row:
        """Its values by column."""
        change = self.change
        values = {"before": change.before, "after": change.after, "difference": change.difference}
        return {"quantity": self.quantity, **values, "difference_percent": self.percent, "cut": ";".join(self.cut)}


@dataclass(frozen=True)
class LesionChange:
    """What became of a lesion, or of several that split or merged.

    before, after: numbered as in their own scan's table. distance_mm: between the centres of a matched pair after the
    registration.
    """

    status: Status
    before: tuple[Lesion, ...]
    after: tuple[Lesion, ...]
    distance_mm: float | None = None

    @property
    def title(self) -> str:
        """Numbers before and after, such as `2 → 1` or `1 → 1 + 3`; a dash for none."""
        sides = (" + ".join(str(lesion.number) for lesion in side) for side in (self.before, self.after))
        return " → ".join(side or "–" for side in sides)

    @property
    def volume_ml(self) -> Change:
        """Of all together; 0 where new or vanished."""
        return self._change(lambda lesion: lesion.volume_ml)

    @property
    def longest_axial_mm(self) -> Change:
        """The sum of the longest axial diameters, RECIST 1.1's rule for lesions that split; 0 where new or vanished."""
        return self._change(lambda lesion: lesion.longest_axial_mm)

    def row(self) -> Row:
        """Its values by column; several lesions' numbers and slices between semicolons."""
        sides = {"before": self.before, "after": self.after}
        numbers = {when: ";".join(str(lesion.number) for lesion in side) for when, side in sides.items()}
        slices = {f"slice_{when}": ";".join(str(one.slice_number) for one in side) for when, side in sides.items()}
        changes = self.volume_ml.row("ml") | self.longest_axial_mm.row("mm")
        return {"status": self.status, **numbers, **changes, **slices, "distance_mm": self.distance_mm}

    def _change(self, value: Callable[[Lesion], float]) -> Change:
        known = self.status not in ("out_of_view", "not_compared")
        before, after = (sum(map(value, side)) if side or known else None for side in (self.before, self.after))
        return Change(before, after)


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Two time points of one patient.

    before, after: the cases' names. lesions: those of before in their order, then new ones. registration: None where
    there is no lesion. misfits: why the livers do not lie upon each other, so that lesions are not matched. unsearched:
    which of before and after were not searched for lesions. warnings: the misfits, what else keeps lesions from being
    matched or makes it doubtful, and what the scans cut.
    """

    case: str
    before: str
    after: str
    volumes: tuple[VolumeChange, ...]
    lesions: tuple[LesionChange, ...] = ()
    registration: Registration | None = None
    misfits: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether the lesions were matched, or there was nothing to match."""
        return all(lesion.status != "not_compared" for lesion in self.lesions)

    @property
    def diameters_mm(self) -> Change:
        """The sum of the longest axial diameters of lesions that had 10 mm or more before, and what became of them.

        A lesion that vanished adds 0, one that split all of its parts; new lesions and those out of view add nothing.
        This is no RECIST response: a reader chooses the target lesions, at most two in an organ, and a new lesion is
        progression whatever the sum is.

        Source: Eisenhauer et al. 2009, RECIST 1.1, sections 3 and 4, doi:10.1016/j.ejca.2008.10.026.
        """
        followed = [
            lesion.longest_axial_mm
            for lesion in self.lesions
            if lesion.status not in ("out_of_view", "not_compared")
            and any(one.longest_axial_mm >= MEASURABLE_MM for one in lesion.before)
        ]
        if not followed:
            return Change(None, None)
        return Change(sum(one.before or 0.0 for one in followed), sum(one.after or 0.0 for one in followed))

    def count(self, status: Status) -> int:
        """How many rows of lesions have a status."""
        return sum(lesion.status == status for lesion in self.lesions)


def as_json(found: FollowUp) -> Row:
    """Everything, ready for json.dumps."""
    registration = found.registration
    return dict(
        json_values(
            {
                "case": found.case,
                "before": found.before,
                "after": found.after,
                "warnings": found.warnings,
                "registration": registration
                and {
                    "dice": registration.dice,
                    "common": registration.common,
                    "shift_mm": registration.shift_mm,
                    "rotation_degrees": registration.rotation_degrees,
                    "matrix_ras_mm": registration.matrix.tolist(),
                },
                "volumes": [change.row() for change in found.volumes],
                "lesions": [change.row() for change in found.lesions],
                "sum_of_longest_diameters": found.diameters_mm.row("mm"),
            }
        )
    )
