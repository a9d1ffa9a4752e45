"""A CT painted from a map of tissues: another patient, another contrast phase, another scanner each time.

The map comes from `tissue_map`; it may be a patch, and deformed already. Everything drawn here (HU by phase, vessels,
lesions, what the bowel holds, girth, noise) follows from the generator alone.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from abdoseg.tissues import LUMEN_TIERS, PHASES, TISSUE_COUNT, Phase, Tissue, patient_hu
from abdoseg.training.separable import blurred, enlarged
from abdoseg.training.tissue_maps import (
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


def paint(tissues: Tensor, generator: torch.Generator, spacing_mm: Sequence[float]) -> Tensor:
    """A CT of these tissues: (I, J, K) float32 HU, of a patient, a phase and a scanner that the generator draws.

    tissues: (I, J, K) uint8, a whole map or a patch of one, on the generator's device.
    """
    draw = Draw(generator, tissues.shape, spacing_mm)
    patient = _patient(draw)
    hu = _table(patient.hu, draw).take(tissues.long())
    hu = _scanned(hu, tissues, patient, draw)
    hu = _wall(hu, tissues, patient, draw)
    hu = _gaps(hu, tissues, patient, draw)
    hu = _lumens(hu, tissues, patient, draw)
    hu = _kidneys(hu, tissues, patient, draw)
    hu = _textured(hu, tissues, patient, draw)
    hu = _liver(hu, tissues, patient, draw)
    return _acquired(hu, draw)


class Draw:
    """The generator, the patch's grid, and noise on it that several tissues share.

    coarse, middle, other, fine: hills 60, 24, 14 and 9 mm apart; bubbles: white. (I, J, K) each, deviation 1.
    """

    def __init__(self, generator: torch.Generator, shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
        self.generator, self.device = generator, generator.device
        self.shape = tuple(shape)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.coarse, self.middle, self.fine = self.noise(60.0), self.noise(24.0), self.noise(9.0)
        self.other, self.bubbles = self.noise(14.0), self.white()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator, device=self.device))

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        return mean + sd * float(torch.randn((), generator=self.generator, device=self.device))

    def chance(self, probability: float) -> bool:
        return self.uniform(0.0, 1.0) < probability

    def white(self, shape: Sequence[int] | None = None) -> Tensor:
        return torch.randn(tuple(shape or self.shape), generator=self.generator, device=self.device)

    def noise(self, period_mm: float) -> Tensor:
        """(I, J, K) smooth noise, mean 0, deviation about 1, of hills about `period_mm` apart."""
        lattice = [
            max(2, math.ceil(2.0 * n * s / period_mm) + 1) for n, s in zip(self.shape, self.spacing_mm, strict=True)
        ]
        hills = _normalised(blurred(self.white(lattice), (0.7, 0.7, 0.7)))
        return enlarged(hills, self.shape)


@dataclass(frozen=True)
class Patient:
    """What holds for the whole scan: its phase, and the HU of each tissue."""

    phase: Phase
    hu: tuple[float, ...]

    def __getitem__(self, tissue: int) -> float:
        return self.hu[tissue]


def _patient(draw: Draw) -> Patient:
    phase = PHASES[bisect(_PHASE_UP_TO, draw.uniform(0.0, 1.0))]
    deviations = draw.white((TISSUE_COUNT,)).cpu().numpy()
    strength = math.exp(draw.normal(0.0, 0.28))
    hu = patient_hu(phase, deviations, strength=strength, towards=(_NEXT[phase], max(0.0, draw.uniform(-0.4, 0.5))))
    if draw.chance(0.25):  # a fatty liver
        hu[Tissue.LIVER] -= draw.uniform(8.0, 60.0)
    return Patient(phase, tuple(hu.tolist()))


def _table(values: Sequence[float], draw: Draw) -> Tensor:
    """(256,) a value by tissue code; 0 for shells and scanned levels."""
    return torch.tensor([*values, *[0.0] * (256 - len(values))], device=draw.device)


def _within(tissues: Tensor, first: int, count: int) -> Tensor:
    return (tissues >= first) & (tissues < first + count)


def _scanned(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """What a scan showed, its enhancement stretched or squeezed to the patient's phase."""
    level = SCANNED_START_HU + SCANNED_STEP_HU * (tissues.float() - SCANNED + 0.5)
    gain = draw.uniform(0.1, 0.5) if patient.phase == "noncontrast" else draw.uniform(0.5, 1.3)
    soft = draw.normal(0.0, 5.0)
    level = torch.where(level > 60.0, 60.0 + (level - 60.0) * gain, level) + soft * (level > -20.0)
    return torch.where(tissues >= SCANNED, level, hu)


