"""Lesion measurements: volume, RECIST 1.1 diameters, place, HU contrast and depth of each lesion in an organ.

Lesions are connected components (by faces, edges or corners) of a lesion's label, numbered from 1, the largest first.
Lengths end on the faces of voxels, not in their centres: a lesion of one voxel has the diameter of a voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import host_of
from abdoseg.image.components import Box, Mask, dilated, grown, holes, united
from abdoseg.image.volume import Array, Geometry, Labelmap, nearest_axes
from abdoseg.image.volumetry import boxes, cell
from abdoseg.runtime.files import write_csv

Floats = npt.NDArray[np.float64]
ProbabilityAt = Callable[[Floats], Floats]  # (N, 3) RAS mm to (N,) probabilities
RING_MM = 2.0, 10.0  # from the lesion: where the organ around it is measured, beyond the partial volume of its border
SAMPLED = 20_000  # voxels of a lesion at most whose probability is asked for
COLUMNS = (
    "number",
    "volume_ml",
    "longest_axial_mm",
    "perpendicular_mm",
    "longest_3d_mm",
    "centre_r_mm",
    "centre_a_mm",
    "centre_s_mm",
    "slice",
    "mean_hu",
    "contrast_hu",
    "surface_distance_mm",
    "mean_probability",
)


@dataclass(frozen=True)
class Lesion:
    """One lesion of an organ.

    Attributes:
        number: from 1, the largest first.
        volume_ml: of its voxels.
        longest_axial_mm: longest diameter in one axial slice, of the slice where that is longest (RECIST 1.1).
        perpendicular_mm: longest diameter at right angles to it, in that slice.
        longest_3d_mm: longest diameter in any direction.
        centre_mm: centre of mass, RAS mm.
        slice_number: of the axial slice of the diameters, in the file's own order from 1, as ITK-SNAP counts.
        mean_hu: None without a scan.
        contrast_hu: its mean HU less that of the organ 2 to 10 mm around it; None where there is no such organ.
        surface_distance_mm: from the lesion to the surface of the organ with its lesions, 0 where it reaches the
            surface; None where no organ is seen, or nothing else.
        mean_probability: of being lesion against the likeliest other label; None without a network's answer.
        box: that holds it, on the labelmap's canonical grid.

    Source: Eisenhauer et al. 2009, RECIST 1.1, doi:10.1016/j.ejca.2008.10.026.
    """

    number: int
    volume_ml: float
    longest_axial_mm: float
    perpendicular_mm: float
    longest_3d_mm: float
    centre_mm: tuple[float, float, float]
    slice_number: int
    mean_hu: float | None
    contrast_hu: float | None
    surface_distance_mm: float | None
    mean_probability: float | None
    box: Box


@dataclass(frozen=True)
class AxialDiameters:
    """Longest diameter in an axial plane, the longest perpendicular to it, and the plane's index along K."""

    longest_mm: float
    perpendicular_mm: float
    plane: int


