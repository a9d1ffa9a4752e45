"""Synthesis of a CT from a tissue map: a random patient, contrast phase and scanner each time.

The map comes from `tissue_maps.tissue_map`; it may be a patch, already deformed. All that is random (HU by phase,
vessels, lesions, bowel content, girth, noise) follows from the generator's seed alone.
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
from abdoseg.training.augment.rng import Rng, host_to_device
from abdoseg.training.augment.shapes import normalised, smooth_noise
from abdoseg.training.augment.tensor_filters import gaussian_blur
from abdoseg.training.augment.tissue_maps import (
    SCANNED,
    SCANNED_START_HU,
    SCANNED_STEP_HU,
    WALL,
    WALL_COUNT,
    WALL_START_MM,
    WALL_STEP_MM,
)

_PHASE_UP_TO = (0.3, 0.5, 0.85)  # cumulative probabilities of PHASES
# The phase towards which a scan may deviate: few are taken exactly at their phase's nominal delay.
_NEXT: Mapping[Phase, Phase] = {
    "noncontrast": "noncontrast", "arterial": "portal", "portal": "arterial", "delayed": "portal",
}  # fmt: skip
# Fine and less fine noise within a tissue, HU.
_GRAIN_HU: Mapping[Tissue, tuple[float, float]] = {
    Tissue.LIVER: (2, 3), Tissue.SPLEEN: (2, 2), Tissue.PANCREAS: (14, 6), Tissue.MUSCLE: (7, 4),
    Tissue.KIDNEY_CORTEX: (6, 5), Tissue.KIDNEY_MEDULLA: (8, 6), Tissue.KIDNEY_SINUS: (15, 10),
    Tissue.BONE_MARROW: (35, 35), Tissue.BONE_CORTEX: (80, 120), Tissue.FAT: (5, 3), Tissue.LUNG: (25, 25),
    Tissue.MYOCARDIUM: (4, 6), Tissue.HEART_BLOOD: (6, 12), Tissue.VEIN: (5, 12), Tissue.ADRENAL: (4, 4),
    Tissue.BOWEL_WALL: (8, 8), Tissue.GLAND: (6, 8), Tissue.TUMOUR: (8, 12), Tissue.SLOW_PULP: (2, 2),
}  # fmt: skip


def synthesize_ct(tissues: Tensor, spacing_mm: Sequence[float], rng: Rng, phase: Phase | None = None) -> Tensor:
    """A CT of a random patient, phase and scanner: (I, J, K) float32 HU.

    Args:
        tissues: (I, J, K) uint8, a tissue map or a patch of one, on the generator's device.
        spacing_mm: of its voxels.
        rng: the sample's random numbers.
        phase: the contrast phase; drawn if None.
    """
    patch = TissuePatch(tissues, spacing_mm, rng)
    patient = _patient(rng, phase)
    hu = _table(patient.hu, rng).take(tissues.long())
    hu = _scanned(hu, patch, patient, rng)
    hu = _wall(hu, patch, patient, rng)
    hu = _gaps(hu, patch, patient, rng)
    hu = _lumens(hu, patch, patient, rng)
    hu = _kidneys(hu, patch, patient, rng)
    hu = _textured(hu, patch, patient, rng)
    hu = _liver(hu, patch, patient, rng)
    return _acquired(hu, patch, rng)


class TissuePatch:
    """The tissues of a patch, and smooth noise on its grid that several of them use.

    coarse, middle, other, fine: hills 60, 24, 14 and 9 mm apart; bubbles: white. (I, J, K) each, deviation 1.
    """

    def __init__(self, tissues: Tensor, spacing_mm: Sequence[float], rng: Rng) -> None:
        self.tissues = tissues
        self._on_host = tissues.cpu().flatten()  # one transfer, instead of one per tissue
        self.shape = tuple(tissues.shape)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.coarse, self.middle, self.fine = (self.noise(period_mm, rng) for period_mm in (60.0, 24.0, 9.0))
        self.other, self.bubbles = self.noise(14.0, rng), rng.noise(self.shape)

    def noise(self, period_mm: float, rng: Rng) -> Tensor:
        """(I, J, K) smooth noise, mean 0, standard deviation about 1, its hills about `period_mm` apart."""
        return smooth_noise(self.shape, self.spacing_mm, period_mm, rng)

    def places(self, first: int, count: int = 1) -> Tensor:
        """(N,) on the host: flat indices of the voxels of `count` tissues, from `first` on."""
        return _within(self._on_host, first, count).nonzero()[:, 0]


@dataclass(frozen=True)
class Patient:
    """What is constant in a scan: its contrast phase, and the mean HU of each tissue."""

    phase: Phase
    hu: tuple[float, ...]

    def __getitem__(self, tissue: int) -> float:
        return self.hu[tissue]


def _patient(rng: Rng, phase: Phase | None) -> Patient:
    drawn = PHASES[bisect(_PHASE_UP_TO, rng.uniform(0.0, 1.0))]
    phase = phase or drawn
    deviations = rng.normals(TISSUE_COUNT).numpy()
    strength = math.exp(rng.normal(0.0, 0.28))
    hu = patient_hu(phase, deviations, strength=strength, towards=(_NEXT[phase], max(0.0, rng.uniform(-0.4, 0.5))))
    if rng.bernoulli(0.25):  # a fatty liver
        hu[Tissue.LIVER] -= rng.uniform(8.0, 60.0)
    return Patient(phase, tuple(hu.tolist()))


def _table(values: Sequence[float], rng: Rng) -> Tensor:
    """(256,) a value by tissue code; 0 for shells and scanned levels."""
    return host_to_device(torch.tensor([*values, *[0.0] * (256 - len(values))]), rng.device)


def _within(tissues: Tensor, first: int, count: int) -> Tensor:
    return (tissues >= first) & (tissues < first + count)


def _scanned(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Tissue taken over from a scan, its enhancement scaled to the patient's phase."""
    level = SCANNED_START_HU + SCANNED_STEP_HU * (patch.tissues.float() - SCANNED + 0.5)
    gain = rng.uniform(0.1, 0.5) if patient.phase == "noncontrast" else rng.uniform(0.5, 1.3)
    soft = rng.normal(0.0, 5.0)
    level = torch.where(level > 60.0, 60.0 + (level - 60.0) * gain, level) + soft * (level > -20.0)
    return torch.where(patch.tissues >= SCANNED, level, hu)


