"""Surface mesh of an organ: marching cubes, Taubin smoothing, decimation; watertight, with the mask's own volume."""

from __future__ import annotations

from dataclasses import dataclass, replace

import fast_simplification
import numpy as np
import numpy.typing as npt
import zmesh
from scipy import ndimage, sparse

from abdoseg.image.volume import Array, Geometry

Points = npt.NDArray[np.float32]
Triangles = npt.NDArray[np.int32]
PASSES = 20
VERTICES_A_PASS = 40
SHRINK, SWELL = 0.5, -0.53  # Source: Taubin 1995, doi:10.1145/218380.218473: pass band 1/0.5 - 1/0.53 = 0.11


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed mesh: `vertices` (N, 3) in RAS mm and `triangles` (M, 3), anticlockwise seen from outside.

    voxels_ml: the volume of the mask it was made from.
    """

    vertices: Points
    triangles: Triangles
    voxels_ml: float

    @property
    def volume_ml(self) -> float:
        """The volume inside. Source: the divergence theorem; a sixth of each triangle's triple product with 0."""
        return _volume(self.vertices, self.triangles) / 1000.0


def surface(mask: npt.NDArray[np.bool_], geometry: Geometry, most_triangles: int = 20_000) -> Surface | None:
    """Makes the surface of a mask. Where the scan's border cuts the organ it is closed flat.

    The smoothed surface is moved along its normals, by a small part of a voxel, until it holds the mask's volume.

    Args:
        mask: (I, J, K) voxels of the organ.
        geometry: the grid of the mask.
        most_triangles: it is decimated to so many, or to as few as leave it watertight.

    Returns:
        The surface, None for an empty mask.
    """
    box = ndimage.find_objects(mask.view(np.uint8))
    if not box:
        return None
    padded = np.pad(mask[box[0]], 1).astype(np.uint8)
    points, triangles = _marching_cubes(padded, geometry)
    voxels = float(np.count_nonzero(padded))
    passes = round(PASSES * min(4.0, float(geometry.spacing_mm.max() / geometry.spacing_mm.min())))
    points = taubin(points, triangles, passes)  # thick slices make wide terraces
    points, triangles = _decimated(points, triangles, most_triangles)
    start = np.array([side.start - 1 for side in box[0]])
    to_mm = geometry.affine[:3, :3] / geometry.spacing_mm
    points = points @ to_mm.T.astype(np.float32)
    if np.linalg.det(to_mm) < 0:
        triangles = triangles[:, ::-1]
    points = _with_volume(points, triangles, voxels * geometry.voxel_ml * 1000.0, float(geometry.spacing_mm.min()))
    points = points + (geometry.affine[:3, :3] @ start + geometry.affine[:3, 3])
    return Surface(points.astype(np.float32), np.ascontiguousarray(triangles), voxels * geometry.voxel_ml)


def decimate(surface: Surface, most_triangles: int) -> Surface:
    """The surface with at most so many triangles, or as few as leave it watertight."""
    if len(surface.triangles) <= most_triangles:
        return surface
    points, triangles = _decimated(surface.vertices, surface.triangles, most_triangles)
    return replace(surface, vertices=points, triangles=triangles)


def taubin(points: Points, triangles: Triangles, passes: int = PASSES) -> Points:
    """The points after `passes` steps towards their neighbours' mean and as many, a little longer, away from it.

    Steps away undo the shrinking of steps towards; what is small enough to be all detail would vanish all the same,
    so pieces of fewer than VERTICES_A_PASS * passes points take fewer. Source: Taubin 1995, section 3, equal weights.
    """
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = len(points)
    ones = np.ones(len(edges), dtype=np.float32)
    adjacency = sparse.csr_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    degree = np.asarray(adjacency.sum(axis=1), dtype=np.float32).ravel()
    mean = (sparse.diags(1 / np.maximum(degree, 1)) @ adjacency).tocsr().astype(np.float32)
    piece = sparse.csgraph.connected_components(adjacency, directed=False)[1]
    allowed = (np.bincount(piece) // VERTICES_A_PASS)[piece]
    points = points.astype(np.float32, copy=True)
    for done in range(passes):
        moving = (allowed > done).astype(np.float32)[:, None]
        for step in (SHRINK, SWELL):
            points += np.float32(step) * moving * (mean @ points - points)
    return points


def is_watertight(triangles: Triangles) -> bool:
    """Whether every edge is shared by two triangles, once in each direction."""
    there, back = _edges(triangles)
    unique = np.unique(there)
    return len(unique) == len(there) and bool((unique == np.unique(back)).all())


def normals(points: Points, triangles: Triangles) -> Points:
    """(N, 3) unit normals at the points, each triangle counting by its area."""
    faces = _area_normals(points, triangles)
    result = np.zeros_like(points, dtype=np.float64)
    for corner in range(3):
        for axis in range(3):
            result[:, axis] += np.bincount(triangles[:, corner], faces[:, axis], minlength=len(points))
    length = np.linalg.norm(result, axis=1, keepdims=True)
    return np.asarray(result / np.maximum(length, 1e-12), dtype=np.float32)


def _marching_cubes(padded: Array, geometry: Geometry) -> tuple[Points, Triangles]:
    """Points in mm along the grid's axes, from the first voxel's centre."""
    mesher = zmesh.Mesher(tuple(geometry.spacing_mm))
    mesher.mesh(padded)
    mesh = mesher.get(1, normals=False)
    return np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32)