def measure_lesions(
    labelmap: Labelmap,
    voxels_hu: Array | None = None,
    lesion: str = "liver_tumour",
    probability_at: ProbabilityAt | None = None,
    within: Mapping[int, Box] | None = None,
) -> tuple[Lesion, ...]:
    """Every lesion of one kind, the largest first; empty when there is none.

    Args:
        labelmap: holds the lesions and, for contrast and depth, the organ that they lie in.
        voxels_hu: (I, J, K) the scan, on the labelmap's grid.
        lesion: its name in ORGANS; the organ around it is its host's.
        probability_at: the network's probability of the lesion at points, (N, 3) RAS mm to (N,).
        within: for each label that is there, a box that holds all of it; found here if not given.
    """
    label, organ_label = _label_of(labelmap, lesion), _label_of(labelmap, host_of(lesion))
    found = boxes(labelmap.labels) if within is None else within
    if label not in found:
        return ()
    region = united([found[number] for number in (label, organ_label) if number in found])
    region = grown(region, 1, labelmap.labels.shape)  # shows where the organ ends
    numbers = number_lesions(np.asarray(labelmap.labels[region] == label))
    organ = np.asarray(labelmap.labels[region] == organ_label)
    start = [part.start for part in region]
    geometry = labelmap.geometry.cropped_to(region)
    depth_mm = _depths_mm(organ | (numbers > 0), geometry.spacing_mm) if organ.any() else None
    hu = None if voxels_hu is None else voxels_hu[region]
    lesions = []
    for number, box in enumerate(lesion_boxes(numbers), start=1):
        mask = np.asarray(numbers[box] == number)
        place = geometry.cropped_to(box)
        points_mm = np.argwhere(mask) @ place.affine[:3, :3].T + place.affine[:3, 3]
        axial = axial_diameters(mask, place)
        i, j, k = (slice(part.start + first, part.stop + first) for part, first in zip(box, start, strict=True))
        x, y, z = points_mm.mean(axis=0).tolist()
        lesions.append(
            Lesion(
                number=number,
                volume_ml=len(points_mm) * geometry.voxel_ml,
                longest_axial_mm=axial.longest_mm,
                perpendicular_mm=axial.perpendicular_mm,
                longest_3d_mm=longest_diameter_mm(mask, place),
                centre_mm=(x, y, z),
                slice_number=slice_number(labelmap, k.start + axial.plane),
                mean_hu=None if hu is None else float(hu[box][mask].mean(dtype=np.float64)),
                contrast_hu=None if hu is None else _contrast_hu(numbers == number, organ, hu, box, geometry),
                surface_distance_mm=None if depth_mm is None else float(depth_mm[box][mask].min()),
                mean_probability=None if probability_at is None else _mean_probability(probability_at, points_mm),
                box=(i, j, k),
            )
        )
    return tuple(lesions)


def number_lesions(mask: Mask) -> npt.NDArray[np.uint32]:
    """(I, J, K) the number of the lesion that each voxel belongs to, 0 outside: the largest is 1."""
    import cc3d

    pieces = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26, out_dtype=np.uint32)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    ranks = np.zeros(len(sizes), np.uint32)
    ranks[np.argsort(-sizes[1:], kind="stable") + 1] = np.arange(1, len(sizes))
    return np.asarray(ranks[pieces])


def lesion_boxes(numbers: npt.NDArray[np.uint32]) -> list[Box]:
    """The bounding box of each lesion in the array of their numbers, from number 1 on."""
    import cc3d  # which is here already; scipy.ndimage would take .1 s to import

    return [(box[0], box[1], box[2]) for box in cc3d.statistics(numbers)["bounding_boxes"][1:]] if numbers.any() else []


def axial_diameters(mask: Mask, geometry: Geometry) -> AxialDiameters:
    """The diameters of a lesion as RECIST 1.1 measures them: in the axial plane where the longest one is longest.

    A plane's pieces are measured each by itself, by its convex outline. On an oblique grid, axial planes are the
    grid's own, nearest to the patient's.

    Args:
        mask: (I, J, K) one lesion, not empty.
        geometry: of its grid.
    """
    from scipy import ndimage
    from scipy.spatial.distance import cdist

    _, axes = np.linalg.qr(geometry.affine[:3, :2])  # (2, 2) plane's indices to mm along orthogonal axes in the plane
    best = AxialDiameters(0.0, 0.0, 0)
    for plane in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        pieces, count = ndimage.label(mask[:, :, plane], np.ones((3, 3)))
        for piece in range(1, count + 1):
            outline = _hull(_faces(pieces == piece) @ axes.T)
            lengths = cdist(outline, outline)
            first, last = np.unravel_index(lengths.argmax(), lengths.shape)
            longest = float(lengths[first, last])
            if longest > best.longest_mm:
                best = AxialDiameters(longest, _perpendicular_mm(outline, int(first), int(last)), plane)
    return best


def longest_diameter_mm(mask: Mask, geometry: Geometry) -> float:
    """The longest distance between two points of a lesion's surface, in any direction. mask: (I, J, K), not empty."""
    from scipy.spatial.distance import pdist

    return float(pdist(_hull(_faces(mask) @ geometry.affine[:3, :3].T)).max())


def slice_number(labelmap: Labelmap, plane: int) -> int:
    """The number, from 1 in the file's own order, of a plane along the canonical grid's K axis."""
    upwards = dict(nearest_axes(labelmap.stored.geometry.affine))[2] > 0
    return plane + 1 if upwards else labelmap.geometry.shape[2] - plane


