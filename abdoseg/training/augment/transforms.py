"""Augmentation of training patches on a CPU or a GPU: affine and elastic deformation, contrast, noise, truncation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from abdoseg.anatomy.tissues import MEAN_HU, SPREAD_HU, Tissue
from abdoseg.image.components import Box
from abdoseg.training.augment.rng import Rng, host_to_device
from abdoseg.training.augment.tensor_filters import block_means, gaussian_blur, thick_slices, upsample_linear

AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the random changes to a training patch: degrees, mm, HU, probabilities from 0 to 1.

    scale, contrast: the smallest and the largest factor. stretch: how much the axes' scales may differ from it.
    elastic_mm: largest standard deviation of the displacements, which are drawn on a lattice of elastic_grid_mm.
    mirror: probability that a patch is mirrored left to right and paired organs swap their labels. The liver then
    lies on the left, which is very rare in patients, so 0 unless a recipe asks for it.
    organ_hu, oral, cut: probability of another contrast phase, of oral contrast medium, of a truncated field of view.
    """

    rotate_degrees: float = 10.0
    scale: tuple[float, float] = (0.85, 1.18)
    stretch: float = 0.05
    elastic_mm: float = 4.0
    elastic_grid_mm: float = 48.0
    mirror: float = 0.0
    contrast: tuple[float, float] = (0.88, 1.14)
    shift_hu: float = 12.0
    noise_hu: float = 18.0
    blur_mm: float = 2.5
    thick_slices_mm: float = 8.0
    organ_hu: float = 0.35
    oral: float = 0.25
    cut: float = 0.12


NO_AUGMENTATION = Augmentation(
    rotate_degrees=0.0, scale=(1.0, 1.0), stretch=0.0, elastic_mm=0.0, contrast=(1.0, 1.0), shift_hu=0.0, noise_hu=0.0,
    blur_mm=0.0, thick_slices_mm=0.0, organ_hu=0.0, oral=0.0, cut=0.0,
)  # fmt: skip


def random_coordinates(
    centre: Sequence[float],
    patch: Sequence[int],
    spacing_mm: Sequence[float],
    augmentation: Augmentation,
    rng: Rng,
    zoom: float = 1.0,
) -> tuple[Tensor, bool]:
    """Voxel coordinates of a rotated, scaled, elastically deformed patch.

    Args:
        centre: the patch's centre in voxels of the case.
        patch: its shape.
        spacing_mm: of the case.
        augmentation: the ranges to draw from.
        rng: the sample's random numbers.
        zoom: size of the patch's voxels, in voxels of the case.

    Returns:
        Coordinates (3, I, J, K) in voxels of the case, and whether the patch is mirrored, so that paired organs have
        to swap their labels.
    """
    seen_mm = [zoom * s for s in spacing_mm]
    axes = [
        (torch.arange(n, dtype=torch.float32, device=rng.device) - (n - 1) / 2) * s
        for n, s in zip(patch, seen_mm, strict=True)
    ]
    angles = [math.radians(rng.uniform(-augmentation.rotate_degrees, augmentation.rotate_degrees)) for _ in range(3)]
    size = rng.log_uniform(*augmentation.scale)
    stretch = [size * (1 + rng.uniform(-augmentation.stretch, augmentation.stretch)) for _ in range(3)]
    mirror = rng.bernoulli(augmentation.mirror)
    matrix = _rotation(angles) / torch.tensor(stretch)
    if mirror:
        matrix[:, 0] *= -1
    grids = [axis.view([-1 if n == a else 1 for n in range(3)]) for a, axis in enumerate(axes)]
    rows = []
    for a in range(3):
        i, j, k = (matrix[a, c] / spacing_mm[a] * grid for c, grid in enumerate(grids))
        rows.append(i + float(centre[a]) + j + k)
    coordinates = torch.stack(rows)  # (3, I, J, K)
    if augmentation.elastic_mm > 0:
        extent = [n * s for n, s in zip(patch, seen_mm, strict=True)]
        knots = [max(2, math.ceil(e / augmentation.elastic_grid_mm) + 1) for e in extent]
        sigma = rng.uniform(0.0, augmentation.elastic_mm)
        coarse = rng.noise((3, *knots)) * sigma
        for row, lattice, step in zip(coordinates, coarse, spacing_mm, strict=True):
            row += upsample_linear(lattice / step, patch)
    return coordinates, mirror


