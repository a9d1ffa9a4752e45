"""Fluid on an organ and in it, in balls worked by hand."""

import numpy as np
import pytest

from abdoseg.inference.fluid import hanging_fluid

VOXEL_ML = 0.008  # 2 mm
X, Y, Z = np.indices((81, 80, 80)) - 40
ORGAN = X**2 + Y**2 + Z**2 < 34**2
ASCITES = ORGAN & (X > 10)
CYST = X**2 + Y**2 + Z**2 < 20**2


def scan(fluid, organ_hu=110.0, noise_hu=0.0):
    hu = np.where(ORGAN, organ_hu, -100.0)
    hu[fluid] = 8
    return (hu + np.random.default_rng(0).normal(0, max(noise_hu, 1e-6), hu.shape)).astype(np.float32)


@pytest.mark.parametrize("noise_hu", [0, 25])
def test_ascites_at_an_organs_side_is_distinguished_from_it(noise_hu):
    fluid = hanging_fluid(ORGAN, scan(ASCITES, noise_hu=noise_hu), VOXEL_ML)
    assert (fluid & ASCITES).sum() > 0.9 * ASCITES.sum()
    assert (fluid & ~ASCITES).sum() < 0.02 * ASCITES.sum()
    assert not (fluid & ~ORGAN).any()


def test_a_cyst_inside_is_part_of_the_organ():
    assert hanging_fluid(ORGAN, scan(CYST), VOXEL_ML) is None


def test_a_healthy_organ_a_fatty_liver_and_a_little_fluid_stay_as_they_are():
    nothing = np.zeros_like(ORGAN)
    assert hanging_fluid(ORGAN, scan(nothing, noise_hu=40), VOXEL_ML) is None
    assert hanging_fluid(ORGAN, scan(nothing, organ_hu=20, noise_hu=20), VOXEL_ML) is None
    assert hanging_fluid(ORGAN, scan(ASCITES, organ_hu=30), VOXEL_ML) is None  # cannot be told from fluid
    assert hanging_fluid(ORGAN, scan(ORGAN & (X > 31)), VOXEL_ML) is None


def test_an_organ_too_thin_to_tell_has_none():
    thin = np.zeros((20, 20, 20), bool)
    thin[5:7] = True
    assert hanging_fluid(thin, np.full(thin.shape, 5, np.float32), VOXEL_ML) is None
    assert hanging_fluid(np.zeros_like(thin), np.zeros(thin.shape, np.float32), VOXEL_ML) is None
