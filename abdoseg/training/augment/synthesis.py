"""A CT painted from a map of tissues: another patient, another contrast phase, another scanner each time.

The map comes from `tissue_map`; it may be a patch, and deformed already. Everything drawn here (HU by phase, vessels,
lesions, what the bowel holds, girth, noise) follows from the draws' seed alone.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from abdoseg.anatomy.tissues import LUMEN_TIERS, PHASES, TISSUE_COUNT, Phase, Tissue, patient_hu
from abdoseg.training.augment.filters import blurred, enlarged
from abdoseg.training.augment.rng import Draws, sent
from abdoseg.training.augment.tissue_maps import (
    SCANNED,
    SCANNED_START_HU,
    SCANNED_STEP_HU,
    WALL,
    WALL_COUNT,
    WALL_START_MM,
    WALL_STEP_MM,
    tissue_map,
)

__all__ = ["paint", "tissue_map"]

_PHASE_UP_TO = (0.3, 0.5, 0.85)  # shares of 0.3, 0.2, 0.35 and 0.15, summed up
# The phase that a scan may lean towards, for few are taken at the textbook's second.
_NEXT: Mapping[Phase, Phase] = {
    "noncontrast": "noncontrast", "arterial": "portal", "portal": "arterial", "delayed": "portal",
}  # fmt: skip
# Fine and less fine noise within a tissue, HU.
_GRAIN_HU: Mapping[Tissue, tuple[float, float]] = {
    Tissue.LIVER: (2, 3), Tissue.SPLEEN: (2, 2), Tissue.PANCREAS: (14, 6), Tissue.MUSCLE: (7, 4),
    Tissue.KIDNEY_CORTEX: (6, 5), Tissue.KIDNEY_MEDULLA: (8, 6), Tissue.KIDNEY_SINUS: (15, 10),
    Tissue.BONE_MARROW: (35, 35), Tissue.BONE_CORTEX: (80, 120), Tissue.FAT: (5, 3), Tissue.LUNG: (25, 25),
    Tissue.MYOCARDIUM: (4, 6), Tissue.HEART_BLOOD: (6, 12), Tissue.VEIN: (5, 12), Tissue.ADRENAL: (4, 4),
    Tissue.BOWEL_WALL: (8, 8), Tissue.GLAND: (6, 8), Tissue.TUMOUR: (8, 12),
}  # fmt: skip


def paint(tissues: Tensor, spacing_mm: Sequence[float], draws: Draws) -> Tensor:
    """A CT of these tissues: (I, J, K) float32 HU, of a patient, a phase and a scanner that are drawn.

    tissues: (I, J, K) uint8, a whole map or a patch of one, on the draws' device.
    """
    patch = Patch(tissues, spacing_mm, draws)
    patient = _patient(draws)
    hu = _table(patient.hu, draws).take(tissues.long())
    hu = _scanned(hu, patch, patient, draws)
    hu = _wall(hu, patch, patient, draws)
    hu = _gaps(hu, patch, patient, draws)
    hu = _lumens(hu, patch, patient, draws)
    hu = _kidneys(hu, patch, patient, draws)
    hu = _textured(hu, patch, patient, draws)
    hu = _liver(hu, patch, patient, draws)
    return _acquired(hu, patch, draws)


class Patch:
    """The tissues of a patch, and noise on its grid that several of them share.

    coarse, middle, other, fine: hills 60, 24, 14 and 9 mm apart; bubbles: white. (I, J, K) each, deviation 1.
    """

    def __init__(self, tissues: Tensor, spacing_mm: Sequence[float], draws: Draws) -> None:
        self.tissues = tissues
        self._on_host = tissues.cpu().flatten()  # waited for once, not at every tissue that is looked for
        self.shape = tuple(tissues.shape)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.coarse, self.middle, self.fine = (self.noise(period_mm, draws) for period_mm in (60.0, 24.0, 9.0))
        self.other, self.bubbles = self.noise(14.0, draws), draws.field(self.shape)

    def noise(self, period_mm: float, draws: Draws) -> Tensor:
        """(I, J, K) smooth noise, mean 0, deviation about 1, of hills about `period_mm` apart."""
        lattice = [
            max(2, math.ceil(2.0 * n * s / period_mm) + 1) for n, s in zip(self.shape, self.spacing_mm, strict=True)
        ]
        hills = _normalised(blurred(draws.field(lattice), (0.7, 0.7, 0.7)))
        return enlarged(hills, self.shape)

    def places(self, first: int, count: int = 1) -> Tensor:
        """(N,) on the host: flat indices of the voxels of `count` tissues, from `first` on."""
        return _within(self._on_host, first, count).nonzero()[:, 0]


@dataclass(frozen=True)
class Patient:
    """What holds for the whole scan: its phase, and the HU of each tissue."""

    phase: Phase
    hu: tuple[float, ...]

    def __getitem__(self, tissue: int) -> float:
        return self.hu[tissue]


def _patient(draws: Draws) -> Patient:
    phase = PHASES[bisect(_PHASE_UP_TO, draws.uniform(0.0, 1.0))]
    deviations = draws.normals(TISSUE_COUNT).numpy()
    strength = math.exp(draws.normal(0.0, 0.28))
    hu = patient_hu(phase, deviations, strength=strength, towards=(_NEXT[phase], max(0.0, draws.uniform(-0.4, 0.5))))
    if draws.chance(0.25):  # a fatty liver
        hu[Tissue.LIVER] -= draws.uniform(8.0, 60.0)
    return Patient(phase, tuple(hu.tolist()))


def _table(values: Sequence[float], draws: Draws) -> Tensor:
    """(256,) a value by tissue code; 0 for shells and scanned levels."""
    return sent(torch.tensor([*values, *[0.0] * (256 - len(values))]), draws.device)


def _within(tissues: Tensor, first: int, count: int) -> Tensor:
    return (tissues >= first) & (tissues < first + count)


def _scanned(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """What a scan showed, its enhancement stretched or squeezed to the patient's phase."""
    level = SCANNED_START_HU + SCANNED_STEP_HU * (patch.tissues.float() - SCANNED + 0.5)
    gain = draws.uniform(0.1, 0.5) if patient.phase == "noncontrast" else draws.uniform(0.5, 1.3)
    soft = draws.normal(0.0, 5.0)
    level = torch.where(level > 60.0, 60.0 + (level - 60.0) * gain, level) + soft * (level > -20.0)
    return torch.where(patch.tissues >= SCANNED, level, hu)