def _rotation(angles: Sequence[float]) -> Tensor:
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = torch.eye(3)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


@dataclass(frozen=True, eq=False)
class PatchRegion:
    """The box of an array that holds a patch, and the patch's grid inside it in the coordinates of `grid_sample`."""

    box: Box
    grid: Tensor  # (1, I, J, K, 3)

    @classmethod
    def around(cls, coordinates: Tensor, shape: Sequence[int]) -> PatchRegion:
        """The region of coordinates (3, I, J, K), in voxels of an array of `shape`; any of them may lie outside it."""
        box, rows = [], []
        bounds = torch.stack([torch.stack(torch.aminmax(row)) for row in coordinates]).tolist()
        for row, size, (least, most) in zip(coordinates, shape, bounds, strict=True):
            low = min(max(math.floor(least) - 1, 0), size - 1)
            high = max(min(math.ceil(most) + 2, size), low + 1)
            box.append(slice(low, high))
            rows.append((row - (low - 0.5)) * (2.0 / (high - low)) - 1.0)
        grid = torch.stack(rows[::-1], dim=-1)[None]
        return cls((box[0], box[1], box[2]), grid)

    def sample(self, array: npt.NDArray[Any], outside: float, nearest: bool = False) -> Tensor:
        """The patch of an array, interpolated: float32 (I, J, K), with the value `outside` beyond the array."""
        stored = torch.from_numpy(np.array(array[self.box]))
        source = (host_to_device(stored, self.grid.device).float() - outside)[None, None]
        mode = "nearest" if nearest else "bilinear"
        return F.grid_sample(source, self.grid, mode=mode, padding_mode="zeros", align_corners=False)[0, 0] + outside


# The tissue that fills an organ, by our label.
_TISSUES = {
    1: Tissue.LIVER, 2: Tissue.KIDNEY_CORTEX, 3: Tissue.KIDNEY_CORTEX, 4: Tissue.SPLEEN, 5: Tissue.TUMOUR,
    6: Tissue.PANCREAS, 7: Tissue.ARTERY, 8: Tissue.VEIN, 9: Tissue.ADRENAL, 10: Tissue.ADRENAL, 11: Tissue.BILE,
    12: Tissue.BOWEL_WALL,
}  # fmt: skip
_LABELS = 15
_CLIPPED_HU = -120.0  # a scan may have been clipped at the window's floor, -125
_HOLLOW = 13  # and above: stomach and duodenum, which show what was drunk


def change_phase(image: Tensor, labels: Tensor, rng: Rng) -> Tensor:
    """The patch in another contrast phase: each labelled organ's HU shifted.

    Half of the time all organs take their HU without contrast medium and lose texture; otherwise each organ is
    shifted on its own.
    """
    numbers = labels.long()

    def spread(table: Tensor) -> Tensor:
        return gaussian_blur(host_to_device(table, image.device).take(numbers), (0.6, 0.6, 0.4))

    native = rng.bernoulli(0.5)
    randoms = torch.cat([torch.zeros(1), rng.normals(_LABELS - 1)])
    if not native:
        return image + spread(25.0 * randoms)
    means, offsets, gains = _means(image, numbers), torch.zeros(_LABELS), torch.ones(_LABELS)
    for label, tissue in _TISSUES.items():
        gains[label] = 0.6
        offsets[label] = MEAN_HU["noncontrast"][tissue] + SPREAD_HU[tissue] * randoms[label]
    moved = torch.where(gains < 1, gains, 0.0)
    offsets = host_to_device(offsets, image.device) - host_to_device(moved, image.device) * means
    offsets[3] = offsets[2] + 0.6 * (means[2] - means[3])  # both kidneys are in one phase
    return image * spread(gains) + spread(offsets)


def _means(image: Tensor, numbers: Tensor) -> Tensor:
    """(_LABELS,) the mean HU of each label, 0 where it is absent."""
    zeros, flat, hu = image.new_zeros(_LABELS, dtype=torch.float64), numbers.flatten(), image.flatten().double()
    counts = zeros.scatter_add(0, flat, torch.ones_like(hu))
    return (zeros.scatter_add(0, flat, hu) / counts.clamp(min=1)).float()


