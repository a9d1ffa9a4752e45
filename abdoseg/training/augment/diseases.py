"""Diseases as changes of a tissue map before CT synthesis: what a few dozen healthy patients don't show.

Atrophic, hydronephrotic and polycystic kidneys, large cysts, cirrhosis with ascites, splenomegaly, nephrectomy,
splenectomy, a mass outside the liver, a mottled spleen and a bright heart in the arterial phase. Labels change with
the tissues: cysts and a dilated renal pelvis belong to their organ; ascites and masses are background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.anatomy.tissues import LUMEN_TIERS, Phase, Tissue
from abdoseg.training.augment.rng import Rng, host_to_device
from abdoseg.training.augment.shapes import smooth_noise, uneven_ellipsoid
from abdoseg.training.augment.tensor_filters import gaussian_blur
from abdoseg.training.augment.tissue_maps import SCANNED, SCANNED_START_HU, SCANNED_STEP_HU, WALL, WALL_COUNT

LIVER, RIGHT, LEFT, SPLEEN = (BY_NAME[organ].label for organ in MAIN)
AORTA, CAVA = (BY_NAME[organ].label for organ in ("aorta", "inferior_vena_cava"))
KIDNEYS = (RIGHT, LEFT)
MAIN_LABELS = (LIVER, SPLEEN, RIGHT, LEFT)
MIN_VOXELS = 200  # of an organ in a patch; what is less is left as it is
MAX_SPLEEN_ML = 3000.0
MAX_CYST_MM = 75.0  # radius
PLACES = 4  # that are tried for a cyst or a mass
WALL_MM = 22.0  # skin, fat and muscle in front of the cavity, where a scan shows what is not labelled
PUSHED_MM, FIRM_MM = 15.0, 8.0  # deviation of the blur that says how far off tissue is pushed, and stays
Triple = tuple[float, float, float]


def _table(tissues: Sequence[int]) -> Tensor:
    """(256,) bool: whether a code is one of these tissues."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(tissues)] = True
    return table


_LUMENS = [lumen + tier for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN)
           for tier in range(LUMEN_TIERS)]  # fmt: skip
