"""Diseases in tissue maps: what changes, what stays, and whose label it has."""

import numpy as np
import pytest
import torch
from elsewhere import ELSEWHERE, Overseer
from scipy import ndimage

from abdoseg.anatomy.tissues import Tissue
from abdoseg.phantom import phantom_tissues
from abdoseg.training.augment import diseases, rng
from abdoseg.training.augment.diseases import (
    DISEASES,
    add_disease,
    arterial_heart,
    atrophic_kidney,
    cirrhosis,
    hydronephrosis,
    large_cysts,
    mottled_spleen,
    nephrectomy,
    outside_mass,
    polycystic_kidneys,
    splenectomy,
    splenomegaly,
)
from abdoseg.training.augment.organ_changes import depth_mm
from abdoseg.training.augment.patch_anatomy import AORTA, KIDNEYS, LEFT, LIVER, SPLEEN, Anatomy
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.tissue_maps import SCANNED, SCANNED_START_HU, SCANNED_STEP_HU

SPACING_MM = (4.0, 4.0, 5.0)
VOXEL_ML = 0.08
SEEDS = range(6)


@pytest.fixture(scope="module")
def healthy() -> Anatomy:
    tissues, labelmap = phantom_tissues(4, (88, 72, 60), SPACING_MM)
    return Anatomy(torch.from_numpy(tissues), torch.from_numpy(labelmap.labels), SPACING_MM)


def ml(anatomy: Anatomy, *labels: int) -> float:
    return float(sum((anatomy.labels == label).sum() for label in labels)) * VOXEL_ML


def same(a: Anatomy, b: Anatomy) -> bool:
    return torch.equal(a.tissues, b.tissues) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("name", DISEASES)
def test_a_disease_is_the_same_for_the_same_seed_and_leaves_the_healthy_map_alone(name, healthy):
    before = healthy.tissues.clone(), healthy.labels.clone()
    change = DISEASES[name][1]
    first, again = change(healthy, Rng(1)), change(healthy, Rng(1))
    assert same(first, again) and not torch.equal(first.tissues, healthy.tissues)
    assert torch.equal(healthy.tissues, before[0]) and torch.equal(healthy.labels, before[1])
    assert first.tissues.dtype == first.labels.dtype == torch.uint8


@pytest.mark.parametrize("name", DISEASES)
def test_a_disease_is_drawn_on_any_device(name, healthy, monkeypatch):
    expected = DISEASES[name][1](healthy, Rng(1))
    shared = torch.Generator()  # the device's own would draw other noise; then there was nothing to compare with
    monkeypatch.setattr(rng, "Generator", lambda device=None: shared)
    with Overseer() as overseer:
        tissues, labels = (part.to(ELSEWHERE, non_blocking=True) for part in (healthy.tissues, healthy.labels))
        changed = DISEASES[name][1](Anatomy(tissues, labels, SPACING_MM), Rng(1, ELSEWHERE))
        assert torch.equal(changed.tissues.held, expected.tissues) and torch.equal(changed.labels.held, expected.labels)
    assert len(overseer.waits) <= 4, overseer.waits


@pytest.mark.parametrize("name", DISEASES)
def test_bones_vessels_and_the_air_outside_stay(name, healthy):
    kept = torch.isin(
        healthy.tissues,
        torch.tensor([Tissue.BONE_CORTEX, Tissue.BONE_MARROW, Tissue.ARTERY, Tissue.VEIN, Tissue.AIR, Tissue.SKIN]),
    )
    for seed in SEEDS:
        changed = DISEASES[name][1](healthy, Rng(seed))
        assert torch.equal(changed.tissues[kept], healthy.tissues[kept])


@pytest.mark.parametrize("name", DISEASES)
def test_a_patch_without_organs_stays_as_it_is(name):
    empty = Anatomy(torch.full((20, 20, 16), Tissue.GAP, dtype=torch.uint8),
                    torch.zeros(20, 20, 16, dtype=torch.uint8), SPACING_MM)  # fmt: skip
    assert same(DISEASES[name][1](empty, Rng(0)), empty)