def _wall(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """The body wall around the trunk: sheets of muscle, fat, skin, air and a table."""
    distance = WALL_START_MM + WALL_STEP_MM * (tissues.float() - WALL)
    muscle_mm = draw.uniform(3.0, 14.0) + 2.5 * draw.middle
    fat_mm = math.exp(draw.uniform(math.log(4.0), math.log(55.0)))
    skin_at = muscle_mm + (fat_mm * (1.0 + 0.22 * draw.coarse)).clamp(min=2.0)
    fat = patient[Tissue.FAT] + 35.0 * (draw.other.abs() < 0.04) + 4.0 * draw.fine
    between = torch.remainder(distance + 3.0 * draw.coarse, draw.uniform(5.0, 9.0)) < 1.4
    between = (between & (draw.middle > draw.uniform(-0.8, 0.6))) | (draw.middle.abs() < 0.04)
    muscle = torch.where(between, patient[Tissue.FAT] + 50.0, patient[Tissue.MUSCLE] + 6.0 * draw.fine)
    inner_mm = draw.uniform(-20.0, -6.0) + 2.5 * draw.middle
    layers = torch.where((distance < muscle_mm) & (distance > inner_mm), muscle, fat)
    layers = torch.where(distance > skin_at, patient[Tissue.SKIN], layers)
    outside = distance > skin_at + 2.5
    layers = torch.where(outside, patient[Tissue.AIR], layers)
    wall = _within(tissues, WALL, WALL_COUNT)
    hu = torch.where(wall, layers, hu)
    if not draw.chance(0.4):
        return hu
    i, j, _ = draw.shape
    across = (torch.arange(i, device=draw.device) / i - draw.uniform(0.3, 0.7)) * draw.uniform(0.0, 1.0)
    at = draw.uniform(0.0, 0.3) * j + across.square() * j * 0.5
    depth_mm = (torch.arange(j, device=draw.device)[None, :] - at[:, None]).abs() * draw.spacing_mm[1]
    table = (depth_mm < draw.uniform(1.5, 4.0))[:, :, None] & ((wall & outside) | (tissues == Tissue.AIR))
    return torch.where(table, patient[Tissue.TABLE], hu)


def _gaps(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Between the organs: fat, strands, vessels, and bowel or fluid in some patients."""
    gap = tissues == Tissue.GAP
    at = gap.flatten().nonzero()[:, 0]
    coarse, middle, other, fine = (field.take(at) for field in (draw.coarse, draw.middle, draw.other, draw.fine))
    fat = patient[Tissue.GAP] + 6.0 * fine
    fat = torch.where(middle.abs() < 0.06, fat + draw.uniform(10.0, 70.0), fat)
    vessel = torch.where(coarse > 0.6, patient[Tissue.ARTERY], patient[Tissue.PORTAL_VEIN])
    fat = torch.where(other.square() + middle.square() < draw.uniform(0.01, 0.07), vessel, fat)
    loops = 0.6 * draw.noise(32.0).take(at) + 0.5 * coarse - draw.uniform(0.2, 1.4)
    fat = torch.where(loops > 0, patient[Tissue.BOWEL_WALL] + 5.0 * fine, fat)
    fat = torch.where(loops > 0.45, _content(at, patient, draw), fat)
    if draw.chance(0.08):  # ascites
        fat = torch.where(coarse > draw.uniform(-0.5, 1.0), patient[Tissue.WATER], fat)
    return hu.masked_scatter(gap, fat)


def _content(at: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """What a bowel holds, by place: fluid, faeces or food with bubbles, oral contrast in a third of the patients.

    at: (N,) flat indices of the voxels to fill.
    """
    coarse, middle, fine = (field.take(at) for field in (draw.coarse, draw.middle, draw.fine))
    fluid = patient[Tissue.WATER] + draw.uniform(0.0, 25.0) + 5.0 * fine
    gassy = fine + draw.bubbles.take(at) > draw.uniform(1.3, 2.6)
    solid = patient[Tissue.FAECES] + 15.0 * fine - 500.0 * gassy
    content = torch.where(middle + 0.5 * coarse > draw.uniform(-0.5, 1.5), solid, fluid)
    if not draw.chance(0.33):
        return content
    contrast = patient[Tissue.ORAL_CONTRAST] * draw.uniform(0.3, 1.6) + 15.0 * fine
    return torch.where(coarse + 0.3 * middle > draw.uniform(-1.0, 0.6), contrast, content)


def _lumens(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Stomach and bowel, each with its own contents; gas lies on top."""
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        inside = _within(tissues, lumen, LUMEN_TIERS)
        at = inside.flatten().nonzero()[:, 0]
        rough = 0.3 if lumen == Tissue.STOMACH_LUMEN else 1.2
        gas_above = lumen + draw.uniform(0.0, 4.5) + rough * draw.coarse.take(at)
        content = torch.where(tissues.take(at) > gas_above, patient[Tissue.GAS], _content(at, patient, draw))
        hu = hu.masked_scatter(inside, content)
    return hu


def _kidneys(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Pyramids in the medulla, columns of cortex between them; fat and a pelvis in the sinus; sometimes cysts."""
    columns = (tissues == Tissue.KIDNEY_MEDULLA) & (draw.other > draw.uniform(-0.3, 0.6))
    hu = torch.where(columns, patient[Tissue.KIDNEY_CORTEX], hu)
    sinus = tissues == Tissue.KIDNEY_SINUS
    pelvis = patient[Tissue.URINE] + (draw.uniform(0.0, 500.0) if patient.phase == "delayed" else 0.0)
    hu = torch.where(sinus & (draw.other.abs() < 0.35), patient[Tissue.VEIN], hu)
    hu = torch.where(sinus & (draw.middle > draw.uniform(0.0, 1.0)), pelvis, hu)
    kidney = (tissues == Tissue.KIDNEY_CORTEX) | (tissues == Tissue.KIDNEY_MEDULLA)
    cysts = Lesions(0.25, 3, (3.0, 18.0), lambda: patient[Tissue.WATER] + draw.uniform(-4.0, 20.0))
    return _with_lesions(hu, kidney, cysts, draw)


def _textured(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """The grain of each tissue, fine and less fine; the lungs' vessels, and what may lie in the lungs."""
    fine, rough = [0.0] * TISSUE_COUNT, [0.0] * TISSUE_COUNT
    for tissue, (fine_hu, rough_hu) in _GRAIN_HU.items():
        fine[tissue], rough[tissue] = fine_hu, rough_hu
    if patient.phase == "arterial":  # the red pulp fills at its own pace
        mottle = draw.uniform(0.2, 1.3)
        fine[Tissue.SPLEEN], rough[Tissue.SPLEEN] = 12.0 * mottle, 22.0 * mottle
    codes = tissues.long()
    hu = hu + _table(fine, draw).take(codes) * draw.fine + _table(rough, draw).take(codes) * draw.other
    lung = tissues == Tissue.LUNG
    hu = torch.where(lung & (draw.other.square() + draw.middle.square() < 0.04), patient[Tissue.VEIN], hu)
    if draw.chance(0.12):  # an effusion, or a lung that has collapsed
        hu = torch.where(lung & (draw.coarse > draw.uniform(0.3, 1.2)), draw.uniform(0.0, 45.0), hu)
    return hu


def _liver(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Vessels that branch through the liver, and lesions."""
    liver = tissues == Tissue.LIVER
    width = draw.uniform(0.004, 0.035)
    a, b = draw.noise(34.0), draw.noise(34.0)
    portal = a.square() + b.square() < width
    hepatic = (a - 0.7).square() + (draw.coarse - b).square() < width
    hu = torch.where(liver & portal, patient[Tissue.PORTAL_VEIN], hu)
    hu = torch.where(liver & hepatic, patient[Tissue.VEIN], hu)
    base = patient[Tissue.LIVER]

    def lesion() -> float:
        if draw.chance(0.25):
            return patient[Tissue.WATER]
        if draw.chance(0.15):
            return base + draw.uniform(10.0, 60.0)
        return base - draw.uniform(10.0, 60.0)

    hu = _with_lesions(hu, liver, Lesions(0.35, 7, (3.0, 28.0), lesion), draw)
    return _with_lesions(hu, tissues == Tissue.SPLEEN, Lesions(0.1, 2, (3.0, 12.0), lesion), draw)


@dataclass(frozen=True)
class Lesions:
    """Which lesions an organ may have: in this share of patients, up to so many, of these radii and HU."""

    share: float
    most: int
    radius_mm: tuple[float, float]
    hu: Callable[[], float]


def _with_lesions(hu: Tensor, organ: Tensor, lesions: Lesions, draw: Draw) -> Tensor:
    """Uneven balls inside the organ's mask, in some patients."""
    if not draw.chance(lesions.share):
        return hu
    places = organ.flatten().nonzero()[:, 0]
    count = 1 + int(draw.uniform(0.0, lesions.most - 0.01))
    picks = [draw.uniform(0.0, 0.9999) for _ in range(count)]
    if len(places) == 0:
        return hu
    hu = hu.clone()
    for pick in picks:
        centre = np.unravel_index(int(places[int(pick * len(places))]), draw.shape)
        radius = math.exp(draw.uniform(math.log(lesions.radius_mm[0]), math.log(lesions.radius_mm[1])))
        reach = [math.ceil(1.6 * radius / s) for s in draw.spacing_mm]
        box = tuple(slice(max(0, int(c) - r), int(c) + r + 1) for c, r in zip(centre, reach, strict=True))
        squared = torch.zeros((), device=draw.device)
        for axis, (c, part, step) in enumerate(zip(centre, box, draw.spacing_mm, strict=True)):
            along = (torch.arange(part.start, min(part.stop, draw.shape[axis]), device=draw.device) - int(c)) * step
            squared = squared + along.float().square().reshape([-1 if a == axis else 1 for a in range(3)])
        ball = organ[box] & (squared.sqrt() < radius * (1.0 + 0.25 * draw.other[box]))
        hu[box] = torch.where(ball, lesions.hu() + 6.0 * draw.fine[box], hu[box])
    return hu


def _acquired(hu: Tensor, draw: Draw) -> Tensor:
    """What a scanner makes of it: blur in the plane, slices of some thickness, noise white and grainy, an offset."""
    in_plane = draw.uniform(1.0, 2.2)
    slice_mm = draw.uniform(1.0, 6.0)
    sigma_mm = (in_plane, in_plane, 0.29 * slice_mm)  # a box's deviation is its width / sqrt(12)
    hu = blurred(hu.clamp(-1024.0, 1500.0), [s / step for s, step in zip(sigma_mm, draw.spacing_mm, strict=True)])
    level = math.exp(draw.uniform(math.log(2.0), math.log(22.0)))
    share = draw.uniform(0.2, 0.9)
    grain = (3.5, 0.5, 0.3) if draw.chance(0.15) else (0.7, 0.7, 0.4)  # streaks from side to side, as arms make them
    grainy = _normalised(blurred(draw.white(), grain))
    return hu + level * (math.sqrt(share) * grainy + math.sqrt(1.0 - share) * draw.white()) + draw.normal(0.0, 3.0)


def _normalised(noise: Tensor) -> Tensor:
    return noise / noise.std(correction=0).clamp(min=1e-3)
