"""Scans that show no abdomen: heads and legs, phantoms of water, noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from abdoseg.phantom import phantom_tissues
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct

SPACING_MM = (1.6, 1.6, 2.4)
SHAPES = {"head": (130, 150, 110), "legs": (230, 120, 120)}


def no_abdomens(seed: int) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    """Names and HU (I, J, K) of `SPACING_MM`; another patient, scanner and phase for every seed."""
    rng = np.random.default_rng(seed)
    for region, shape in SHAPES.items():
        tissues, _ = phantom_tissues(seed, shape, SPACING_MM, region=region)
        yield region, stored(synthesize_ct(torch.from_numpy(tissues), SPACING_MM, Rng(seed)).numpy())
    yield "phantom of water", stored(_water(rng))
    for name, mean, deviation in (("noise", 40.0, 40.0), ("loud noise", 0.0, 400.0), ("air", -1000.0, 20.0)):
        yield name, stored(rng.normal(mean, deviation, (120, 110, 80)))


def stored(hu: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Whole HU, as a scanner writes them."""
    return np.asfortranarray(hu.round().clip(-1024, 3071).astype(np.int16))


def _water(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A cylinder of water with rods as dense as organs, as scanners are checked with."""
    x, y = np.meshgrid(*(np.arange(-80, 80) * 1.6,) * 2, indexing="ij")
    slice_hu = np.where(np.hypot(x, y) < 105, 0.0, -1000.0)
    for n, hu in enumerate((60.0, 110.0, 180.0, -100.0, 300.0, 900.0)):
        angle = np.pi * n / 3
        slice_hu[np.hypot(x - 60 * np.cos(angle), y - 60 * np.sin(angle)) < 18] = hu
    return slice_hu[:, :, None] + rng.normal(0, 12, (160, 160, 90))