def test_atrophic_kidneys_lose_most_of_their_volume_to_fat(healthy):
    volumes = [ml(atrophic_kidney(healthy, Rng(seed)), *KIDNEYS) / ml(healthy, *KIDNEYS) for seed in SEEDS]
    assert min(volumes) > 0.03 and max(volumes) < 0.85
    changed = atrophic_kidney(healthy, Rng(0))
    lost = (healthy.labels > 0) & (changed.labels == 0)
    assert (changed.tissues[lost] == Tissue.FAT).all()
    assert ml(changed, LIVER, SPLEEN) == ml(healthy, LIVER, SPLEEN)


def test_the_water_of_a_hydronephrosis_is_kidney_inside_a_rind(healthy):
    sizes_ml = []
    for seed in SEEDS:
        changed = hydronephrosis(healthy, Rng(seed))
        water = changed.tissues == Tissue.URINE
        sizes_ml.append(float(water.sum()) * VOXEL_ML)
        assert torch.isin(changed.labels[water], torch.tensor(KIDNEYS)).all()
        assert (changed.tissues == Tissue.KIDNEY_CORTEX).any()
    assert min(sizes_ml) > 3 and max(sizes_ml) > 100


def test_cysts_belong_to_their_organ_and_may_be_large(healthy):
    sizes = []
    for seed in range(16):
        changed = large_cysts(healthy, Rng(seed))
        cyst = changed.tissues == Tissue.WATER
        assert len(changed.labels[cyst].unique()) <= 1 and (changed.labels[cyst] > 0).all()
        sizes.append(float(cyst.sum()) * VOXEL_ML)
    assert max(sizes) > 150


def test_polycystic_kidneys_are_large_and_mostly_cysts(healthy):
    for seed in SEEDS:
        changed = polycystic_kidneys(healthy, Rng(seed))
        assert all(ml(changed, kidney) > 1.4 * ml(healthy, kidney) for kidney in KIDNEYS)
        cysts = changed.tissues == Tissue.WATER
        assert 0.15 < float(cysts.sum()) * VOXEL_ML / ml(changed, *KIDNEYS) < 0.95


def test_ascites_is_background_around_a_smaller_liver(healthy):
    for seed in SEEDS:
        changed = cirrhosis(healthy, Rng(seed))
        fluid = changed.tissues == Tissue.WATER
        assert fluid.sum() * VOXEL_ML > 50 and not changed.labels[fluid].any()
        assert 0.25 < ml(changed, LIVER) / ml(healthy, LIVER) < 0.97
        above = int((healthy.labels == LIVER).nonzero()[:, 2].max()) + 1
        assert not fluid[:, :, above:].any()


def test_a_large_spleen_stays_in_one_piece_and_below_three_litres(healthy):
    volumes = []
    for seed in range(12):
        changed = splenomegaly(healthy, Rng(seed))
        volumes.append(ml(changed, SPLEEN))
        assert ndimage.label(changed.labels == SPLEEN)[1] == 1
        assert torch.equal(changed.labels == LEFT, healthy.labels == LEFT)
    assert min(volumes) > 1.2 * ml(healthy, SPLEEN) and 900 < max(volumes) < 3000


def test_a_spleen_that_grows_pushes_the_liver_aside(healthy):
    changed = splenomegaly(healthy, Rng(5))  # 1.2 l
    assert 0.85 < ml(changed, LIVER) / ml(healthy, LIVER) < 0.95
    assert changed.labels[(healthy.labels == LIVER) & (changed.labels != LIVER)].unique().tolist() == [0, SPLEEN]


def test_removed_organs_leave_fat_and_no_label(healthy):
    assert ml(splenectomy(healthy, Rng(0)), SPLEEN) == 0
    assert (splenectomy(healthy, Rng(0)).tissues[healthy.labels == SPLEEN] == Tissue.GAP).all()
    left = {tuple(ml(nephrectomy(healthy, Rng(seed)), kidney) > 0 for kidney in KIDNEYS) for seed in SEEDS}
    assert left == {(True, False), (False, True)}


