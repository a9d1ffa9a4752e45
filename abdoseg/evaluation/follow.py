"""Two time points of one patient: volumes side by side, and lesions matched after a rigid registration of the liver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, LESION, host_of
from abdoseg.errors import DatasetError
from abdoseg.evaluation.changes import Change, FollowUp, LesionChange, Status, VolumeChange
from abdoseg.image.components import Mask
from abdoseg.image.lesions import Lesion, number_lesions
from abdoseg.image.registration import Registration, in_view, moved_points, register
from abdoseg.image.volume import Affine, Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, boxes

Floats = npt.NDArray[np.float64]
ORGAN = host_of(LESION)
# Dice of registered livers: of two patients .72 in the median of 40 pairs and .83 at most; of one patient in two phases
# .92 and more; bent by waves of 2 mm .95 and more, with 70 ml grown at its surface .90 and more (18 livers each).
REFUSED_DICE, DOUBTED_DICE = 0.80, 0.90
REFUSED_COMMON, DOUBTED_COMMON = 0.3, 0.7  # fraction of the liver that both scans show
REACH_MM = 10.0  # added to the larger one's radius, between centres of lesions that may be one: livers are not rigid
INSIDE = 0.5  # fraction of a lesion without a partner that makes it a part of the lesion that it lies in


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
        f"{change.name}: cut by the scan's border {' and '.join(change.cut)}; "
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
    """The lesions of before, with what became of them, and then the new ones.

    Arrays are (N, M), a row a lesion of before, a column one of after: mm between their centres, those of before moved
    by the registration; and bool, whether the two are one lesion, or one is a part of the other.
    """
    from scipy.spatial.distance import cdist

    old, new = before.lesions or (), after.lesions or ()
    # Lesions near each other are one, each with one partner at most.
    distances_mm = cdist(moved_points(registration.matrix, _centres_mm(old)), _centres_mm(new))
    one_lesion = _pairs(distances_mm, np.maximum.outer(_radii_mm(old), _radii_mm(new)))
    # One without a partner is a part of the lesion that it lies in, in the other scan.
    old_alone, new_alone = ~one_lesion.any(axis=1, keepdims=True), ~one_lesion.any(axis=0, keepdims=True)
    part_of_new = old_alone & (_lying_in(before, after, registration.matrix) >= INSIDE)
    part_of_old = new_alone & (_lying_in(after, before, registration.inverse) >= INSIDE).T
    # Lesions so joined are told together: how many there are on either side says what became of them.
    for rows, columns in _groups(one_lesion | part_of_new | part_of_old):
        one, other = tuple(old[n] for n in rows), tuple(new[m] for m in columns)
        status, distance_mm = _status(one, other), None
        if status == "matched":
            distance_mm = float(distances_mm[rows[0], columns[0]])
        elif status in ("vanished", "new"):  # unless the other scan does not show the place
            there, matrix = (after, registration.matrix) if one else (before, registration.inverse)
            if not in_view(there.labelmap.geometry, moved_points(matrix, _centres_mm(one or other)))[0]:
                status = "out_of_view"
        yield LesionChange(status, one, other, distance_mm)


def _pairs(distances_mm: Floats, radii_mm: Floats) -> Mask:
    """(N, M) which lesions of two scans are one: the pairs nearest to each other on the whole, within reach.

    distances_mm: (N, M) between centres. radii_mm: (N, M) the larger one's.
    """
    from scipy.optimize import linear_sum_assignment

    relative = distances_mm / (REACH_MM + radii_mm)  # (N, M), at most 1 within reach
    paired = np.zeros(relative.shape, bool)
    paired[linear_sum_assignment(np.minimum(relative, 1))] = True  # beyond reach all count alike
    return np.asarray(paired & (relative <= 1))


def _groups(linked: Mask) -> Iterator[tuple[list[int], list[int]]]:
    """The rows and columns of each group that links (N, M) join: by their first rows, and then columns alone.

    >>> list(_groups(np.array([[True, False, True], [False, False, False]])))
    [([0], [0, 2]), ([1], []), ([], [1])]
    """
    from scipy.sparse.csgraph import connected_components

    rows, columns = (np.zeros((count, count), bool) for count in linked.shape)
    _, groups = connected_components(np.block([[rows, linked], [linked.T, columns]]), directed=False)  # (N + M,)
    of_rows, of_columns = groups[: len(linked)], groups[len(linked) :]
    for group in dict.fromkeys(groups.tolist()):
        yield np.flatnonzero(of_rows == group).tolist(), np.flatnonzero(of_columns == group).tolist()


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