# What gives way to a cyst or a mass. Vessels, bones, muscles and the body wall stay.
_SOFT = _table([
    Tissue.GAP, Tissue.KIDNEY_SINUS, Tissue.BOWEL_WALL, Tissue.PANCREAS, Tissue.ADRENAL, Tissue.BILE,
    Tissue.GAS, *_LUMENS,
])  # fmt: skip
_SCANNED_FAT, _SCANNED_BONE = (SCANNED + (hu - SCANNED_START_HU) // SCANNED_STEP_HU for hu in (-30, 180))
_FAT = _table([Tissue.GAP, *range(SCANNED, _SCANNED_FAT)])
_SCANNED_SOFT = _table(range(_SCANNED_FAT, _SCANNED_BONE))
_CHEST = _table([Tissue.LUNG, Tissue.GAP, *range(SCANNED, 256)])  # what gives way to a heart
# What stays where it is when an organ grows.
_FIRM = _table([
    Tissue.AIR, Tissue.SKIN, Tissue.BONE_MARROW, Tissue.BONE_CORTEX, Tissue.CARTILAGE, Tissue.MUSCLE, Tissue.NERVE,
    Tissue.ARTERY, Tissue.VEIN, *range(WALL, WALL + WALL_COUNT),
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patch before synthesis.

    tissues, labels: (I, J, K) uint8, tissue codes and our numbers, on one device. phase: the contrast phase that shows
    the disease; None for any.
    """

    tissues: Tensor
    labels: Tensor
    spacing_mm: Sequence[float]
    phase: Phase | None = None

    @cached_property
    def on_host(self) -> Tensor:
        """The labels on the host: one transfer from the device, instead of one per question."""
        return self.labels.cpu()

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing_mm) / 1000.0

    def organ(self, label: int) -> Organ | None:
        """Where an organ lies; None if the patch shows less than MIN_VOXELS of it."""
        voxels = (self.on_host == label).nonzero()  # (N, 3)
        return Organ(label, voxels) if len(voxels) >= MIN_VOXELS else None

    def organs(self, labels: Sequence[int]) -> list[Organ]:
        """Those of these organs that the patch shows."""
        return [organ for organ in map(self.organ, labels) if organ is not None]

    @cached_property
    def cavity(self) -> Tensor:
        """(I, J, K) bool: voxels deeper than WALL_MM below the skin."""
        air = (self.tissues == Tissue.AIR).float()
        for axis, step in enumerate(self.spacing_mm):
            reach = round(WALL_MM / step)
            rows = air.movedim(axis, -1)
            air = F.max_pool1d(rows.flatten(0, 1), 2 * reach + 1, 1, reach).view(rows.shape).movedim(-1, axis)
        return air == 0

    @cached_property
    def yielding(self) -> Tensor:
        """(I, J, K) bool: what gives way to a cyst or a mass.

        Where a scan shows what is not labelled, that is fat, and soft tissue in front of the great vessels, where it
        is bowel; behind them, and where a patch shows none of them, it may be muscle.
        """
        soft = self.are(_SOFT) | self.are(_FAT)
        vessels = torch.nonzero(((self.on_host == AORTA) | (self.on_host == CAVA)).any(dim=2).any(dim=0))
        if len(vessels):
            in_front = torch.arange(self.labels.shape[1], device=self.labels.device) > float(vessels.double().mean())
            soft = soft | (self.are(_SCANNED_SOFT) & in_front[:, None])
        return soft & self.cavity & ~_is_main(self.labels)

    def are(self, table: Tensor) -> Tensor:
        """(I, J, K) bool: voxels whose tissue a table (256,) holds."""
        return host_to_device(table, self.tissues.device)[self.tissues.long()]

    def filled(self, where: Tensor, tissue: int, label: int = 0) -> Anatomy:
        """With another tissue and label at the voxels of a mask."""
        return replace(
            self, tissues=torch.where(where, tissue, self.tissues).to(torch.uint8),
            labels=torch.where(where, label, self.labels).to(torch.uint8),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ in a patch. voxels: (N, 3) on the host."""

    label: int
    voxels: Tensor

    @property
    def low(self) -> list[int]:
        return [int(v) for v in self.voxels.amin(dim=0)]

    @property
    def high(self) -> list[int]:
        return [int(v) for v in self.voxels.amax(dim=0)]

    def at(self, fractions: Triple) -> Triple:
        """A point of its bounding box, from 0 (left, posterior, inferior) to 1, in voxels."""
        i, j, k = (
            low + fraction * (high - low) for low, high, fraction in zip(self.low, self.high, fractions, strict=True)
        )
        return i, j, k

    def with_sinus(self, anatomy: Anatomy) -> Tensor:
        """(I, J, K) bool: a kidney with the sinus in its bounding box; other organs have none."""
        mask = anatomy.labels == self.label
        box = tuple(slice(low, high + 1) for low, high in zip(self.low, self.high, strict=True))
        mask[box] |= anatomy.tissues[box] == Tissue.KIDNEY_SINUS
        return mask


def add_disease(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """The anatomy with one disease, drawn by the weights of DISEASES; unchanged where the patch lacks its organ."""
    weights = torch.tensor([weight for weight, _ in DISEASES.values()])
    _, change = [*DISEASES.values()][rng.categorical(weights)]
    return change(anatomy, rng)


def atrophic_kidney(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """One kidney or both shrunken to 5 to 60 percent of their volume, fat around them."""
    base = rng.uniform(0.4, 0.8)
    for kidney in _one_or_all(anatomy, KIDNEYS, 0.6, rng):
        anatomy = _shrunken(anatomy, kidney, _factors(base, rng), Tissue.FAT)
    return anatomy


def hydronephrosis(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A kidney whose dilated pelvis and calyces leave a rind of 3 to 14 mm; up to six times as large."""
    for kidney in _one_or_all(anatomy, KIDNEYS, 0.2, rng):
        larger = _grown(anatomy, kidney, rng.uniform(1.0, 1.7), rng)
        whole = larger.organ(kidney.label) or kidney
        mask = whole.with_sinus(larger)
        rind_mm, lobes = rng.uniform(3.0, 14.0), smooth_noise(mask.shape, larger.spacing_mm, 26.0, rng)
        water = mask & (_depth(mask, larger.spacing_mm) > rind_mm + 2.5 * lobes)
        anatomy = larger.filled(water, Tissue.URINE, kidney.label)
    return anatomy


def large_cysts(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """One to three cysts of up to 15 cm on a kidney or the liver; they belong to it."""
    organs = anatomy.organs((*KIDNEYS, LIVER))
    if not organs:
        return anatomy
    organ = organs[rng.integers(len(organs))]
    for _ in range(1 + rng.integers(3)):
        radius_mm = rng.log_uniform(8.0, MAX_CYST_MM)
        anatomy = _with_blob(anatomy, organ, radius_mm, Tissue.WATER, organ.label, rng)
    return anatomy


def polycystic_kidneys(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """Both kidneys enlarged and full of cysts, some of them denser than water."""
    base = rng.uniform(1.3, 2.1)
    for kidney in anatomy.organs(KIDNEYS):
        larger = _grown(anatomy, kidney, base, rng)
        whole = (larger.organ(kidney.label) or kidney).with_sinus(larger)
        periods = (15.0, 28.0, 50.0)
        fields = [smooth_noise(whole.shape, larger.spacing_mm, period, rng) for period in periods]
        cysts = whole & (torch.stack(fields).amax(dim=0) > rng.uniform(-0.1, 0.6))
        dense = fields[1] > rng.uniform(1.0, 2.0)  # blood
        anatomy = larger.filled(cysts, Tissue.WATER, kidney.label).filled(cysts & dense, Tissue.MUSCLE, kidney.label)
    return anatomy


def cirrhosis(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A small liver with a nodular surface amid ascites, often with a large spleen."""
    if (liver := anatomy.organ(LIVER)) is None:
        return anatomy
    if (spleen := anatomy.organ(SPLEEN)) and rng.bernoulli(0.6):
        anatomy = _enlarged_spleen(anatomy, spleen, rng.uniform(1.1, 1.5), rng)
    anatomy = _shrunken(anatomy, liver, _factors(rng.uniform(0.78, 0.98), rng), Tissue.WATER)
    mask = anatomy.labels == LIVER
    nodules = smooth_noise(mask.shape, anatomy.spacing_mm, rng.uniform(9.0, 20.0), rng)
    depth = _depth(mask, anatomy.spacing_mm)
    anatomy = anatomy.filled(mask & (depth < rng.uniform(0.5, 2.5) * nodules), Tissue.WATER)
    near = _depth(anatomy.labels > 0, anatomy.spacing_mm) > -rng.uniform(4.0, 16.0)
    pools = smooth_noise(mask.shape, anatomy.spacing_mm, 60.0, rng) > rng.uniform(-2.0, 1.0)
    gap = anatomy.tissues == Tissue.GAP  # in a map without a scan all fat between the organs is known as such
    fluid = anatomy.are(_FAT) & anatomy.cavity & (near | gap) & pools & (anatomy.labels == 0)
    fluid[:, :, liver.high[2] + 1 :] = False  # nor in the chest
    return anatomy.filled(fluid, Tissue.WATER)


def splenomegaly(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A spleen of up to 3 l, grown to the front, downwards and to the midline."""
    spleen = anatomy.organ(SPLEEN)
    return anatomy if spleen is None else _enlarged_spleen(anatomy, spleen, rng.uniform(1.2, 2.5), rng)


def nephrectomy(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A kidney that has been removed: fat and bowel in its place."""
    kidneys = anatomy.organs(KIDNEYS)
    return _removed(anatomy, kidneys[rng.integers(len(kidneys))]) if kidneys else anatomy


def splenectomy(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A spleen that has been removed: fat and bowel in its place."""
    spleen = anatomy.organ(SPLEEN)
    return anatomy if spleen is None else _removed(anatomy, spleen)


def outside_mass(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A solid mass of 2 to 7 cm radius beside an organ, half of them with a necrotic core; it is background."""
    organs = anatomy.organs(MAIN_LABELS)
    if not organs:
        return anatomy
    organ = organs[0] if rng.bernoulli(0.5) else organs[rng.integers(len(organs))]
    radius_mm = rng.log_uniform(20.0, 70.0)
    core = rng.uniform(0.3, 0.7) if rng.bernoulli(0.5) else 0.0
    return _with_blob(anatomy, organ, radius_mm, Tissue.TUMOUR, 0, rng, core)


def mottled_spleen(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A spleen in the arterial phase, in bands of bright and dark pulp."""
    direction = rng.normals(3)
    along = sum(
        (torch.arange(n, device=rng.device) * step * float(part)).view([-1 if axis == a else 1 for axis in range(3)])
        for a, (n, step, part) in enumerate(
            zip(anatomy.tissues.shape, anatomy.spacing_mm, direction / direction.norm(), strict=True)
        )
    )
    bent = along + 12.0 * smooth_noise(anatomy.tissues.shape, anatomy.spacing_mm, 45.0, rng)
    dark = torch.sin(bent * (2 * math.pi / rng.uniform(9.0, 22.0))) > rng.uniform(-0.3, 0.5)
    mottled = (anatomy.tissues == Tissue.SPLEEN) & dark
    tissues = torch.where(mottled, int(Tissue.SLOW_PULP), anatomy.tissues).to(torch.uint8)
    return replace(anatomy, tissues=tissues, phase="arterial")


def arterial_heart(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A heart full of contrast medium above the left liver, as bright as an enhanced spleen or brighter."""
    arterial = replace(anatomy, phase="arterial")
    if (liver := anatomy.organ(LIVER)) is None:
        return arterial
    i, j, k = liver.at((rng.uniform(0.0, 0.35), rng.uniform(0.5, 0.8), 1.0))
    k += rng.uniform(-10.0, 35.0) / anatomy.spacing_mm[2]
    centre = [min(max(round(at), 0), n - 1) for at, n in zip((i, j, k), anatomy.tissues.shape, strict=True)]
    box, distance = uneven_ellipsoid(
        anatomy.tissues.shape, centre, rng.uniform(38.0, 58.0), anatomy.spacing_mm, rng, (0.02, 0.06)
    )
    free = anatomy.are(_CHEST)[box] & (anatomy.labels[box] == 0)
    tissues = anatomy.tissues.clone()
    tissues[box] = torch.where(free & (distance < 1), int(Tissue.MYOCARDIUM), tissues[box]).to(torch.uint8)
    tissues[box] = torch.where(free & (distance < 0.8), int(Tissue.HEART_BLOOD), tissues[box]).to(torch.uint8)
    return replace(arterial, tissues=tissues)


# How often each is drawn, and what it changes.
DISEASES: Mapping[str, tuple[float, Callable[[Anatomy, Rng], Anatomy]]] = {
    "atrophic kidney": (0.12, atrophic_kidney),
    "hydronephrosis": (0.14, hydronephrosis),
    "large cysts": (0.12, large_cysts),
    "polycystic kidneys": (0.06, polycystic_kidneys),
    "cirrhosis": (0.14, cirrhosis),
    "splenomegaly": (0.10, splenomegaly),
    "nephrectomy": (0.06, nephrectomy),
    "splenectomy": (0.05, splenectomy),
    "mass outside the liver": (0.10, outside_mass),
    "mottled spleen": (0.06, mottled_spleen),
    "arterial heart": (0.05, arterial_heart),
}


def _one_or_all(anatomy: Anatomy, labels: Sequence[int], all_probability: float, rng: Rng) -> list[Organ]:
    """All of these organs that the patch shows, or one of them."""
    organs = anatomy.organs(labels)
    if not organs or rng.bernoulli(all_probability):
        return organs
    return [organs[rng.integers(len(organs))]]


def _factors(base: float, rng: Rng) -> Triple:
    """Factors of an organ's size along each axis."""
    return base * rng.uniform(0.92, 1.08), base * rng.uniform(0.92, 1.08), base * rng.uniform(0.92, 1.08)


def _grown(anatomy: Anatomy, kidney: Organ, base: float, rng: Rng) -> Anatomy:
    """A larger kidney; the muscles behind it stay where they are."""
    return _enlarged(anatomy, kidney, _factors(base, rng), kidney.at((0.5, 0.15, 0.6)))


def _enlarged_spleen(anatomy: Anatomy, spleen: Organ, base: float, rng: Rng) -> Anatomy:
    """A larger spleen; its outer, posterior and upper side stays where it is, at the ribs and the diaphragm.

    It grows before the left kidney, not behind it, and as far as the midline.
    """
    base = min(base, (MAX_SPLEEN_ML / (len(spleen.voxels) * anatomy.voxel_ml)) ** (1 / 3) / 1.08)
    closed = torch.zeros_like(anatomy.labels, dtype=torch.bool)
    if (kidney := anatomy.organ(LEFT)) is not None:
        i, j, k = kidney.at((0.5, 1.0, 1.0))
        closed[int(i) :, : int(j) + 1, : int(k) + 1] = True
    if (aorta := anatomy.organ(AORTA)) is not None:
        closed[aorta.high[0] :] = True
    return _enlarged(anatomy, spleen, _factors(max(1.0, base), rng), spleen.at((0.0, 0.0, 0.8)), closed)


def _enlarged(anatomy: Anatomy, organ: Organ, factors: Triple, fixed: Triple, closed: Tensor | None = None) -> Anatomy:
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
    follows = (2.0 * _blurred(new, PUSHED_MM, anatomy)).clamp(max=1.0)
    follows *= (1.0 - 2.5 * _blurred(firm, FIRM_MM, anatomy)).clamp(min=0.0)
    source = torch.zeros((), dtype=torch.int64, device=old.device)
    for axis, (n, factor, at) in enumerate(zip(old.shape, factors, fixed, strict=True)):
        here = torch.arange(n, device=old.device).view([-1 if a == axis else 1 for a in range(3)])
        source = source * n + torch.round(here - (1.0 - 1.0 / factor) * (here - at) * follows).long().clamp(0, n - 1)
    stays = firm | firm.take(source)  # nor is any of it drawn along
    return replace(
        anatomy, tissues=torch.where(stays, anatomy.tissues, anatomy.tissues.take(source)),
        labels=torch.where(stays, anatomy.labels, anatomy.labels.take(source)),
    )  # fmt: skip


def _shrunken(anatomy: Anatomy, organ: Organ, factors: Triple, filling: Tissue) -> Anatomy:
    """An organ scaled down about its middle; what it leaves is filled."""
    old, middle = organ.with_sinus(anatomy), organ.at((0.5, 0.5, 0.5))
    new = _scaled(old, factors, middle) & old
    emptied = anatomy.filled(old & ~new, filling)
    return replace(
        emptied,
        tissues=torch.where(new, _scaled(anatomy.tissues, factors, middle), emptied.tissues),
        labels=torch.where(new, _scaled(anatomy.labels, factors, middle), emptied.labels),
    )


def _scaled(values: Tensor, factors: Triple, fixed: Triple) -> Tensor:
    """Values (I, J, K) scaled along the axes about a fixed point, by nearest neighbour; zeros from beyond the patch."""
    for axis, (n, factor, at) in enumerate(zip(values.shape, factors, fixed, strict=True)):
        source = torch.round(at + (torch.arange(n, device=values.device) - at) / factor).long()
        inside = ((source >= 0) & (source < n)).view([-1 if a == axis else 1 for a in range(3)])
        values = values.index_select(axis, source.clamp(0, n - 1)) * inside
    return values


def _blurred(mask: Tensor, sigma_mm: float, anatomy: Anatomy) -> Tensor:
    return gaussian_blur(mask.float(), [sigma_mm / step for step in anatomy.spacing_mm])


def _removed(anatomy: Anatomy, organ: Organ) -> Anatomy:
    return anatomy.filled(organ.with_sinus(anatomy), Tissue.GAP)


def _with_blob(
    anatomy: Anatomy, organ: Organ, radius_mm: float, tissue: Tissue, label: int, rng: Rng, core: float = 0.0
) -> Anatomy:
    """A cyst (label of the organ) at an organ's surface or below it, or a mass (label 0) beside it.

    Of PLACES that are drawn it takes the one with the most room: soft tissue gives way, and to a cyst the organ.
    core: the part of the radius within which a mass is necrotic.
    """
    gives_way = anatomy.yielding | ((anatomy.labels == label) & bool(label))
    places = []
    for _ in range(PLACES):
        depth_mm = radius_mm * (rng.uniform(-0.5, 1.0) if label else -0.9)
        centre = _below_surface(anatomy, organ, depth_mm, rng)
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


def _below_surface(anatomy: Anatomy, organ: Organ, depth_mm: float, rng: Rng) -> list[int]:
    """A voxel so far below the surface of an organ, or above it where negative, on a ray from within to the front."""
    start = organ.voxels[rng.integers(len(organ.voxels))]
    direction = rng.normals(3)
    direction = direction / direction.norm()
    direction[1].abs_()  # in front there is room
    high = torch.tensor(anatomy.labels.shape) - 1
    ray_mm = torch.arange(0.0, 400.0, min(anatomy.spacing_mm))
    step = direction / torch.tensor(anatomy.spacing_mm)  # voxels per mm
    i, j, k = torch.round(start + ray_mm[:, None] * step).long().clamp(torch.zeros(3).long(), high).unbind(dim=1)
    surface_mm = float(ray_mm[(anatomy.on_host[i, j, k] == organ.label).nonzero().amax()])
    centre = torch.round(start + (surface_mm - depth_mm) * step).long()
    return [int(at) for at in centre.clamp(torch.zeros(3).long(), high)]


def _is_main(labels: Tensor) -> Tensor:
    return (labels >= min(MAIN_LABELS)) & (labels <= max(MAIN_LABELS))


def _depth(mask: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Depth in mm below a mask's surface, negative outside, right within some 12 mm of it.

    A blurred plane's value is the normal distribution's at its depth, so its quantile is the depth.
    """
    sigma_mm = 6.0
    blurred = gaussian_blur(mask.float(), [sigma_mm / step for step in spacing_mm]).clamp(0.005, 0.995)
    depth: Tensor = torch.special.ndtri(blurred) * sigma_mm
    return depth
