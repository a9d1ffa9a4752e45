"""The phantom's CT: HU by tissue and phase, texture, vessels, a table, blur and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.anatomy.tissues import LUMEN_TIERS, TISSUE_COUNT, Phase, Tissue, patient_hu
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume
from abdoseg.phantom.body import Body, build
from abdoseg.phantom.other_regions import head, legs
from abdoseg.phantom.shapes import Floats, noise

Region = Literal["abdomen", "head", "legs"]
_BUILD: Mapping[Region, Callable[..., Body]] = {"abdomen": build, "head": head, "legs": legs}


def phantom(
    seed: int = 0,
    shape: Sequence[int] = (192, 160, 120),
    spacing_mm: Sequence[float] = (2.0, 2.0, 2.5),
    *,
    phase: Phase = "portal",
    noise_hu: float = 12.0,
    organs: Sequence[str] = MAIN,
    region: Region = "abdomen",
) -> tuple[Volume, Labelmap]:
    """A CT of a procedural abdomen, and its exact labels, on a RAS+ grid around the first lumbar vertebra.

    Args:
        seed: one patient on every grid and in every phase.
        shape: of the grid; the default covers the abdomen.
        spacing_mm: of its voxels.
        phase: contrast phase.
        noise_hu: standard deviation of the noise.
        organs: to label, of those that the phantom has: liver, kidneys, spleen, pancreas, aorta, inferior vena cava,
            adrenal glands, gallbladder, oesophagus, stomach and duodenum.
        region: the head or the legs have no labels, and grids around their own middles.

    Returns:
        Voxels as int16 HU, and labels in our numbers.
    """
    rng = np.random.default_rng(seed)
    body = _BUILD[region](shape, spacing_mm, rng)
    hu = _hu(body, phase, rng)
    _add_table(hu, body)
    hu = ndimage.gaussian_filter(hu, [0.9 / s for s in spacing_mm[:2]] + [1.2 / spacing_mm[2]], mode="nearest")
    if noise_hu > 0:
        hu += noise_hu * _grain(hu.shape, rng)
    labelmap = _labelmap(body, spacing_mm, organs)
    voxels = np.rint(hu).clip(-1024, 3071).astype(np.int16)
    details = {"source": "phantom", "seed": seed, "phase": phase}
    return Volume(voxels, labelmap.geometry, labelmap.stored, details=details), labelmap


def phantom_tissues(
    seed: int = 0,
    shape: Sequence[int] = (192, 160, 120),
    spacing_mm: Sequence[float] = (2.0, 2.0, 2.5),
    *,
    organs: Sequence[str] = MAIN,
    region: Region = "abdomen",
) -> tuple[npt.NDArray[np.uint8], Labelmap]:
    """The same patient as a tissue map (I, J, K) of `tissues.Tissue` numbers, and the labels."""
    body = _BUILD[region](shape, spacing_mm, np.random.default_rng(seed))
    return body.tissues, _labelmap(body, spacing_mm, organs)


def _labelmap(body: Body, spacing_mm: Sequence[float], organs: Sequence[str]) -> Labelmap:
    """The labels of these organs, on a grid centred on the origin."""
    wanted = [BY_NAME[name] for name in organs]
    labels = np.where(np.isin(body.labels, [organ.label for organ in wanted]), body.labels, 0).astype(np.uint8)
    affine = np.diag([*map(float, spacing_mm), 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(labels.shape, spacing_mm, strict=True)]
    geometry = Geometry((labels.shape[0], labels.shape[1], labels.shape[2]), affine)
    return Labelmap(labels, geometry, Stored(geometry), {organ.label: organ.name for organ in wanted})


def _hu(body: Body, phase: Phase, rng: np.random.Generator) -> Floats:
    """(I, J, K) float32 HU before the scanner's blur and noise."""
    deviations = (0.6 * rng.standard_normal(TISSUE_COUNT)).astype(np.float32)
    table = patient_hu(phase, deviations)
    gas_above = {lumen: int(rng.integers(1, LUMEN_TIERS + 1)) for lumen in _LUMENS}
    contrast = rng.uniform(80, 320) if rng.random() < 0.3 else None
    for lumen, above in gas_above.items():
        fill = {Tissue.STOMACH_LUMEN: 20.0, Tissue.SMALL_BOWEL_LUMEN: 15.0, Tissue.COLON_LUMEN: 35.0}[lumen]
        fill = contrast if contrast is not None and lumen != Tissue.COLON_LUMEN else fill
        table[lumen : lumen + above], table[lumen + above : lumen + LUMEN_TIERS] = fill, table[Tissue.GAS]
    hu = table[body.tissues]
    rough, fine = noise(body.space.axes, 14, rng), noise(body.space.axes, 7, rng)
    grain = np.zeros(TISSUE_COUNT, np.float32)
    for tissue, amount in _GRAIN_HU.items():
        grain[tissue] = amount
    hu += grain[body.tissues] * (0.6 * rough + 0.8 * fine)
    liver, gap, lung = (body.tissues == tissue for tissue in (Tissue.LIVER, Tissue.GAP, Tissue.LUNG))
    a, b = noise(body.space.axes, 26, rng), noise(body.space.axes, 26, rng)
    hu[liver & (a * a + b * b < 0.02)] = table[Tissue.PORTAL_VEIN]
    hu[liver & ((a - 0.9) ** 2 + (b + 0.5) ** 2 < 0.02)] = table[Tissue.VEIN]
    hu[gap & (np.abs(rough) < 0.05)] += 40
    hu[(gap | lung) & (rough * rough + a * a < 0.03)] = table[Tissue.PORTAL_VEIN]
    return hu


_LUMENS = (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN)
_GRAIN_HU = {
    Tissue.LIVER: 4, Tissue.SPLEEN: 4, Tissue.KIDNEY_CORTEX: 6, Tissue.KIDNEY_MEDULLA: 8, Tissue.KIDNEY_SINUS: 25,
    Tissue.PANCREAS: 18, Tissue.MUSCLE: 8, Tissue.FAT: 6, Tissue.GAP: 8, Tissue.BONE_MARROW: 45,
    Tissue.BONE_CORTEX: 120, Tissue.LUNG: 40, Tissue.BOWEL_WALL: 8, Tissue.NERVE: 4,
}  # fmt: skip


def _add_table(hu: Floats, body: Body) -> None:
    """A curved table top under the patient, in the air only."""
    x, y, _ = body.space.axes
    height = y[None, :] - (-135 + (x[:, None] / 55) ** 2)
    top = ((height > -6) & (height < -2)) | ((height > -27) & (height < -23))
    hu[(body.tissues == Tissue.AIR) & top[:, :, None]] = 20


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Noise as a scanner makes it: correlated in the plane, deviation 1."""
    white = rng.standard_normal(shape, dtype=np.float32)
    soft = ndimage.gaussian_filter(white, (0.7, 0.7, 0.0), mode="wrap")
    return np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)