def write_lesions(lesions: Sequence[Lesion], path: Path) -> None:
    """The lesions as CSV at `path`, one a row; the header alone when there are none."""
    write_csv(path, COLUMNS, ([cell(value) for value in lesion_row(lesion).values()] for lesion in lesions))


def lesion_row(lesion: Lesion) -> dict[str, object]:
    """A lesion's values by column, as CSV and JSON have them."""
    return dict(
        zip(
            COLUMNS,
            (
                lesion.number,
                lesion.volume_ml,
                lesion.longest_axial_mm,
                lesion.perpendicular_mm,
                lesion.longest_3d_mm,
                *lesion.centre_mm,
                lesion.slice_number,
                lesion.mean_hu,
                lesion.contrast_hu,
                lesion.surface_distance_mm,
                lesion.mean_probability,
            ),
            strict=True,
        )
    )


def _label_of(labelmap: Labelmap, organ: str) -> int:
    return next((label for label, name in labelmap.organs.items() if name == organ), 0)


def _faces(mask: Mask) -> Floats:
    """(N, axes) indices of the middles of all voxel faces between mask and background, outside included."""
    padded = np.pad(mask, 1).view(np.int8)
    places = []
    for axis in range(mask.ndim):
        between = np.argwhere(np.diff(padded, axis=axis)) - 1.0
        between[:, axis] += 0.5
        places.append(between)
    return np.concatenate(places)


def _hull(points: Floats) -> Floats:
    """The corners of the convex hull; in two dimensions counterclockwise."""
    from scipy.spatial import ConvexHull

    return np.asarray(points[ConvexHull(points).vertices])


def _perpendicular_mm(outline: Floats, first: int, last: int) -> float:
    """The longest chord of a convex polygon at right angles to the one between two of its corners, its longest."""
    turned = np.roll(outline, -first, axis=0) - outline[first]
    end = (last - first) % len(outline)
    along = turned[end] / np.linalg.norm(turned[end])
    across = np.array([-along[1], along[0]])
    there, back = turned[: end + 1], np.concatenate([turned[:1], turned[: end - 1 : -1]])  # both from `first` to `last`
    places = turned @ along
    upper = np.interp(places, back @ along, back @ across)
    lower = np.interp(places, there @ along, there @ across)
    return float((upper - lower).max())


def _depths_mm(organ: Mask, spacing_mm: Floats) -> npt.NDArray[np.float32] | None:
    """(I, J, K) mm from each voxel of the organ to the nearest voxel outside, face to face; None if there is none.

    Enclosed holes are organ; the grid's border is not its surface.
    """
    import edt

    solid = organ | holes(organ)
    if solid.all():
        return None
    for axis in range(3):  # voxels that touch the outside, by faces, edges or corners, are at distance 0
        inner = np.moveaxis(solid.copy(), axis, 0)
        whole = np.moveaxis(solid, axis, 0)
        inner[1:] &= whole[:-1]
        inner[:-1] &= whole[1:]
        solid = np.moveaxis(inner, 0, axis)
    distances = edt.edt(np.ascontiguousarray(solid), anisotropy=tuple(spacing_mm.tolist()), black_border=False)
    return np.asarray(distances, dtype=np.float32)


def _contrast_hu(lesion: Mask, organ: Mask, hu: Array, box: Box, geometry: Geometry) -> float | None:
    """Mean HU of the lesion less that of the organ in a ring around it."""
    near, far = RING_MM
    margin = int(np.ceil(far / geometry.spacing_mm.min()))
    around = grown(box, margin, lesion.shape)
    inside = lesion[around]
    ring = dilated(inside, far, geometry.spacing_mm) & ~dilated(inside, near, geometry.spacing_mm) & organ[around]
    if not ring.any():
        return None
    return float(hu[around][inside].mean(dtype=np.float64) - hu[around][ring].mean(dtype=np.float64))


def _mean_probability(probability_at: ProbabilityAt, points_mm: Floats) -> float:
    return float(probability_at(points_mm[:: -(-len(points_mm) // SAMPLED)]).mean())
