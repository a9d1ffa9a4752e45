"""Synthetic CTs: the right HU in the right place, another patient each time, and the same one for the same seed."""

import numpy as np
import pytest
import torch

from abdoseg.anatomy.tissues import PHASES, Tissue
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.augment.tissue_maps import SCANNED, WALL, WALL_COUNT

SPACING_MM = (2.0, 2.0, 3.0)
ORGANS = (Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_CORTEX, Tissue.LUNG, Tissue.FAT, Tissue.BONE_CORTEX)


def blocks() -> torch.Tensor:
    """Six tissues side by side, 8 voxels each."""
    tissues = torch.zeros(48, 24, 16, dtype=torch.uint8)
    for number, tissue in enumerate(ORGANS):
        tissues[8 * number : 8 * number + 8] = tissue
    return tissues


def synthetic(seed: int, tissues: torch.Tensor) -> torch.Tensor:
    return synthesize_ct(tissues, SPACING_MM, Rng(seed))


def medians(seed: int) -> dict[Tissue, float]:
    hu = synthetic(seed, blocks())
    return {tissue: float(hu[8 * n + 3 : 8 * n + 5].median()) for n, tissue in enumerate(ORGANS)}


def test_the_same_seed_gives_the_same_scan():
    assert torch.equal(synthetic(7, blocks()), synthetic(7, blocks()))
    assert not torch.equal(synthetic(7, blocks()), synthetic(8, blocks()))


def test_a_synthetic_scan_is_float_hu_on_the_patchs_grid():
    hu = synthetic(0, blocks())
    assert hu.shape == (48, 24, 16)
    assert hu.dtype == torch.float32
    assert bool(hu.isfinite().all())
    assert float(hu.min()) > -1300
    assert float(hu.max()) < 2000


def test_tissues_keep_their_order_in_every_patient():
    for seed in range(12):
        hu = medians(seed)
        assert hu[Tissue.FAT] < -60 < hu[Tissue.LIVER] < 260 < hu[Tissue.BONE_CORTEX]
        assert hu[Tissue.LUNG] < -500 or -50 < hu[Tissue.LUNG] < 90  # aerated, or an effusion


def test_patients_differ_as_phases_do():
    cortex = [medians(seed)[Tissue.KIDNEY_CORTEX] for seed in range(30)]
    liver = [medians(seed)[Tissue.LIVER] for seed in range(30)]
    assert min(cortex) < 60  # some without contrast
    assert max(cortex) > 150
    assert np.std(liver) > 15


def test_shells_become_muscle_fat_skin_and_air_from_the_inside_out():
    shells = torch.arange(WALL, WALL + WALL_COUNT, dtype=torch.uint8)[:, None, None].expand(-1, 20, 12)
    for seed in range(8):
        across = synthetic(seed, shells).median(dim=2).values.median(dim=1).values
        assert float(across[-1]) < -900
        assert float(across[4:20].max()) > -20  # muscle, or skin at the least
        body = int((across > -300).nonzero().max())
        assert 8 <= body < WALL_COUNT - 1
        assert bool((across[body + 3 :] < -300).all())


def test_scanned_levels_keep_fat_and_follow_the_phase_above_60_hu():
    def level(hu: int) -> int:
        return SCANNED + (hu + 128) // 8

    tissues = torch.full((24, 16, 12), level(-100), dtype=torch.uint8)
    tissues[12:] = level(150)
    soft = []
    for seed in range(20):
        hu = synthetic(seed, tissues)
        assert float(hu[2:9].median()) == pytest.approx(-96, abs=15)
        soft.append(float(hu[15:22].median()))
    assert min(soft) < 110
    assert max(soft) > 140


def test_air_outside_stays_air_but_for_a_table():
    for seed in range(6):
        hu = synthetic(seed, torch.zeros(32, 32, 12, dtype=torch.uint8))
        assert float(hu.median()) < -900


def test_one_slice_and_one_voxel_are_synthesized_too():
    assert synthetic(0, torch.ones(24, 24, 1, dtype=torch.uint8)).shape == (24, 24, 1)
    assert synthetic(0, torch.ones(1, 1, 1, dtype=torch.uint8)).shape == (1, 1, 1)


def test_every_tissue_can_be_synthesized_in_every_phase():
    every = torch.arange(256, dtype=torch.uint8)[:, None, None].expand(-1, 8, 8).contiguous()
    for seed in range(len(PHASES) * 3):
        assert bool(synthetic(seed, every).isfinite().all())