def add_oral_contrast(image: Tensor, labels: Tensor, spacing_mm: Sequence[float], rng: Rng) -> Tensor:
    """The patch with oral contrast medium: bowel beside the organs as bright as a kidney, or brighter.

    Datasets without a bowel label don't say where its loops lie. So unlabelled soft tissue brightens in places,
    muscle too, and filled loops of colon are added beside the organs. Stomach and duodenum keep their labels. Half of
    the time the medium is about as bright as the patch's kidneys, so that brightness alone tells nothing.
    """
    free = (image < 140) & ((labels == 0) | (labels >= _HOLLOW))
    on_host = labels.cpu()  # waited for once, not at every place that is looked up
    hu = rng.log_uniform(120.0, 900.0)
    kidneys = ((on_host == 2) | (on_host == 3)).flatten().nonzero()[:, 0]
    if len(kidneys) and rng.bernoulli(0.5):
        hu = max(80.0, float(image.take(host_to_device(kidneys, image.device)).mean()) + rng.uniform(-20.0, 60.0))
    period = rng.uniform(20.0, 50.0)
    lattice = [math.ceil(2 * n * s / period) + 2 for n, s in zip(image.shape, spacing_mm, strict=True)]
    hills = upsample_linear(rng.noise(lattice), image.shape)
    content = hu * (1 + 0.1 * hills)
    if rng.bernoulli(0.4):
        soft = free & (image > -30) & (hills > rng.uniform(0.3, 0.9))
        weight = gaussian_blur(soft.float(), (0.6, 0.6, 0.4))
        image = image + weight * (content - image)
    blocks = [max(2, round(n * s / 16.0)) for n, s in zip(image.shape, spacing_mm, strict=True)]
    body = upsample_linear(block_means((image > _CLIPPED_HU).float(), blocks), image.shape) > 0.75
    room = gaussian_blur((free & body).float(), (0.6, 0.6, 0.4))
    organs = [torch.nonzero(on_host == label) for label in (1, 2, 3, 4)]
    there = [voxels for voxels in organs if len(voxels)]
    room_on_host = room.cpu()
    for _ in range(int(rng.uniform(0.0, 10.0)) if there else 0):
        centre = _beside(there, room_on_host, spacing_mm, rng)
        if centre:
            image = _with_loop(image, centre, room, content, spacing_mm, rng)
    return image


def _beside(organs: Sequence[Tensor], room: Tensor, spacing_mm: Sequence[float], rng: Rng) -> tuple[float, ...] | None:
    """A point (mm) within some 30 mm of an organ; None when there is no room. organs: the voxels (N, 3) of each."""
    organ = organs[rng.integers(len(organs))]
    spacing = torch.tensor(spacing_mm, dtype=torch.float32)
    away = 25.0 * rng.normals(3)
    away[1].abs_()  # bowel lies in front
    centre = organ[rng.integers(len(organ))] * spacing + away
    voxel = [min(max(round(c), 0), n - 1) for c, n in zip((centre / spacing).tolist(), room.shape, strict=True)]
    return None if room[tuple(voxel)] < 0.5 else tuple(centre.tolist())