def test_a_mass_beside_an_organ_is_background_and_takes_none_of_it(healthy):
    for seed in SEEDS:
        changed = outside_mass(healthy, Rng(seed))
        assert torch.equal(changed.labels, healthy.labels)
        mass = changed.tissues == Tissue.TUMOUR
        assert mass.any() and not changed.labels[mass].any()


def test_a_mottled_spleen_and_a_bright_heart_ask_for_the_arterial_phase(healthy):
    mottled = mottled_spleen(healthy, Rng(0))
    assert mottled.phase == "arterial" and torch.equal(mottled.labels, healthy.labels)
    dark = float((mottled.tissues == Tissue.SLOW_PULP).sum()) * VOXEL_ML / ml(healthy, SPLEEN)
    assert 0.2 < dark < 0.8
    heart = arterial_heart(healthy, Rng(0))
    new = (heart.tissues == Tissue.HEART_BLOOD) & (healthy.tissues != Tissue.HEART_BLOOD)
    assert heart.phase == "arterial" and new.any() and torch.equal(heart.labels, healthy.labels)


def test_diseases_are_drawn_by_their_weights(healthy, monkeypatch):
    assert sum(weight for weight, _ in DISEASES.values()) == pytest.approx(1.0)
    drawn = []
    table = {
        name: (weight, lambda anatomy, rng, name=name: drawn.append(name)) for name, (weight, _) in DISEASES.items()
    }
    monkeypatch.setattr(diseases, "DISEASES", table)
    for seed in range(600):
        add_disease(healthy, Rng(seed))
    for name, (weight, _) in DISEASES.items():
        assert drawn.count(name) / 600 == pytest.approx(weight, abs=0.05)


def test_the_depth_below_a_plane_is_its_distance():
    mask = torch.zeros(40, 30, 24, dtype=torch.bool)
    mask[20:] = True  # its surface lies at 19.5 voxels of 2 mm
    depth = depth_mm(mask, (2.0, 2.0, 3.0))[:, 15, 12]
    np.testing.assert_allclose(depth[16:24], 2.0 * (torch.arange(16, 24) - 19.5), atol=0.3)


def test_what_lies_right_under_the_skin_is_no_cavity():
    tissues = torch.full((40, 20, 20), Tissue.GAP, dtype=torch.uint8)
    tissues[:5] = Tissue.AIR
    cavity = Anatomy(tissues, torch.zeros_like(tissues), (2.0, 2.0, 2.0)).cavity
    assert not cavity[: 5 + 11].any() and cavity[5 + 11 :].all()


def scanned(hu: int) -> int:
    """The code of what a scan shows of such HU and nobody labelled."""
    return SCANNED + (hu - SCANNED_START_HU) // SCANNED_STEP_HU


def test_in_a_map_from_a_scan_fat_gives_way_everywhere_and_soft_tissue_before_the_great_vessels_alone():
    tissues = torch.full((40, 40, 20), scanned(-90), dtype=torch.uint8)
    labels = torch.zeros_like(tissues)
    tissues[10:20], tissues[20:22] = scanned(50), scanned(220)
    assert not Anatomy(tissues, labels, SPACING_MM).yielding[10:22].any()
    labels[30, 18:21] = AORTA
    yielding = Anatomy(tissues, labels, SPACING_MM).yielding
    assert yielding[:10].all() and yielding[22:30].all()
    assert yielding[10:20, 20:].all() and not yielding[10:20, :20].any()
    assert not yielding[20:22].any()  # bone


@pytest.mark.parametrize("seed", SEEDS)
def test_a_spleen_grows_before_the_left_kidney_and_not_behind_it(seed, healthy):
    grown = (splenomegaly(healthy, Rng(seed)).labels == SPLEEN) & (healthy.labels != SPLEEN)
    kidney = healthy.organ(LEFT)
    middle = (kidney.low[0] + kidney.high[0]) // 2 + 1
    assert grown.any() and not grown[middle:, : kidney.high[1] + 1, : kidney.high[2] + 1].any()
