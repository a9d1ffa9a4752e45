"""Changes of an organ in a patch before CT synthesis: enlarged, shrunken, removed, with a cyst or a mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from abdoseg.anatomy.tissues import Tissue
from abdoseg.training.augment.patch_anatomy import KIDNEYS, SPLEEN, Anatomy, Organ, Triple, tissue_table
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.shapes import uneven_ellipsoid
from abdoseg.training.augment.tensor_filters import gaussian_blur
from abdoseg.training.augment.tissue_maps import WALL, WALL_COUNT

PLACES = 4  # that are tried for a cyst or a mass
PUSHED_MM, FIRM_MM = 15.0, 8.0  # deviation of the blur that says how far off tissue is pushed, and stays
# What stays where it is when an organ grows.
_FIRM = tissue_table([
    Tissue.AIR, Tissue.SKIN, Tissue.BONE_MARROW, Tissue.BONE_CORTEX, Tissue.CARTILAGE, Tissue.MUSCLE, Tissue.NERVE,
    Tissue.ARTERY, Tissue.VEIN, *range(WALL, WALL + WALL_COUNT),
])  # fmt: skip


def enlarged(anatomy: Anatomy, organ: Organ, factors: Triple, fixed: Triple, closed: Tensor | None = None) -> Anatomy:
    """An organ scaled about a fixed point, its neighbours pushed aside and squeezed.

    The wall, bones, muscles, great vessels and the other main organs but the liver stay, and so does what is closed,
    (I, J, K) bool: near them nothing moves.
    """
    old = organ.with_sinus(anatomy)
    new = _scaled(old, factors, fixed)
    firm = anatomy.are(_FIRM) | ~anatomy.cavity
    if closed is not None:
        firm |= closed & ~old
    for label in {*KIDNEYS, SPLEEN} - {organ.label}:
        firm |= anatomy.labels == label
    follows = (2.0 * _blurred(new, PUSHED_MM, anatomy.spacing_mm)).clamp(max=1.0)
    follows *= (1.0 - 2.5 * _blurred(firm, FIRM_MM, anatomy.spacing_mm)).clamp(min=0.0)
    source = torch.zeros((), dtype=torch.int64, device=old.device)
    for axis, (n, factor, at) in enumerate(zip(old.shape, factors, fixed, strict=True)):
        here = torch.arange(n, device=old.device).view([-1 if a == axis else 1 for a in range(3)])
        source = source * n + torch.round(here - (1.0 - 1.0 / factor) * (here - at) * follows).long().clamp(0, n - 1)
    stays = firm | firm.take(source)  # nor is any of it drawn along
    return replace(
        anatomy, tissues=torch.where(stays, anatomy.tissues, anatomy.tissues.take(source)),
        labels=torch.where(stays, anatomy.labels, anatomy.labels.take(source)),
    )  # fmt: skip


def shrunken(anatomy: Anatomy, organ: Organ, factors: Triple, filling: Tissue) -> Anatomy:
    """An organ scaled down about its middle; what it leaves is filled."""
    old, middle = organ.with_sinus(anatomy), organ.at((0.5, 0.5, 0.5))
    new = _scaled(old, factors, middle) & old
    emptied = anatomy.filled(old & ~new, filling)
    return replace(
        emptied,
        tissues=torch.where(new, _scaled(anatomy.tissues, factors, middle), emptied.tissues),
        labels=torch.where(new, _scaled(anatomy.labels, factors, middle), emptied.labels),
    )


def removed(anatomy: Anatomy, organ: Organ) -> Anatomy:
    """Without the organ: fat and bowel in its place."""
    return anatomy.filled(organ.with_sinus(anatomy), Tissue.GAP)


def with_blob(
    anatomy: Anatomy, organ: Organ, radius_mm: float, tissue: Tissue, label: int, rng: Rng, core: float = 0.0
) -> Anatomy:
    """A cyst (label of the organ) at an organ's surface or below it, or a mass (label 0) beside it.

    Of PLACES that are drawn it takes the one with the most room: soft tissue gives way, and to a cyst the organ.
    core: the part of the radius within which a mass is necrotic.
    """
    gives_way = anatomy.yielding | ((anatomy.labels == label) & bool(label))
    places = []
    for _ in range(PLACES):
        below_mm = radius_mm * (rng.uniform(-0.5, 1.0) if label else -0.9)
        centre = _below_surface(anatomy, organ, below_mm, rng)
        box, distance = uneven_ellipsoid(
            anatomy.labels.shape, centre, radius_mm, anatomy.spacing_mm, rng, (0.01, 0.05 if label else 0.15)
        )
        places.append(torch.full_like(anatomy.labels, math.inf, dtype=torch.float32))
        places[-1][box] = distance
    distances = torch.stack(places)
    room = ((distances < 1) & gives_way).flatten(1).sum(dim=1)
    distance = distances.index_select(0, room.argmax()[None])[0]
    blob = (distance < 1) & gives_way
    return anatomy.filled(blob, tissue, label).filled(blob & (distance < core), Tissue.WATER, label)


def depth_mm(mask: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Depth in mm below a mask's surface, negative outside, right within some 12 mm of it.

    A blurred plane's value is the normal distribution's at its depth, so its quantile is the depth.
    """
    sigma_mm = 6.0
    depth: Tensor = torch.special.ndtri(_blurred(mask, sigma_mm, spacing_mm).clamp(0.005, 0.995)) * sigma_mm
    return depth


def _scaled(values: Tensor, factors: Triple, fixed: Triple) -> Tensor:
    """Values (I, J, K) scaled along the axes about a fixed point, by nearest neighbour; zeros from beyond the patch."""
    for axis, (n, factor, at) in enumerate(zip(values.shape, factors, fixed, strict=True)):
        source = torch.round(at + (torch.arange(n, device=values.device) - at) / factor).long()
        inside = ((source >= 0) & (source < n)).view([-1 if a == axis else 1 for a in range(3)])
        values = values.index_select(axis, source.clamp(0, n - 1)) * inside
    return values


def _blurred(mask: Tensor, sigma_mm: float, spacing_mm: Sequence[float]) -> Tensor:
    return gaussian_blur(mask.float(), [sigma_mm / step for step in spacing_mm])


def _below_surface(anatomy: Anatomy, organ: Organ, below_mm: float, rng: Rng) -> list[int]:
    """A voxel so far below the surface of an organ, above it where negative, on a ray from within it to the front."""
    start = organ.voxels[rng.integers(len(organ.voxels))]
    direction = rng.normals(3)
    direction[1].abs_()  # in front there is room
    step = direction / direction.norm() / torch.tensor(anatomy.spacing_mm)  # voxels per mm
    along_mm = torch.arange(0.0, 400.0, min(anatomy.spacing_mm))
    ray, last = torch.round(start + along_mm[:, None] * step).long(), torch.tensor(anatomy.labels.shape) - 1
    ray = ray[((ray >= 0) & (ray <= last)).all(dim=1)]
    surface_mm = float(along_mm[(anatomy.on_host[ray.unbind(dim=1)] == organ.label).nonzero().amax()])
    centre = torch.round(start + (surface_mm - below_mm) * step).long()
    return [min(max(int(at), 0), int(n)) for at, n in zip(centre, last, strict=True)]
