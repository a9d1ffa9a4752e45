"""Diseases as changes of a tissue map before CT synthesis: what a few dozen healthy patients don't show.

Atrophic, hydronephrotic and polycystic kidneys, large cysts, cirrhosis with ascites, splenomegaly, nephrectomy,
splenectomy, a mass outside the liver, a mottled spleen and a bright heart in the arterial phase. Labels change with
the tissues: cysts and a dilated renal pelvis belong to their organ; ascites and masses are background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from abdoseg.anatomy.tissues import Tissue
from abdoseg.training.augment.organ_changes import depth_mm, enlarged, removed, shrunken, with_blob
from abdoseg.training.augment.patch_anatomy import (
    AORTA,
    FAT,
    KIDNEYS,
    LEFT,
    LIVER,
    MAIN_LABELS,
    SPLEEN,
    Anatomy,
    Organ,
    Triple,
    tissue_table,
)  # fmt: skip
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.shapes import smooth_noise, uneven_ellipsoid
from abdoseg.training.augment.tissue_maps import SCANNED

MAX_SPLEEN_ML = 3000.0
MAX_CYST_MM = 75.0  # radius
_CHEST = tissue_table([Tissue.LUNG, Tissue.GAP, *range(SCANNED, 256)])  # what gives way to a heart


def add_disease(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """The anatomy with one disease, drawn by the weights of DISEASES; unchanged where the patch lacks its organ."""
    weights = torch.tensor([weight for weight, _ in DISEASES.values()])
    _, change = [*DISEASES.values()][rng.categorical(weights)]
    return change(anatomy, rng)


def atrophic_kidney(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """One kidney or both shrunken to 5 to 60 percent of their volume, fat around them."""
    base = rng.uniform(0.4, 0.8)
    for kidney in _one_or_all(anatomy, KIDNEYS, 0.6, rng):
        anatomy = shrunken(anatomy, kidney, _factors(base, rng), Tissue.FAT)
    return anatomy


def hydronephrosis(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A kidney whose dilated pelvis and calyces leave a rind of 3 to 14 mm; up to six times as large."""
    for kidney in _one_or_all(anatomy, KIDNEYS, 0.2, rng):
        larger = _grown(anatomy, kidney, rng.uniform(1.0, 1.7), rng)
        whole = larger.organ(kidney.label) or kidney
        mask = whole.with_sinus(larger)
        rind_mm, lobes = rng.uniform(3.0, 14.0), smooth_noise(mask.shape, larger.spacing_mm, 26.0, rng)
        water = mask & (depth_mm(mask, larger.spacing_mm) > rind_mm + 2.5 * lobes)
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
        anatomy = with_blob(anatomy, organ, radius_mm, Tissue.WATER, organ.label, rng)
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
    anatomy = shrunken(anatomy, liver, _factors(rng.uniform(0.78, 0.98), rng), Tissue.WATER)
    mask = anatomy.labels == LIVER
    nodules = smooth_noise(mask.shape, anatomy.spacing_mm, rng.uniform(9.0, 20.0), rng)
    depth = depth_mm(mask, anatomy.spacing_mm)
    anatomy = anatomy.filled(mask & (depth < rng.uniform(0.5, 2.5) * nodules), Tissue.WATER)
    near = depth_mm(anatomy.labels > 0, anatomy.spacing_mm) > -rng.uniform(4.0, 16.0)
    pools = smooth_noise(mask.shape, anatomy.spacing_mm, 60.0, rng) > rng.uniform(-2.0, 1.0)
    gap = anatomy.tissues == Tissue.GAP  # in a map without a scan all fat between the organs is known as such
    fluid = anatomy.are(FAT) & anatomy.cavity & (near | gap) & pools & (anatomy.labels == 0)
    fluid[:, :, liver.high[2] + 1 :] = False  # nor in the chest
    return anatomy.filled(fluid, Tissue.WATER)


def splenomegaly(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A spleen of up to 3 l, grown to the front, downwards and to the midline."""
    spleen = anatomy.organ(SPLEEN)
    return anatomy if spleen is None else _enlarged_spleen(anatomy, spleen, rng.uniform(1.2, 2.5), rng)


def nephrectomy(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A kidney that has been removed: fat and bowel in its place."""
    kidneys = anatomy.organs(KIDNEYS)
    return removed(anatomy, kidneys[rng.integers(len(kidneys))]) if kidneys else anatomy


def splenectomy(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A spleen that has been removed: fat and bowel in its place."""
    spleen = anatomy.organ(SPLEEN)
    return anatomy if spleen is None else removed(anatomy, spleen)


def outside_mass(anatomy: Anatomy, rng: Rng) -> Anatomy:
    """A solid mass of 2 to 7 cm radius beside an organ, half of them with a necrotic core; it is background."""
    organs = anatomy.organs(MAIN_LABELS)
    if not organs:
        return anatomy
    organ = organs[0] if rng.bernoulli(0.5) else organs[rng.integers(len(organs))]
    radius_mm = rng.log_uniform(20.0, 70.0)
    core = rng.uniform(0.3, 0.7) if rng.bernoulli(0.5) else 0.0
    return with_blob(anatomy, organ, radius_mm, Tissue.TUMOUR, 0, rng, core)


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
    return enlarged(anatomy, kidney, _factors(base, rng), kidney.at((0.5, 0.15, 0.6)))


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
    return enlarged(anatomy, spleen, _factors(max(1.0, base), rng), spleen.at((0.0, 0.0, 0.8)), closed)