def _decimated(points: Points, triangles: Triangles, most: int) -> tuple[Points, Triangles]:
    """At most so many triangles, or as few as leave the surface closed. Source: Garland, Heckbert 1997."""
    least, aim = (points, triangles), most
    for _ in range(4):
        if len(least[1]) <= most or aim < 4:
            break
        fewer = _collapsed(points, triangles, aim)
        least = min(least, fewer, key=lambda made: len(made[1]))
        aim -= len(fewer[1]) - most
    while len(least[1]) > (most := max(4, 4 * most)):  # so few could not be closed
        least = min(least, _collapsed(points, triangles, most), key=lambda made: len(made[1]))
    return least


def _collapsed(points: Points, triangles: Triangles, aim: int) -> tuple[Points, Triangles]:
    """Edges collapsed until about `aim` triangles are left, without the collapses that pinch the surface together.

    Those leave an edge to four triangles; the collapses around it are taken out and the others done again.
    """
    fewer, simple, collapses = fast_simplification.simplify(points, triangles, target_count=aim, return_collapses=True)
    index = None
    while len(pinched := _pinched(simple)):
        if index is None:  # which vertex became which is told by doing the collapses again
            fewer, simple, index = fast_simplification.replay_simplification(points, triangles, collapses)
        around = np.isin(index, pinched)
        kept = collapses[~around[collapses].any(axis=1)]
        if len(kept) == len(collapses):
            return points, triangles
        collapses = kept
        fewer, simple, index = fast_simplification.replay_simplification(points, triangles, collapses)
    if len(simple) < 4 or not is_watertight(simple):
        return points, triangles
    return np.asarray(fewer, dtype=np.float32), np.asarray(simple, dtype=np.int32)


def _pinched(triangles: Triangles) -> npt.NDArray[np.int64]:
    """The vertices of edges that run in one direction more than once."""
    edges, times = np.unique(_edges(triangles)[0], return_counts=True)
    size = int(triangles.max(initial=0)) + 1
    return np.unique(np.concatenate([edges[times > 1] // size, edges[times > 1] % size]))


def _edges(triangles: Triangles) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every triangle's three edges as one number each, there and back."""
    start, end = triangles.ravel().astype(np.int64), np.roll(triangles, -1, axis=1).ravel().astype(np.int64)
    size = int(triangles.max(initial=0)) + 1
    return start * size + end, end * size + start


def _with_volume(points: Points, triangles: Triangles, volume_mm3: float, furthest_mm: float) -> Points:
    """The points moved along their normals until they hold the volume, none further than `furthest_mm`."""
    moved, passed = points, 0.0
    for _ in range(6):
        area_normals = _area_normals(moved, triangles)
        area = float(np.linalg.norm(area_normals, axis=1).sum()) / 2
        wanted = (volume_mm3 - _volume(moved, triangles)) / area
        step = float(np.clip(wanted, -furthest_mm - passed, furthest_mm - passed))
        passed += step
        moved = moved + np.float32(step) * normals(moved, triangles)
    return moved


def _area_normals(points: Points, triangles: Triangles) -> Points:
    """(M, 3) each triangle's normal, as long as twice its area."""
    corners = points[triangles]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _volume(points: Points, triangles: Triangles) -> float:
    """Signed, in the points' unit cubed."""
    centred = points.astype(np.float64) - points.astype(np.float64).mean(axis=0)
    a, b, c = (centred[triangles[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