def _wall(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """The body wall around the trunk: layers of muscle, fat and skin; air and a table around them."""
    distance = WALL_START_MM + WALL_STEP_MM * (patch.tissues.float() - WALL)
    muscle_mm = rng.uniform(3.0, 14.0) + 2.5 * patch.middle
    fat_mm = rng.log_uniform(4.0, 55.0)
    skin_at = muscle_mm + (fat_mm * (1.0 + 0.22 * patch.coarse)).clamp(min=2.0)
    fat = patient[Tissue.FAT] + 35.0 * (patch.other.abs() < 0.04) + 4.0 * patch.fine
    between = torch.remainder(distance + 3.0 * patch.coarse, rng.uniform(5.0, 9.0)) < 1.4
    between = (between & (patch.middle > rng.uniform(-0.8, 0.6))) | (patch.middle.abs() < 0.04)
    muscle = torch.where(between, patient[Tissue.FAT] + 50.0, patient[Tissue.MUSCLE] + 6.0 * patch.fine)
    inner_mm = rng.uniform(-20.0, -6.0) + 2.5 * patch.middle
    layers = torch.where((distance < muscle_mm) & (distance > inner_mm), muscle, fat)
    layers = torch.where(distance > skin_at, patient[Tissue.SKIN], layers)
    outside = distance > skin_at + 2.5
    layers = torch.where(outside, patient[Tissue.AIR], layers)
    wall = _within(patch.tissues, WALL, WALL_COUNT)
    hu = torch.where(wall, layers, hu)
    if not rng.bernoulli(0.4):
        return hu
    i, j, _ = patch.shape
    across = (torch.arange(i, device=rng.device) / i - rng.uniform(0.3, 0.7)) * rng.uniform(0.0, 1.0)
    at = rng.uniform(0.0, 0.3) * j + across.square() * j * 0.5
    depth_mm = (torch.arange(j, device=rng.device)[None, :] - at[:, None]).abs() * patch.spacing_mm[1]
    table = (depth_mm < rng.uniform(1.5, 4.0))[:, :, None] & ((wall & outside) | (patch.tissues == Tissue.AIR))
    return torch.where(table, patient[Tissue.TABLE], hu)


def _gaps(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Between the organs: fat, strands, vessels, and bowel or fluid in some patients."""
    at = host_to_device(patch.places(Tissue.GAP), rng.device)
    coarse, middle, other, fine = (noise.take(at) for noise in (patch.coarse, patch.middle, patch.other, patch.fine))
    fat = patient[Tissue.GAP] + 6.0 * fine
    fat = torch.where(middle.abs() < 0.06, fat + rng.uniform(10.0, 70.0), fat)
    vessel = torch.where(coarse > 0.6, patient[Tissue.ARTERY], patient[Tissue.PORTAL_VEIN])
    fat = torch.where(other.square() + middle.square() < rng.uniform(0.01, 0.07), vessel, fat)
    loops = 0.6 * patch.noise(32.0, rng).take(at) + 0.5 * coarse - rng.uniform(0.2, 1.4)
    fat = torch.where(loops > 0, patient[Tissue.BOWEL_WALL] + 5.0 * fine, fat)
    fat = torch.where(loops > 0.45, _content(at, patch, patient, rng), fat)
    if rng.bernoulli(0.08):  # ascites
        fat = torch.where(coarse > rng.uniform(-0.5, 1.0), patient[Tissue.WATER], fat)
    return _filled(hu, at, fat)


def _content(at: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Bowel content: fluid, faeces or food with bubbles, oral contrast in a third of the patients.

    at: (N,) flat indices of the voxels to fill.
    """
    coarse, middle, fine = (noise.take(at) for noise in (patch.coarse, patch.middle, patch.fine))
    fluid = patient[Tissue.WATER] + rng.uniform(0.0, 25.0) + 5.0 * fine
    gassy = fine + patch.bubbles.take(at) > rng.uniform(1.3, 2.6)
    solid = patient[Tissue.FAECES] + 15.0 * fine - 500.0 * gassy
    content = torch.where(middle + 0.5 * coarse > rng.uniform(-0.5, 1.5), solid, fluid)
    if not rng.bernoulli(0.33):
        return content
    contrast = patient[Tissue.ORAL_CONTRAST] * rng.uniform(0.3, 1.6) + 15.0 * fine
    return torch.where(coarse + 0.3 * middle > rng.uniform(-1.0, 0.6), contrast, content)


def _lumens(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Stomach and bowel, each with its own content, gas on top."""
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        at = host_to_device(patch.places(lumen, LUMEN_TIERS), rng.device)
        rough = 0.3 if lumen == Tissue.STOMACH_LUMEN else 1.2
        gas_above = lumen + rng.uniform(0.0, 4.5) + rough * patch.coarse.take(at)
        content = _content(at, patch, patient, rng)
        hu = _filled(hu, at, torch.where(patch.tissues.take(at) > gas_above, patient[Tissue.GAS], content))
    return hu


def _filled(hu: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """The HU with other values at these flat indices."""
    return hu.flatten().index_copy(0, at, values).view(hu.shape)


def _kidneys(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Pyramids in the medulla, columns of cortex between them; fat and a pelvis in the sinus; sometimes cysts."""
    columns = (patch.tissues == Tissue.KIDNEY_MEDULLA) & (patch.other > rng.uniform(-0.3, 0.6))
    hu = torch.where(columns, patient[Tissue.KIDNEY_CORTEX], hu)
    sinus = patch.tissues == Tissue.KIDNEY_SINUS
    pelvis = patient[Tissue.URINE] + (rng.uniform(0.0, 500.0) if patient.phase == "delayed" else 0.0)
    hu = torch.where(sinus & (patch.other.abs() < 0.35), patient[Tissue.VEIN], hu)
    hu = torch.where(sinus & (patch.middle > rng.uniform(0.0, 1.0)), pelvis, hu)
    kidney = (Tissue.KIDNEY_CORTEX, 2)  # and the medulla
    cysts = Lesions(kidney, 0.25, 3, (3.0, 18.0), lambda: patient[Tissue.WATER] + rng.uniform(-4.0, 20.0))
    return _with_lesions(hu, cysts, patch, rng)


def _textured(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """The texture of each tissue; vessels, effusions and atelectasis in the lungs."""
    fine, rough = [0.0] * TISSUE_COUNT, [0.0] * TISSUE_COUNT
    for tissue, (fine_hu, rough_hu) in _GRAIN_HU.items():
        fine[tissue], rough[tissue] = fine_hu, rough_hu
    if patient.phase == "arterial":  # the red pulp fills at its own pace
        mottle = rng.uniform(0.2, 1.3)
        fine[Tissue.SPLEEN], rough[Tissue.SPLEEN] = 12.0 * mottle, 22.0 * mottle
    codes = patch.tissues.long()
    hu = hu + _table(fine, rng).take(codes) * patch.fine + _table(rough, rng).take(codes) * patch.other
    lung = patch.tissues == Tissue.LUNG
    hu = torch.where(lung & (patch.other.square() + patch.middle.square() < 0.04), patient[Tissue.VEIN], hu)
    if rng.bernoulli(0.12):  # an effusion, or a lung that has collapsed
        hu = torch.where(lung & (patch.coarse > rng.uniform(0.3, 1.2)), rng.uniform(0.0, 45.0), hu)
    return hu


def _liver(hu: Tensor, patch: TissuePatch, patient: Patient, rng: Rng) -> Tensor:
    """Vessels in the liver, and lesions in liver and spleen."""
    liver = patch.tissues == Tissue.LIVER
    width = rng.uniform(0.004, 0.035)
    a, b = patch.noise(34.0, rng), patch.noise(34.0, rng)
    portal = a.square() + b.square() < width
    hepatic = (a - 0.7).square() + (patch.coarse - b).square() < width
    hu = torch.where(liver & portal, patient[Tissue.PORTAL_VEIN], hu)
    hu = torch.where(liver & hepatic, patient[Tissue.VEIN], hu)
    base = patient[Tissue.LIVER]

    def lesion() -> float:
        if rng.bernoulli(0.25):
            return patient[Tissue.WATER]
        if rng.bernoulli(0.15):
            return base + rng.uniform(10.0, 60.0)
        return base - rng.uniform(10.0, 60.0)

    hu = _with_lesions(hu, Lesions((Tissue.LIVER, 1), 0.35, 7, (3.0, 28.0), lesion), patch, rng)
    return _with_lesions(hu, Lesions((Tissue.SPLEEN, 1), 0.1, 2, (3.0, 12.0), lesion), patch, rng)


@dataclass(frozen=True)
class Lesions:
    """Lesions that an organ may have.

    organ: its first tissue, and the number of its tissues. probability: of a patient to have any. most: their number.
    """

    organ: tuple[int, int]
    probability: float
    most: int
    radius_mm: tuple[float, float]
    hu: Callable[[], float]


def _with_lesions(hu: Tensor, lesions: Lesions, patch: TissuePatch, rng: Rng) -> Tensor:
    """The HU with uneven balls inside the organ, in some patients."""
    if not rng.bernoulli(lesions.probability):
        return hu
    places = patch.places(*lesions.organ)
    count = 1 + int(rng.uniform(0.0, lesions.most - 0.01))
    picks = [rng.uniform(0.0, 0.9999) for _ in range(count)]
    if len(places) == 0:
        return hu
    hu = hu.clone()
    for pick in picks:
        centre = np.unravel_index(int(places[int(pick * len(places))]), patch.shape)
        radius = rng.log_uniform(*lesions.radius_mm)
        reach = [math.ceil(1.6 * radius / s) for s in patch.spacing_mm]
        box = tuple(slice(max(0, int(c) - r), int(c) + r + 1) for c, r in zip(centre, reach, strict=True))
        squared = torch.zeros(())
        for axis, (c, part, step) in enumerate(zip(centre, box, patch.spacing_mm, strict=True)):
            along = (torch.arange(part.start, min(part.stop, patch.shape[axis]), device=rng.device) - int(c)) * step
            squared = squared + along.float().square().reshape([-1 if a == axis else 1 for a in range(3)])
        ball = _within(patch.tissues[box], *lesions.organ) & (squared.sqrt() < radius * (1.0 + 0.25 * patch.other[box]))
        hu[box] = torch.where(ball, lesions.hu() + 6.0 * patch.fine[box], hu[box])
    return hu


def _acquired(hu: Tensor, patch: TissuePatch, rng: Rng) -> Tensor:
    """The scanner's part: blur in the plane, slice thickness, white and correlated noise, an offset."""
    in_plane = rng.uniform(1.0, 2.2)
    slice_mm = rng.uniform(1.0, 6.0)
    sigma_mm = (in_plane, in_plane, 0.29 * slice_mm)  # a box's deviation is its width / sqrt(12)
    hu = gaussian_blur(
        hu.clamp(-1024.0, 1500.0), [s / step for s, step in zip(sigma_mm, patch.spacing_mm, strict=True)]
    )
    level = rng.log_uniform(2.0, 22.0)
    correlated = rng.uniform(0.2, 0.9)  # fraction of the noise's variance
    grain = (3.5, 0.5, 0.3) if rng.bernoulli(0.15) else (0.7, 0.7, 0.4)  # streaks from side to side, as arms make them
    grainy = normalised(gaussian_blur(rng.noise(patch.shape), grain))
    noise = math.sqrt(correlated) * grainy + math.sqrt(1.0 - correlated) * rng.noise(patch.shape)
    return hu + level * noise + rng.normal(0.0, 3.0)
