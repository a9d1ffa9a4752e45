"""Masses and fluid told by their HU, in balls worked by hand and in painted phantoms."""

from functools import cache

import numpy as np
import pytest
import torch

from abdoseg.anatomy.organs import MAIN
from abdoseg.anatomy.tissues import MEAN_HU, Tissue
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.phantom import phantom_tissues
from abdoseg.quality.odd_parts import find_fluid, find_kidney_mass, find_mass, odd_parts
from abdoseg.training.augment.diseases import hydronephrosis, mottled_spleen, nephrectomy, outside_mass
from abdoseg.training.augment.patch_anatomy import Anatomy
from abdoseg.training.augment.rng import Rng

GRID = Geometry((96, 96, 96), np.diag([1.5, 1.5, 1.5, 1.0]))
X, Y, Z = (np.indices(GRID.shape) - 48) * 1.5


def ball(radius_mm, x_mm=0.0):
    return (X - x_mm) ** 2 + Y**2 + Z**2 < radius_mm**2


ORGAN = ball(54)
KIDNEY = ball(30)


def scan(*parts, noise_hu=0.0):
    """Fat, and in it masks of so many HU, the later above the earlier."""
    hu = np.full(GRID.shape, -100.0)
    for mask, part_hu in parts:
        hu[mask] = part_hu
    return (hu + np.random.default_rng(0).normal(0, noise_hu, hu.shape)).astype(np.float32)


@pytest.mark.parametrize("noise_hu", [0, 25])
def test_a_mass_within_an_organs_outline_is_told_by_ml_and_hu(noise_hu):
    mass = ball(24, x_mm=28)
    found = find_mass(ORGAN, scan((ORGAN, 110), (mass, 30), noise_hu=noise_hu), GRID)
    assert found.ml == pytest.approx(mass.sum() * GRID.voxel_ml, rel=0.2)
    assert found.hu == pytest.approx(30, abs=8)
    assert found.usual_hu == pytest.approx(110, abs=4)


def test_a_healthy_organ_bright_vessels_and_a_small_cyst_are_no_mass():
    assert find_mass(ORGAN, scan((ORGAN, 110), noise_hu=40), GRID) is None
    assert find_mass(ORGAN, scan((ORGAN, 30), (ball(24), 110)), GRID) is None
    assert find_mass(ORGAN, scan((ORGAN, 110), (ball(14), 5)), GRID) is None  # 11 ml
    assert find_mass(ball(8), scan((ball(8), 110)), GRID) is None


def test_a_band_that_grows_darker_by_degrees_is_no_mass():
    streak = ORGAN & (abs(Y) < 18)
    shaded = scan((ORGAN, 110)) - np.where(streak, 42 - 42 * abs(Y) / 18, 0).astype(np.float32)
    assert find_mass(ORGAN, shaded, GRID) is None
    assert find_mass(ORGAN, scan((ORGAN, 110), (streak, 68)), GRID).ml > 200


@pytest.mark.parametrize("noise_hu", [0, 15])
@pytest.mark.parametrize("in_outline", [True, False])
def test_water_that_a_kidney_surrounds_is_told_whether_the_outline_has_it_or_not(in_outline, noise_hu):
    water = ball(18, x_mm=8)
    found = find_fluid(KIDNEY & (in_outline | ~water), scan((KIDNEY, 130), (water, 6), noise_hu=noise_hu), GRID)
    assert found.ml == pytest.approx(water.sum() * GRID.voxel_ml, rel=0.2)
    assert found.hu == pytest.approx(6, abs=3)


def test_a_cyst_that_bulges_out_of_a_kidney_is_told():
    cyst = ball(16, x_mm=26)
    assert find_fluid(KIDNEY, scan((KIDNEY, 130), (cyst, 4)), GRID).ml == pytest.approx(17, rel=0.2)


