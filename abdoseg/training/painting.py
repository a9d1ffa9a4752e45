"""A CT painted from a map of tissues: another patient, another contrast phase, another scanner each time.

The map comes from `tissue_map`; it may be a patch, and deformed already. Everything drawn here (HU by phase, vessels,
lesions, what the bowel holds, girth, noise) follows from the generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from abdoseg.tissues import LUMEN_TIERS, PHASES, TISSUE_COUNT, Phase, Tissue, patient_hu
from abdoseg.training.tissue_maps import (
    SCANNED,
    SCANNED_START_HU,
    SCANNED_STEP_HU,
    WALL,
    WALL_START_MM,
    WALL_STEP_MM,
    tissue_map,
)

__all__ = ["paint", "tissue_map"]

# The share of scans in each phase, the other phase that a scan may lean towards.
_PHASE_SHARES = (0.3, 0.2, 0.35, 0.15)
_NEXT: dict[Phase, Phase] = {
    "noncontrast": "noncontrast", "arterial": "portal", "portal": "arterial", "delayed": "portal",
}  # fmt: skip


def paint(tissues: Tensor, generator: torch.Generator, spacing_mm: Sequence[float]) -> Tensor:
    """A CT of these tissues: (I, J, K) float32 HU, of a patient, a phase and a scanner that the generator draws.

    tissues: (I, J, K) uint8, a whole map or a patch of one, on the generator's device.
    """
    draw = Draw(generator, tissues.shape, spacing_mm)
    patient = _patient(draw)
    hu = patient.hu[tissues.long()]
    hu = _scanned(hu, tissues, patient, draw)
    hu = _wall(hu, tissues, patient, draw)
    hu = _gaps(hu, tissues, patient, draw)
    hu = _lumens(hu, tissues, patient, draw)
    hu = _kidneys(hu, tissues, patient, draw)
    hu = _textured(hu, tissues, patient, draw)
    hu = _liver(hu, tissues, patient, draw)
    return _acquired(hu, draw)


class Draw:
    """The generator, the patch's grid, and smooth noise on it."""

    def __init__(self, generator: torch.Generator, shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
        self.generator, self.device = generator, generator.device
        self.shape = tuple(shape)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.coarse, self.middle, self.fine = self.noise(60.0), self.noise(24.0), self.noise(9.0)
        self.other = self.noise(14.0)

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
        coarse = [
            max(2, math.ceil(n * s / period_mm * 2.0) + 2) for n, s in zip(self.shape, self.spacing_mm, strict=True)
        ]
        lattice = self.white(coarse)
        lattice = _smoothed(lattice, (0.7, 0.7, 0.7))
        lattice = lattice / lattice.std().clamp(min=1e-3)
        size = [max(2, math.ceil(n * c / (c - 1))) for n, c in zip(self.shape, coarse, strict=True)]
        grown = F.interpolate(lattice[None, None], size=size, mode="trilinear", align_corners=True)[0, 0]
        return grown[tuple(slice(0, n) for n in self.shape)]


@dataclass(frozen=True)
class Patient:
    """What holds for the whole scan: the phase, and the HU of each tissue code, (256,) float32."""

    phase: Phase
    hu: Tensor

    def __getitem__(self, tissue: Tissue) -> float:
        return float(self.hu[tissue])


def _patient(draw: Draw) -> Patient:
    phase = PHASES[int(np.searchsorted(np.cumsum(_PHASE_SHARES), draw.uniform(0.0, 0.999)))]
    deviations = draw.white((TISSUE_COUNT,)).cpu().numpy()
    strength = math.exp(draw.normal(0.0, 0.28))
    hu = np.zeros(256, np.float32)
    hu[:TISSUE_COUNT] = patient_hu(
        phase, deviations, strength=strength, towards=(_NEXT[phase], max(0.0, draw.uniform(-0.4, 0.5)))
    )
    if draw.chance(0.25):  # a fatty liver
        hu[Tissue.LIVER] -= draw.uniform(8.0, 60.0)
    return Patient(phase, torch.from_numpy(hu).to(draw.device))


def _within(tissues: Tensor, first: int, count: int = 1) -> Tensor:
    return (tissues >= first) & (tissues < first + count) if count > 1 else tissues == first


def _scanned(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """What a scan showed, its enhancement stretched or squeezed to the patient's phase."""
    level = SCANNED_START_HU + SCANNED_STEP_HU * (tissues.float() - SCANNED + 0.5)
    gain = draw.uniform(0.1, 0.5) if patient.phase == "noncontrast" else draw.uniform(0.5, 1.3)
    soft = draw.normal(0.0, 5.0)
    level = torch.where(level > 60.0, 60.0 + (level - 60.0) * gain, level) + soft * (level > -20.0)
    return torch.where(tissues >= SCANNED, level, hu)


def _wall(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """The body wall around the trunk: muscle in sheets, fat, skin, air and a table."""
    distance = WALL_START_MM + WALL_STEP_MM * (tissues.float() - WALL)
    muscle_mm = draw.uniform(2.0, 14.0) + 3.0 * draw.coarse
    fat_mm = math.exp(draw.uniform(math.log(4.0), math.log(55.0)))
    skin_at = muscle_mm + fat_mm * (1.0 + 0.3 * draw.noise(120.0)).clamp(min=0.3)
    fat = patient[Tissue.FAT] + 45.0 * (draw.other.abs() < 0.05) + 4.0 * draw.fine
    sheets = (draw.middle.abs() < draw.uniform(0.05, 0.25)) & (distance > -12.0)
    muscle = torch.where(sheets, fat, patient[Tissue.MUSCLE] + 6.0 * draw.fine)
    inner_fat = distance < draw.uniform(-16.0, -7.0) + 3.0 * draw.middle
    layers = torch.where((distance < muscle_mm) & ~inner_fat, muscle, fat)
    layers = torch.where(distance > skin_at, patient[Tissue.SKIN], layers)
    outside = distance > skin_at + 2.5
    layers = torch.where(outside, patient[Tissue.AIR], layers)
    wall = (tissues >= WALL) & (tissues < SCANNED)
    hu = torch.where(wall, layers, hu)
    if not draw.chance(0.4):
        return hu
    i, j, _ = draw.shape
    across = (torch.arange(i, device=draw.device) / i - draw.uniform(0.3, 0.7)) * draw.uniform(0.0, 1.0)
    at = draw.uniform(0.0, 0.35) * j + across.square() * j * 0.5
    depth_mm = (torch.arange(j, device=draw.device)[None, :] - at[:, None]).abs() * draw.spacing_mm[1]
    table = (depth_mm < draw.uniform(1.5, 4.0))[:, :, None] & ((wall & outside) | (tissues == Tissue.AIR))
    return torch.where(table, patient[Tissue.TABLE] + 80.0, hu)


def _gaps(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Between the organs: fat, strands, vessels, and bowel or fluid in some patients."""
    gap = tissues == Tissue.GAP
    fat = patient[Tissue.GAP] + 6.0 * draw.fine
    fat = torch.where(draw.middle.abs() < 0.06, fat + draw.uniform(20.0, 90.0), fat)
    vessels = draw.other.square() + draw.middle.square() < draw.uniform(0.03, 0.12)
    vessel = torch.where(draw.coarse > 0, patient.hu[Tissue.ARTERY], patient.hu[Tissue.PORTAL_VEIN])
    fat = torch.where(vessels, vessel, fat)
    loops = 0.6 * draw.noise(32.0) + 0.5 * draw.coarse - draw.uniform(0.2, 1.4)
    content = _content(draw, patient, draw.middle, contrast=draw.chance(0.3))
    fat = torch.where(loops > 0, patient.hu[Tissue.BOWEL_WALL] + 5.0 * draw.fine, fat)
    fat = torch.where(loops > 0.45, content, fat)
    if draw.chance(0.08):  # ascites
        fat = torch.where(draw.coarse > draw.uniform(-0.5, 1.0), patient.hu[Tissue.WATER], fat)
    return torch.where(gap, fat, hu)


def _content(draw: Draw, patient: Patient, field: Tensor, contrast: bool) -> Tensor:
    """What a bowel holds, by place: fluid, food, faeces with bubbles, gas, oral contrast."""
    fluid = patient.hu[Tissue.WATER] + draw.uniform(0.0, 25.0) + 5.0 * draw.fine
    mixed = patient[Tissue.FAECES] + 20.0 * draw.fine - 400.0 * (draw.white() > 1.4)
    content = torch.where(field + 0.5 * draw.coarse > draw.uniform(-0.5, 1.5), mixed, fluid)
    if contrast:
        dense = patient[Tissue.ORAL_CONTRAST] * draw.uniform(0.4, 1.6) + 15.0 * draw.fine
        content = torch.where(draw.coarse + 0.3 * field > draw.uniform(-1.0, 0.6), dense, content)
    return content


def _lumens(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Stomach and bowel, each with its own contents; gas lies on top."""
    for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN):
        inside = _within(tissues, lumen, LUMEN_TIERS)
        content = _content(draw, patient, draw.middle, contrast=draw.chance(0.35))
        gas_above = draw.uniform(0.5, 5.0) + (0.3 if lumen == Tissue.STOMACH_LUMEN else 1.2) * draw.coarse
        gas = tissues.float() - lumen + 0.5 > gas_above
        hu = torch.where(inside, torch.where(gas, patient[Tissue.GAS], content), hu)
    return hu


def _kidneys(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Pyramids in the medulla, columns of cortex between them; fat and a pelvis in the sinus; sometimes cysts."""
    columns = (tissues == Tissue.KIDNEY_MEDULLA) & (draw.other > draw.uniform(0.2, 1.0))
    hu = torch.where(columns, patient[Tissue.KIDNEY_CORTEX], hu)
    sinus = tissues == Tissue.KIDNEY_SINUS
    pelvis = patient[Tissue.URINE] + (draw.uniform(0.0, 500.0) if patient.phase == "delayed" else 0.0)
    hu = torch.where(sinus & (draw.other.abs() < 0.35), patient[Tissue.VEIN], hu)
    hu = torch.where(sinus & (draw.middle > draw.uniform(0.0, 1.0)), pelvis, hu)
    kidney = (tissues == Tissue.KIDNEY_CORTEX) | (tissues == Tissue.KIDNEY_MEDULLA)
    return _with_lesions(
        hu, kidney, draw, 0.25, 3, (3.0, 18.0), lambda: patient[Tissue.WATER] + draw.uniform(-4.0, 20.0)
    )


def _textured(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Grain of each tissue: (amount of fine noise, amount of middle noise) by code."""
    grain = torch.zeros(2, 256, device=draw.device)
    for tissue, fine, middle in (
        (Tissue.LIVER, 2.0, 3.0), (Tissue.SPLEEN, 2.0, 2.0), (Tissue.PANCREAS, 14.0, 6.0), (Tissue.MUSCLE, 7.0, 4.0),
        (Tissue.KIDNEY_CORTEX, 6.0, 5.0), (Tissue.KIDNEY_MEDULLA, 8.0, 6.0), (Tissue.BONE_MARROW, 35.0, 35.0),
        (Tissue.BONE_CORTEX, 80.0, 120.0), (Tissue.FAT, 5.0, 3.0), (Tissue.LUNG, 25.0, 25.0),
        (Tissue.MYOCARDIUM, 4.0, 6.0), (Tissue.HEART_BLOOD, 6.0, 12.0), (Tissue.VEIN, 5.0, 12.0),
        (Tissue.ADRENAL, 4.0, 4.0), (Tissue.BOWEL_WALL, 8.0, 8.0), (Tissue.GLAND, 6.0, 8.0), (Tissue.TUMOUR, 8.0, 12.0),
        (Tissue.KIDNEY_SINUS, 15.0, 10.0),
    ):  # fmt: skip
        grain[0, tissue], grain[1, tissue] = fine, middle
    if patient.phase == "arterial":  # the red pulp fills at its own pace
        grain[:, Tissue.SPLEEN] = torch.tensor([12.0, 22.0], device=draw.device) * draw.uniform(0.2, 1.3)
    codes = tissues.long()
    hu = hu + grain[0][codes] * draw.fine + grain[1][codes] * draw.other
    lung = tissues == Tissue.LUNG
    hu = torch.where(lung & (draw.other.square() + draw.middle.square() < 0.04), patient[Tissue.VEIN], hu)
    if draw.chance(0.12):  # an effusion, or a lung that has collapsed
        hu = torch.where(lung & (draw.coarse > draw.uniform(0.3, 1.2)), draw.uniform(0.0, 45.0), hu)
    return hu


def _liver(hu: Tensor, tissues: Tensor, patient: Patient, draw: Draw) -> Tensor:
    """Vessels that branch through the liver, and lesions."""
    liver = tissues == Tissue.LIVER
    width = draw.uniform(0.02, 0.07)
    a, b = draw.noise(40.0), draw.noise(40.0)
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

    hu = _with_lesions(hu, liver, draw, 0.35, 7, (3.0, 28.0), lesion)
    return _with_lesions(hu, tissues == Tissue.SPLEEN, draw, 0.1, 2, (3.0, 12.0), lesion)


def _with_lesions(
    hu: Tensor,
    organ: Tensor,
    draw: Draw,
    probability: float,
    most: int,
    radius_mm: tuple[float, float],
    lesion_hu: Callable[[], float],
) -> Tensor:
    """Up to `most` uneven balls inside the organ, in the share `probability` of patients."""
    if not draw.chance(probability):
        return hu
    places = organ.flatten().nonzero()[:, 0]
    count = 1 + int(draw.uniform(0.0, most - 0.01))
    picks = [draw.uniform(0.0, 0.9999) for _ in range(count)]
    if len(places) == 0:
        return hu
    hu = hu.clone()
    for pick in picks:
        centre = np.unravel_index(int(places[int(pick * len(places))]), draw.shape)
        radius = math.exp(draw.uniform(math.log(radius_mm[0]), math.log(radius_mm[1])))
        reach = [math.ceil(1.6 * radius / s) for s in draw.spacing_mm]
        box = tuple(slice(max(0, int(c) - r), int(c) + r + 1) for c, r in zip(centre, reach, strict=True))
        squared = torch.zeros((), device=draw.device)
        for axis, (c, part, step) in enumerate(zip(centre, box, draw.spacing_mm, strict=True)):
            along = (torch.arange(part.start, min(part.stop, draw.shape[axis]), device=draw.device) - int(c)) * step
            squared = squared + along.float().square().reshape([-1 if a == axis else 1 for a in range(3)])
        ball = organ[box] & (squared.sqrt() < radius * (1.0 + 0.25 * draw.other[box]))
        hu[box] = torch.where(ball, lesion_hu() + 6.0 * draw.fine[box], hu[box])
    return hu


def _acquired(hu: Tensor, draw: Draw) -> Tensor:
    """What a scanner makes of it: blur in the plane, slices of some thickness, noise white and grainy, an offset."""
    in_plane = draw.uniform(0.6, 1.7)
    slice_mm = draw.uniform(1.0, 6.0)
    sigma_mm = (in_plane, in_plane, 0.29 * slice_mm)  # a box's deviation is its width / sqrt(12)
    hu = _smoothed(hu.clamp(-1024.0, 1500.0), [s / step for s, step in zip(sigma_mm, draw.spacing_mm, strict=True)])
    level = math.exp(draw.uniform(math.log(2.0), math.log(22.0)))
    share = draw.uniform(0.2, 0.9)
    grainy = _smoothed(draw.white(), (0.7, 0.7, 0.4))
    grainy = grainy / grainy.std().clamp(min=1e-3)
    return hu + level * (math.sqrt(share) * grainy + math.sqrt(1.0 - share) * draw.white()) + draw.normal(0.0, 3.0)


def _smoothed(image: Tensor, sigma: Sequence[float]) -> Tensor:
    """Gaussian blur (I, J, K), the deviation along each axis in voxels; the edges are repeated."""
    for axis, deviation in enumerate(sigma):
        reach = max(1, math.ceil(2.5 * deviation))
        if deviation < 0.15 or reach >= image.shape[axis]:
            continue
        at = torch.arange(-reach, reach + 1, dtype=torch.float32)
        bell = torch.exp(-0.5 * (at / deviation).square())
        weights = (bell / bell.sum()).tolist()
        n = image.shape[axis]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, n - 1, 1)
        padded = torch.cat([first] * reach + [image] + [last] * reach, axis)
        image = weights[0] * padded.narrow(axis, 0, n)
        for step, weight in enumerate(weights[1:], start=1):
            image = image.add(padded.narrow(axis, step, n), alpha=weight)
    return image
