"""Two time points of one patient: volumes side by side, and lesions matched after a rigid registration of the liver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, LESION, host_of
from abdoseg.errors import DatasetError
from abdoseg.evaluation.tables import Row, json_values
from abdoseg.image.components import Mask
from abdoseg.image.lesions import Lesion, number_lesions
from abdoseg.image.registration import Registration, in_view, moved_points, register
from abdoseg.image.volume import Affine, Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes
from abdoseg.rendering.slices import title_of

Floats = npt.NDArray[np.float64]
Status = Literal["matched", "split", "merged", "regrouped", "vanished", "new", "out_of_view", "not_compared"]
ORGAN = host_of(LESION)
# Dice of registered livers: of two patients .72 in the median of 40 pairs and .83 at most; of one patient in two phases
# .92 and more; bent by waves of 2 mm .95 and more, with 70 ml grown at its surface .90 and more (18 livers each).
REFUSED_DICE, DOUBTED_DICE = 0.80, 0.90
REFUSED_COMMON, DOUBTED_COMMON = 0.3, 0.7  # fraction of the liver that both scans show
REACH_MM = 10.0  # added to the larger one's radius, between centres of lesions that may be one: livers are not rigid
INSIDE = 0.5  # fraction of a lesion without a partner that makes it a part of the lesion that it lies in
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


@dataclass(frozen=True, eq=False)
class TimePoint:
    """One scan's labels and what was measured of them.

    lesions: of the liver, the largest first; None where they were not looked for. scan: on the labelmap's grid.
    """

    case: str
    labelmap: Labelmap
    rows: tuple[OrganVolume, ...]
    lesions: tuple[Lesion, ...] | None
    scan: Volume | None = None


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
    def title(self) -> str:
        """The quantity for people, with its unit."""
        if self.quantity == "burden_percent":
            return "burden, %"
        organ = self.quantity.removesuffix("_with_lesions")
        return f"{title_of(organ)}{' with lesions' if organ != self.quantity else ''}, ml"

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


def follow(case: str, before: TimePoint, after: TimePoint) -> FollowUp:
    """Compares two time points of one patient.

    Two lesions may be one where their centres, after the registration, are no further apart than the larger one's
    radius and 10 mm; of all ways to match them that with the smallest distances, each relative to that limit, is taken.
    A lesion that has no partner then is a part of the one in which half of it or more lies.

    Raises:
        DatasetError: a scan shows no liver.
    """
    points = {"before": before, "after": after}
    for when, point in points.items():
        if not any(row.organ == ORGAN and row.voxels for row in point.rows):
            raise DatasetError(f"{point.case}, {when}: no {ORGAN} among its labels; name labelmaps that hold one")
    volumes = tuple(_volume_changes(before.rows, after.rows))
    warnings = [
        f"{change.quantity.replace('_', ' ')}: cut by the scan's border {' and '.join(change.cut)}; "
        "the difference is not that of the whole organ"
        for change in volumes
        if change.cut
    ]
    unsearched = tuple(when for when, point in points.items() if point.lesions is None)
    if unsearched:
        warnings.append(
            f"lesions were not looked for {' and '.join(unsearched)}: none is matched; segment with --tumour, or "
            "say with --searched that a labelmap without lesions shows that there are none"
        )
    if not before.lesions and not after.lesions:
        return FollowUp(case, before.case, after.case, volumes, unsearched=unsearched, warnings=tuple(warnings))
    registration = register(_liver(before), before.labelmap.geometry, _liver(after), after.labelmap.geometry)
    misfits = _misfits(registration, REFUSED_DICE, REFUSED_COMMON)
    if misfits or unsearched:
        warnings += [f"{misfit}; lesions are not matched" for misfit in misfits]
        lesions = [
            *(LesionChange("not_compared", (lesion,), ()) for lesion in before.lesions or ()),
            *(LesionChange("not_compared", (), (lesion,)) for lesion in after.lesions or ()),
        ]
    else:
        doubts = _misfits(registration, DOUBTED_DICE, DOUBTED_COMMON)
        warnings += [f"{misfit}; check that lesions are matched rightly" for misfit in doubts]
        lesions = list(_matched(before, after, registration))
    return FollowUp(
        case,
        before.case,
        after.case,
        volumes,
        lesions=tuple(lesions),
        registration=registration,
        misfits=tuple(misfits),
        unsearched=unsearched,
        warnings=tuple(warnings),
    )


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


def _volume_changes(before: Sequence[OrganVolume], after: Sequence[OrganVolume]) -> Iterator[VolumeChange]:
    """Every organ looked for at either time, in organ order; one with lesions also without them, and its burden."""
    for organ in BY_NAME:
        sides = [next((row for row in rows if row.organ == organ), None) for rows in (before, after)]
        there = [row for row in sides if row is not None]
        if not there:
            continue
        cut = tuple(
            when for when, row in zip(("before", "after"), sides, strict=True) if row is not None and row.touches
        )
        if all(row.with_lesions_ml is None for row in there):
            yield VolumeChange(organ, _change(sides, lambda row: row.volume_ml), cut)
        else:
            yield VolumeChange(f"{organ}_with_lesions", _change(sides, _whole_ml), cut)
            yield VolumeChange(
                organ, _change(sides, lambda row: None if row.with_lesions_ml is None else row.volume_ml)
            )
            yield VolumeChange("burden_percent", _change(sides, lambda row: row.burden_percent))


def _change(sides: Sequence[OrganVolume | None], value: Callable[[OrganVolume], float | None]) -> Change:
    before, after = (None if row is None else value(row) for row in sides)
    return Change(before, after)


def _whole_ml(row: OrganVolume) -> float:
    """The organ with the lesions in it, which are part of its label where they were not looked for."""
    return row.volume_ml if row.with_lesions_ml is None else row.with_lesions_ml


def _liver(point: TimePoint) -> Mask:
    """(I, J, K) the liver with its lesions."""
    labels = [label for label, organ in point.labelmap.organs.items() if organ in (ORGAN, LESION)]
    return np.isin(point.labelmap.labels, labels)


def _misfits(registration: Registration, least_dice: float, least_common: float) -> list[str]:
    """Why the livers do not lie upon each other as one patient's should."""
    found = []
    if registration.dice < least_dice:
        found.append(
            f"after registration the livers overlap by a Dice of {registration.dice:.2f}, where one patient's reach "
            f"{DOUBTED_DICE} and two patients' .72: are these scans of one patient, with the whole liver labelled"
        )
    if registration.common < least_common:
        found.append(f"both scans show only {100 * registration.common:.0f} % of the liver")
    return found