def test_sinus_fat_bowel_beside_a_kidney_and_ascites_are_no_fluid_of_it():
    assert find_fluid(KIDNEY & ~ball(15), scan((KIDNEY, 130), (ball(15), -90)), GRID) is None
    assert find_fluid(KIDNEY, scan((ball(18, x_mm=48), 8), (KIDNEY, 130)), GRID) is None
    assert find_fluid(KIDNEY, scan((X > 20, 8), (KIDNEY, 130)), GRID) is None
    assert find_fluid(KIDNEY, scan((KIDNEY, 32), noise_hu=10), GRID) is None  # without contrast medium
    assert find_fluid(np.zeros_like(KIDNEY), scan(), GRID) is None


phantom_of = cache(phantom_tissues)


def painted(disease, seed=2, mistaken=(), phase="portal"):
    """The odd parts of a phantom with a disease. mistaken: tissues that are called liver; all else is called right."""
    spacing_mm = (1.5, 1.5, 2.25)
    tissues, labelmap = phantom_of(seed, (200, 160, 120), spacing_mm)
    before = Anatomy(torch.from_numpy(tissues), torch.from_numpy(labelmap.labels), spacing_mm)
    after = disease(before, Rng(seed))
    tissues, labels = after.tissues.numpy(), after.labels.numpy()
    noise = np.random.default_rng(seed).normal(0, 15, tissues.shape)
    image = np.asfortranarray(MEAN_HU[phase][tissues] + noise, dtype=np.float32)
    labels = np.where(np.isin(tissues, mistaken), 1, labels)
    margins = np.stack([np.where(labels == label, 3, -3) for label in (1, 2, 3, 4)]).astype(np.float16)
    return odd_parts(OrganMaps(margins, MAIN, Geometry(labels.shape, np.diag([*spacing_mm, 1.0]))), image)


@pytest.mark.parametrize("noise_hu", [0, 25])
def test_a_mass_called_kidney_is_told_even_where_it_is_most_of_it(noise_hu):
    mass, kidney = ball(38, x_mm=-16), ball(26, x_mm=34)
    found = find_kidney_mass(mass | kidney, scan((kidney, 180), (mass, 35), noise_hu=noise_hu), GRID)
    assert found.ml == pytest.approx(mass.sum() * GRID.voxel_ml, rel=0.25)
    assert (found.hu, found.usual_hu) == (pytest.approx(35, abs=5), pytest.approx(180, abs=12))
    assert not found.fluid


def test_pyramids_a_sinus_and_a_kidney_without_contrast_are_no_mass_of_it():
    pyramids = KIDNEY & (abs(X % 16 - 8) < 4) & (abs(Y % 16 - 8) < 4)
    assert find_kidney_mass(KIDNEY, scan((KIDNEY, 200), (pyramids, 90)), GRID) is None
    sinus = KIDNEY & (abs(Y) < 5)
    assert find_kidney_mass(KIDNEY, scan((KIDNEY, 180), (sinus, -40)), GRID) is None
    assert find_kidney_mass(KIDNEY, scan((KIDNEY, 32), noise_hu=25), GRID) is None
    assert find_kidney_mass(ball(8), scan((ball(8), 110)), GRID) is None


def test_a_healthy_phantom_and_one_without_a_kidney_have_no_odd_part():
    assert painted(lambda anatomy, rng: anatomy) == {}
    assert painted(nephrectomy) == {}


def test_a_painted_hydronephrosis_is_told():
    found = painted(hydronephrosis)
    assert found
    assert set(found) <= {"kidney_right", "kidney_left"}
    assert all(part.hu == pytest.approx(8, abs=4) for part in found.values())


def test_a_painted_mass_that_is_called_liver_is_told():
    assert set(painted(outside_mass, mistaken=[Tissue.TUMOUR])) == {"liver"}
    assert painted(outside_mass) == {}


@pytest.mark.parametrize("seed", [2, 5])
def test_a_spleen_mottled_by_an_arterial_phase_has_no_mass(seed):
    assert painted(mottled_spleen, seed, phase="arterial") == {}