def _with_loop(
    image: Tensor, centre: Sequence[float], room: Tensor, content: Tensor, spacing_mm: Sequence[float], rng: Rng
) -> Tensor:
    """The patch with one more loop of bowel around `centre` (mm): wall, haustra, often a gas-fluid level."""
    along = F.normalize(rng.normals(3), dim=0)
    half, radius = rng.uniform(10.0, 60.0), rng.uniform(8.0, 26.0)
    box, offsets = [], []
    for axis, (n, s, c) in enumerate(zip(image.shape, spacing_mm, centre, strict=True)):
        extent = abs(float(along[axis])) * half + 1.15 * radius + 3.0  # mm; beyond it nothing changes
        box.append(slice(max(0, math.floor((c - extent) / s)), max(0, math.ceil((c + extent) / s) + 1)))
        steps = torch.arange(n, device=image.device)[box[-1]] * s - c
        offsets.append(steps.view([-1 if b == axis else 1 for b in range(3)]))
    where, (x, y, z) = tuple(box), offsets
    course = x * along[0] + y * along[1] + z * along[2]  # (I, J, K) of the box, mm along the loop
    nearest = course.clamp(-half, half)
    across = (x * x + y * y + z * z - nearest * (2 * course - nearest)).clamp(min=0.0).sqrt()
    haustra = torch.sin(course * (2 * math.pi / 35.0) + rng.uniform(0.0, 2 * math.pi))
    depth = radius * (1 + 0.15 * haustra) - across  # mm below the lumen's surface
    content, part = content[where], image[where]
    if rng.bernoulli(0.5):
        content = torch.where(y > rng.uniform(-0.3, 0.9) * radius, -900.0, content)
    for reach, filling in ((2.0, torch.tensor(75.0)), (0.5, content)):  # the wall, then what it holds
        part = part + room[where] * (depth / 1.5 + reach).clamp(0.0, 1.0) * (filling - part)
    image = image.clone()
    image[where] = part
    return image


def augment_hu(
    image: Tensor, labels: Tensor, spacing_mm: Sequence[float], augmentation: Augmentation, rng: Rng
) -> Tensor:
    """The patch's HU in another patient, scanner and protocol.

    image: (I, J, K) float32 HU; labels: (I, J, K) uint8 in our numbers.
    """
    if rng.bernoulli(augmentation.organ_hu):
        image = change_phase(image, labels, rng)
    if rng.bernoulli(augmentation.oral):
        image = add_oral_contrast(image, labels, spacing_mm, rng)
    if augmentation.thick_slices_mm > 0 and rng.bernoulli(0.25):
        factor = rng.uniform(spacing_mm[2], augmentation.thick_slices_mm) / spacing_mm[2]
        if factor > 1.05:
            image = thick_slices(image, max(2, round(image.shape[2] / factor)))
    if augmentation.blur_mm > 0 and rng.bernoulli(0.25):
        sigma = rng.uniform(0.0, augmentation.blur_mm) / 2.355
        image = gaussian_blur(image, [sigma / s for s in spacing_mm])
    if augmentation.noise_hu > 0 and rng.bernoulli(0.5):
        noise = rng.noise(image.shape) * rng.uniform(0.0, augmentation.noise_hu)
        if rng.bernoulli(0.5):
            noise = gaussian_blur(noise, (0.7, 0.7, 0.3)) * 2.0
        image = image + noise
    centre = 60.0
    gain = rng.log_uniform(*augmentation.contrast)
    return (image - centre) * gain + centre + rng.uniform(-augmentation.shift_hu, augmentation.shift_hu)


def truncate_field_of_view(image: Tensor, labels: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """A field of view that ends inside the patch: air and background beyond a plane, mostly an axial one.

    It often ends just above or below the organs, which shows a heart without a liver, or bowel without a kidney.
    """
    axis = 2 if rng.bernoulli(0.7) else int(rng.uniform(0, 2))
    size = image.shape[axis]
    keep = int(rng.uniform(0.3, 0.9) * size)
    low, high = (0, keep) if rng.bernoulli(0.5) else (size - keep, size)
    if axis == 2 and rng.bernoulli(0.6):
        low, high = _without_organs(labels, rng) or (low, high)
    index = torch.arange(size, device=image.device)
    inside = ((index >= low) & (index < high)).view([-1 if a == axis else 1 for a in range(3)])
    return torch.where(inside, image, AIR_HU), torch.where(inside, labels, 0)


def _without_organs(labels: Tensor, rng: Rng) -> tuple[int, int] | None:
    """The range of axial slices above or below liver, kidneys and spleen; a few of its slices may be left out.

    None when it is less than an eighth of the patch, or the patch shows none of these organs.
    """
    size = labels.shape[2]
    filled = ((labels >= 1) & (labels <= 4)).flatten(0, 1).any(dim=0).cpu().nonzero()[:, 0].tolist()
    if not filled:
        return None
    apart = int(rng.uniform(0.0, 0.1) * size)
    spans = [(0, filled[0] - apart), (filled[-1] + 1 + apart, size)]
    wide = [(low, high) for low, high in spans if high - low >= size / 8]
    return wide[rng.integers(len(wide))] if wide else None