def _wall(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """The body wall around the trunk: sheets of muscle, fat, skin, air and a table."""
    distance = WALL_START_MM + WALL_STEP_MM * (patch.tissues.float() - WALL)
    muscle_mm = draws.uniform(3.0, 14.0) + 2.5 * patch.middle
    fat_mm = math.exp(draws.uniform(math.log(4.0), math.log(55.0)))
    skin_at = muscle_mm + (fat_mm * (1.0 + 0.22 * patch.coarse)).clamp(min=2.0)
    fat = patient[Tissue.FAT] + 35.0 * (patch.other.abs() < 0.04) + 4.0 * patch.fine
    between = torch.remainder(distance + 3.0 * patch.coarse, draws.uniform(5.0, 9.0)) < 1.4
    between = (between & (patch.middle > draws.uniform(-0.8, 0.6))) | (patch.middle.abs() < 0.04)
    muscle = torch.where(between, patient[Tissue.FAT] + 50.0, patient[Tissue.MUSCLE] + 6.0 * patch.fine)
    inner_mm = draws.uniform(-20.0, -6.0) + 2.5 * patch.middle
    layers = torch.where((distance < muscle_mm) & (distance > inner_mm), muscle, fat)
    layers = torch.where(distance > skin_at, patient[Tissue.SKIN], layers)
    outside = distance > skin_at + 2.5
    layers = torch.where(outside, patient[Tissue.AIR], layers)
    wall = _within(patch.tissues, WALL, WALL_COUNT)
    hu = torch.where(wall, layers, hu)
    if not draws.chance(0.4):
        return hu
    i, j, _ = patch.shape
    across = (torch.arange(i, device=draws.device) / i - draws.uniform(0.3, 0.7)) * draws.uniform(0.0, 1.0)
    at = draws.uniform(0.0, 0.3) * j + across.square() * j * 0.5
    depth_mm = (torch.arange(j, device=draws.device)[None, :] - at[:, None]).abs() * patch.spacing_mm[1]
    table = (depth_mm < draws.uniform(1.5, 4.0))[:, :, None] & ((wall & outside) | (patch.tissues == Tissue.AIR))
    return torch.where(table, patient[Tissue.TABLE], hu)


def _gaps(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """Between the organs: fat, strands, vessels, and bowel or fluid in some patients."""
    at = sent(patch.places(Tissue.GAP), draws.device)
    coarse, middle, other, fine = (field.take(at) for field in (patch.coarse, patch.middle, patch.other, patch.fine))
    fat = patient[Tissue.GAP] + 6.0 * fine
    fat = torch.where(middle.abs() < 0.06, fat + draws.uniform(10.0, 70.0), fat)
    vessel = torch.where(coarse > 0.6, patient[Tissue.ARTERY], patient[Tissue.PORTAL_VEIN])
    fat = torch.where(other.square() + middle.square() < draws.uniform(0.01, 0.07), vessel, fat)
    loops = 0.6 * patch.noise(32.0, draws).take(at) + 0.5 * coarse - draws.uniform(0.2, 1.4)
    fat = torch.where(loops > 0, patient[Tissue.BOWEL_WALL] + 5.0 * fine, fat)
    fat = torch.where(loops > 0.45, _content(at, patch, patient, draws), fat)
    if draws.chance(0.08):  # ascites
        fat = torch.where(coarse > draws.uniform(-0.5, 1.0), patient[Tissue.WATER], fat)
    return _filled(hu, at, fat)


def _content(at: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """What a bowel holds, by place: fluid, faeces or food with bubbles, oral contrast in a third of the patients.

    at: (N,) flat indices of the voxels to fill.
    """
    coarse, middle, fine = (field.take(at) for field in (patch.coarse, patch.middle, patch.fine))
    fluid = patient[Tissue.WATER] + draws.uniform(0.0, 25.0) + 5.0 * fine
    gassy = fine + patch.bubbles.take(at) > draws.uniform(1.3, 2.6)
    solid = patient[Tissue.FAECES] + 15.0 * fine - 500.0 * gassy
    content = torch.where(middle + 0.5 * coarse > draws.uniform(-0.5, 1.5), solid, fluid)
    if not draws.chance(0.33):
        return content
    contrast = patient[Tissue.ORAL_CONTRAST] * draws.uniform(0.3, 1.6) + 15.0 * fine
    return torch.where(coarse + 0.3 * middle > draws.uniform(-1.0, 0.6), contrast, content)


def _lumens(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """Stomach and bowel, each with its own contents; gas lies on top."""
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        at = sent(patch.places(lumen, LUMEN_TIERS), draws.device)
        rough = 0.3 if lumen == Tissue.STOMACH_LUMEN else 1.2
        gas_above = lumen + draws.uniform(0.0, 4.5) + rough * patch.coarse.take(at)
        content = _content(at, patch, patient, draws)
        hu = _filled(hu, at, torch.where(patch.tissues.take(at) > gas_above, patient[Tissue.GAS], content))
    return hu


def _filled(hu: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """The HU with other values at these flat indices."""
    return hu.flatten().index_copy(0, at, values).view(hu.shape)


def _kidneys(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """Pyramids in the medulla, columns of cortex between them; fat and a pelvis in the sinus; sometimes cysts."""
    columns = (patch.tissues == Tissue.KIDNEY_MEDULLA) & (patch.other > draws.uniform(-0.3, 0.6))
    hu = torch.where(columns, patient[Tissue.KIDNEY_CORTEX], hu)
    sinus = patch.tissues == Tissue.KIDNEY_SINUS
    pelvis = patient[Tissue.URINE] + (draws.uniform(0.0, 500.0) if patient.phase == "delayed" else 0.0)
    hu = torch.where(sinus & (patch.other.abs() < 0.35), patient[Tissue.VEIN], hu)
    hu = torch.where(sinus & (patch.middle > draws.uniform(0.0, 1.0)), pelvis, hu)
    kidney = (Tissue.KIDNEY_CORTEX, 2)  # and the medulla
    cysts = Lesions(kidney, 0.25, 3, (3.0, 18.0), lambda: patient[Tissue.WATER] + draws.uniform(-4.0, 20.0))
    return _with_lesions(hu, cysts, patch, draws)


def _textured(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """The grain of each tissue, fine and less fine; the lungs' vessels, and what may lie in the lungs."""
    fine, rough = [0.0] * TISSUE_COUNT, [0.0] * TISSUE_COUNT
    for tissue, (fine_hu, rough_hu) in _GRAIN_HU.items():
        fine[tissue], rough[tissue] = fine_hu, rough_hu
    if patient.phase == "arterial":  # the red pulp fills at its own pace
        mottle = draws.uniform(0.2, 1.3)
        fine[Tissue.SPLEEN], rough[Tissue.SPLEEN] = 12.0 * mottle, 22.0 * mottle
    codes = patch.tissues.long()
    hu = hu + _table(fine, draws).take(codes) * patch.fine + _table(rough, draws).take(codes) * patch.other
    lung = patch.tissues == Tissue.LUNG
    hu = torch.where(lung & (patch.other.square() + patch.middle.square() < 0.04), patient[Tissue.VEIN], hu)
    if draws.chance(0.12):  # an effusion, or a lung that has collapsed
        hu = torch.where(lung & (patch.coarse > draws.uniform(0.3, 1.2)), draws.uniform(0.0, 45.0), hu)
    return hu


def _liver(hu: Tensor, patch: Patch, patient: Patient, draws: Draws) -> Tensor:
    """Vessels that branch through the liver, and lesions."""
    liver = patch.tissues == Tissue.LIVER
    width = draws.uniform(0.004, 0.035)
    a, b = patch.noise(34.0, draws), patch.noise(34.0, draws)
    portal = a.square() + b.square() < width
    hepatic = (a - 0.7).square() + (patch.coarse - b).square() < width
    hu = torch.where(liver & portal, patient[Tissue.PORTAL_VEIN], hu)
    hu = torch.where(liver & hepatic, patient[Tissue.VEIN], hu)
    base = patient[Tissue.LIVER]

    def lesion() -> float:
        if draws.chance(0.25):
            return patient[Tissue.WATER]
        if draws.chance(0.15):
            return base + draws.uniform(10.0, 60.0)
        return base - draws.uniform(10.0, 60.0)

    hu = _with_lesions(hu, Lesions((Tissue.LIVER, 1), 0.35, 7, (3.0, 28.0), lesion), patch, draws)
    return _with_lesions(hu, Lesions((Tissue.SPLEEN, 1), 0.1, 2, (3.0, 12.0), lesion), patch, draws)


@dataclass(frozen=True)
class Lesions:
    """Which lesions an organ may have: in this share of patients, up to so many, of these radii and HU.

    organ: its first tissue, and how many tissues it has.
    """

    organ: tuple[int, int]
    share: float
    most: int
    radius_mm: tuple[float, float]
    hu: Callable[[], float]


def _with_lesions(hu: Tensor, lesions: Lesions, patch: Patch, draws: Draws) -> Tensor:
    """Uneven balls inside the organ, in some patients."""
    if not draws.chance(lesions.share):
        return hu
    places = patch.places(*lesions.organ)
    count = 1 + int(draws.uniform(0.0, lesions.most - 0.01))
    picks = [draws.uniform(0.0, 0.9999) for _ in range(count)]
    if len(places) == 0:
        return hu
    hu = hu.clone()
    for pick in picks:
        centre = np.unravel_index(int(places[int(pick * len(places))]), patch.shape)
        radius = math.exp(draws.uniform(math.log(lesions.radius_mm[0]), math.log(lesions.radius_mm[1])))
        reach = [math.ceil(1.6 * radius / s) for s in patch.spacing_mm]
        box = tuple(slice(max(0, int(c) - r), int(c) + r + 1) for c, r in zip(centre, reach, strict=True))
        squared = torch.zeros(())
        for axis, (c, part, step) in enumerate(zip(centre, box, patch.spacing_mm, strict=True)):
            along = (torch.arange(part.start, min(part.stop, patch.shape[axis]), device=draws.device) - int(c)) * step
            squared = squared + along.float().square().reshape([-1 if a == axis else 1 for a in range(3)])
        ball = _within(patch.tissues[box], *lesions.organ) & (squared.sqrt() < radius * (1.0 + 0.25 * patch.other[box]))
        hu[box] = torch.where(ball, lesions.hu() + 6.0 * patch.fine[box], hu[box])
    return hu


def _acquired(hu: Tensor, patch: Patch, draws: Draws) -> Tensor:
    """What a scanner makes of it: blur in the plane, slices of some thickness, noise white and grainy, an offset."""
    in_plane = draws.uniform(1.0, 2.2)
    slice_mm = draws.uniform(1.0, 6.0)
    sigma_mm = (in_plane, in_plane, 0.29 * slice_mm)  # a box's deviation is its width / sqrt(12)
    hu = blurred(hu.clamp(-1024.0, 1500.0), [s / step for s, step in zip(sigma_mm, patch.spacing_mm, strict=True)])
    level = math.exp(draws.uniform(math.log(2.0), math.log(22.0)))
    share = draws.uniform(0.2, 0.9)
    grain = (3.5, 0.5, 0.3) if draws.chance(0.15) else (0.7, 0.7, 0.4)  # streaks from side to side, as arms make them
    grainy = _normalised(blurred(draws.field(patch.shape), grain))
    noise = math.sqrt(share) * grainy + math.sqrt(1.0 - share) * draws.field(patch.shape)
    return hu + level * noise + draws.normal(0.0, 3.0)


def _normalised(noise: Tensor) -> Tensor:
    return noise / noise.std(correction=0).clamp(min=1e-3)