def _matched(before: TimePoint, after: TimePoint, registration: Registration) -> Iterator[LesionChange]:
    """The lesions of before, with what became of them, and then the new ones."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import cdist

    old, new = before.lesions or (), after.lesions or ()
    distances_mm = cdist(moved_points(registration.matrix, _centres_mm(old)), _centres_mm(new))
    relative = distances_mm / (REACH_MM + np.maximum.outer(_radii_mm(old), _radii_mm(new)))
    pairs = linear_sum_assignment(np.minimum(relative, 1))
    linked = np.zeros(relative.shape, bool)
    linked[pairs] = relative[pairs] <= 1
    old_alone, new_alone = (~np.any(linked, axis=axis, keepdims=True) for axis in (1, 0))
    linked |= old_alone & (_lying_in(before, after, registration.matrix) >= INSIDE)
    linked |= new_alone & (_lying_in(after, before, registration.inverse) >= INSIDE).T
    empty = [np.zeros((count, count), bool) for count in linked.shape]
    _, groups = connected_components(np.block([[empty[0], linked], [linked.T, empty[1]]]), directed=False)
    for group in dict.fromkeys(groups.tolist()):
        one = tuple(lesion for lesion, its in zip(old, groups[: len(old)], strict=True) if its == group)
        other = tuple(lesion for lesion, its in zip(new, groups[len(old) :], strict=True) if its == group)
        status, distance_mm = _status(one, other), None
        if status == "matched":
            distance_mm = float(distances_mm[one[0].number - 1, other[0].number - 1])
        elif status in ("vanished", "new"):
            there, matrix = (after, registration.matrix) if one else (before, registration.inverse)
            if not in_view(there.labelmap.geometry, moved_points(matrix, _centres_mm(one or other)))[0]:
                status = "out_of_view"
        yield LesionChange(status, one, other, distance_mm)


def _status(before: Sequence[Lesion], after: Sequence[Lesion]) -> Status:
    """What became of lesions that belong together, by how many they are."""
    if not before or not after:
        return "vanished" if before else "new"
    if len(before) == 1:
        return "matched" if len(after) == 1 else "split"
    return "merged" if len(after) == 1 else "regrouped"


def _centres_mm(lesions: Sequence[Lesion]) -> Floats:
    """(N, 3) RAS mm."""
    return np.array([lesion.centre_mm for lesion in lesions], dtype=np.float64).reshape(-1, 3)


def _radii_mm(lesions: Sequence[Lesion]) -> Floats:
    """(N,) of the balls of their volumes."""
    return np.asarray(np.cbrt([750 * lesion.volume_ml / np.pi for lesion in lesions]), dtype=np.float64)


def _lying_in(one: TimePoint, other: TimePoint, matrix: Affine) -> Floats:
    """(N, M) the fraction of each lesion of one scan that a map (4, 4) of RAS mm brings into each of the other's."""
    shape = len(one.lesions or ()), len(other.lesions or ())
    if 0 in shape:
        return np.zeros(shape)
    (numbers, affine), (targets, target_affine) = _numbered(one), _numbered(other)
    voxels = np.argwhere(numbers)
    places = np.rint(moved_points(np.linalg.inv(target_affine) @ matrix @ affine, voxels)).astype(int)
    inside = ((places >= 0) & (places < targets.shape)).all(axis=1)
    hit = np.zeros(len(voxels), np.intp)
    hit[inside] = targets[tuple(places[inside].T)]
    counts = np.zeros((shape[0] + 1, shape[1] + 1))
    np.add.at(counts, (numbers[tuple(voxels.T)], hit), 1)
    return np.asarray(counts[1:, 1:] / counts[1:].sum(axis=1, keepdims=True), dtype=np.float64)


def _numbered(point: TimePoint) -> tuple[npt.NDArray[np.uint32], Affine]:
    """(i, j, k) the lesions' numbers in the box that holds them all, and its affine (4, 4)."""
    labelmap = point.labelmap
    label = BY_NAME[LESION].label
    box = boxes(labelmap.labels)[label]
    corner = labelmap.geometry.cropped_to(box)
    return number_lesions(np.asarray(labelmap.labels[box] == label)), corner.affine
