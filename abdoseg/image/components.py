"""Binary masks: connected components, holes, interior, bounding boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]
FACES_ONLY = 6  # neighbours of a voxel; organs that touch along an edge alone are two


def components(mask: Mask) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """(I, J, K) number of the component of each voxel, 0 outside, and (N + 1,) voxels by that number, [0] being 0."""
    import cc3d

    numbers, count = cc3d.connected_components(mask, connectivity=FACES_ONLY, return_N=True, out_dtype=np.uint32)
    sizes = np.bincount(numbers.ravel(order="K"), minlength=count + 1)
    sizes[0] = 0
    return numbers, sizes


def largest(mask: Mask) -> Mask:
    """The largest component alone; the first of equals. An empty mask stays empty."""
    numbers, sizes = components(mask)
    return np.asarray(numbers == sizes.argmax()) if sizes.any() else mask.copy()


def holes(mask: Mask) -> Mask:
    """Background that the mask encloses on all sides. What is open to the grid's border is no hole."""
    numbers, sizes = components(~mask)
    enclosed = np.ones(len(sizes), bool)
    for axis in range(3):
        for end in (0, -1):
            enclosed[np.unique(numbers.take(end, axis))] = False
    enclosed[0] = False
    return np.asarray(enclosed[numbers])


def interior(mask: Mask) -> Mask:
    """The voxels of the mask whose six neighbours are in it too; what lies at the grid's border has none beyond it."""
    inner = np.zeros_like(mask)
    core = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (0, 2):
            around = [slice(1, -1)] * 3
            around[axis] = slice(shift, mask.shape[axis] - 2 + shift)
            core &= mask[tuple(around)]
    inner[1:-1, 1:-1, 1:-1] = core
    return inner


def dilated(mask: Mask, radius_mm: float, spacing_mm: Sequence[float] | npt.NDArray[np.float64]) -> Mask:
    """The mask and all voxels whose centres are no further than so many mm from one of its voxels' centres."""
    import edt

    if not mask.any():
        return mask.copy()
    steps = tuple(float(step) for step in spacing_mm)
    return np.asarray(edt.edt(np.asarray(~mask, order="C"), anisotropy=steps, black_border=False) <= radius_mm)


def box_of(mask: Mask) -> Box | None:
    """The smallest box that holds the mask; None when it is empty."""
    flat: Mask = np.any(mask, axis=0)  # along the slowest axis, as results have them: several times faster
    spans = []
    for filled in (mask.any(axis=(1, 2)), flat.any(axis=1), flat.any(axis=0)):
        found = np.flatnonzero(filled)
        if not len(found):
            return None
        spans.append(slice(int(found[0]), int(found[-1]) + 1))
    return spans[0], spans[1], spans[2]


def positive(margin: npt.NDArray[np.floating]) -> Mask:
    """Where a margin is above 0, by its sign bit: comparing float16 itself is many times slower."""
    return np.asarray(margin.view(f"i{margin.itemsize}") > 0)


def positive_box(margin: npt.NDArray[np.floating], within: Box | None = None) -> Box | None:
    """The smallest box that holds all of a margin (I, J, K) that is above 0; None when nothing is.

    within: a box outside which nothing is.
    """
    if within is None:
        return box_of(positive(margin))
    found = box_of(positive(margin[within]))
    return None if found is None else moved(found, within)


def moved(box: Box, within: Box) -> Box:
    """A box of `array[within]` as a box of the array."""
    i, j, k = (slice(part.start + w.start, part.stop + w.start) for part, w in zip(box, within, strict=True))
    return i, j, k


def grown(box: Box, margin: int, shape: Sequence[int]) -> Box:
    """The box, wider by so many voxels on each side within a grid of that shape."""
    wider = [slice(max(0, part.start - margin), min(n, part.stop + margin)) for part, n in zip(box, shape, strict=True)]
    return wider[0], wider[1], wider[2]


def grown_mm(box: Box, margin_mm: float, spacing_mm: npt.NDArray[np.float64], shape: Sequence[int]) -> Box:
    """The box, wider by at least so many mm on each side within a grid of that shape."""
    margins = np.ceil(margin_mm / spacing_mm).astype(int).tolist()
    i, j, k = (
        slice(max(0, part.start - margin), min(size, part.stop + margin))
        for part, size, margin in zip(box, shape, margins, strict=True)
    )
    return i, j, k


def united(parts: Sequence[Box]) -> Box:
    """The smallest box that holds all of the boxes."""
    i, j, k = (
        slice(min(span.start for span in spans), max(span.stop for span in spans)) for spans in zip(*parts, strict=True)
    )
    return i, j, k
