"""The procedural abdomen: organs of the right size in the right place, exact labels, the same patient on every grid."""

import numpy as np
import pytest
from scipy import ndimage

from abdoseg.anatomy.organs import MAIN, ORGANS
from abdoseg.anatomy.tissues import MEAN_HU, PHASES, Phase, Tissue
from abdoseg.image.volume import Labelmap
from abdoseg.phantom import phantom, phantom_tissues

SHAPE, SPACING_MM = (96, 80, 60), (4.0, 4.0, 5.0)
TINY, TINY_MM = (64, 56, 40), (6.0, 6.0, 8.0)
EVERY = tuple(organ.name for organ in ORGANS if not organ.is_lesion)
SIZES_ML = {"liver": (1100, 2000), "spleen": (110, 320), "kidney_right": (100, 220), "kidney_left": (100, 220)}


def volume_ml(labelmap: Labelmap, organ: str) -> float:
    return float(labelmap.mask(organ).sum()) * labelmap.geometry.voxel_ml


def centre_mm(labelmap: Labelmap, organ: str) -> np.ndarray:
    """The centre of mass in RAS mm."""
    indices = np.argwhere(labelmap.mask(organ)).mean(axis=0)
    return labelmap.geometry.affine[:3, :3] @ indices + labelmap.geometry.affine[:3, 3]


@pytest.mark.parametrize("seed", range(6))
def test_organs_have_adult_sizes(seed):
    _, labelmap = phantom(seed, SHAPE, SPACING_MM)
    for organ, (least, most) in SIZES_ML.items():
        assert least < volume_ml(labelmap, organ) < most, organ


@pytest.mark.parametrize("seed", range(6))
def test_organs_are_in_one_piece(seed):
    _, labelmap = phantom(seed, SHAPE, SPACING_MM)
    for organ in MAIN:
        pieces, _ = ndimage.label(labelmap.mask(organ), structure=np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() > 0.99 * sizes.sum(), organ


@pytest.mark.parametrize("seed", range(4))
def test_organs_lie_on_their_sides(seed):
    _, labelmap = phantom(seed, SHAPE, SPACING_MM, organs=EVERY)
    at = {organ: centre_mm(labelmap, organ) for organ in EVERY}
    for right in ("liver", "kidney_right", "gallbladder", "inferior_vena_cava", "adrenal_gland_right"):
        assert at[right][0] > 0, right
    for left in ("spleen", "kidney_left", "stomach", "aorta", "adrenal_gland_left"):
        assert at[left][0] < 0, left
    assert at["kidney_right"][2] < at["liver"][2]  # below the liver
    assert at["kidney_left"][1] < at["stomach"][1]  # behind the stomach
    assert at["adrenal_gland_left"][2] > at["kidney_left"][2]


def test_every_organ_that_is_asked_for_is_there_and_no_other():
    _, labelmap = phantom(0, SHAPE, SPACING_MM, organs=EVERY)
    assert set(np.unique(labelmap.labels)) == {0, *labelmap.organs}
    _, two = phantom(0, SHAPE, SPACING_MM, organs=("spleen", "liver"))
    assert set(np.unique(two.labels)) == {0, 1, 4}
    assert two.organs == {4: "spleen", 1: "liver"}


def test_a_seed_is_one_scan_voxel_for_voxel_and_another_seed_another():
    first, labels = phantom(3, TINY, TINY_MM)
    again, labels_again = phantom(3, TINY, TINY_MM)
    other, _ = phantom(4, TINY, TINY_MM)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(labels.labels, labels_again.labels)
    assert not np.array_equal(first.voxels, other.voxels)


def test_a_seed_is_one_patient_on_every_grid():
    _, coarse = phantom(5, TINY, TINY_MM)
    _, fine = phantom(5, SHAPE, SPACING_MM)
    for organ in MAIN:
        assert volume_ml(coarse, organ) == pytest.approx(volume_ml(fine, organ), rel=0.08)
        assert np.linalg.norm(centre_mm(coarse, organ) - centre_mm(fine, organ)) < 3


def test_a_part_of_the_grid_shows_the_same_labels():
    _, whole = phantom(1, (64, 56, 40), TINY_MM)
    _, part = phantom(1, (32, 28, 20), TINY_MM)
    assert np.array_equal(whole.labels[16:48, 14:42, 10:30], part.labels)


@pytest.mark.parametrize("phase", PHASES)
def test_organs_have_the_hu_of_their_phase(phase: Phase):
    volume, labelmap = phantom(2, SHAPE, SPACING_MM, phase=phase)
    assert volume.voxels.dtype == np.int16
    for organ, tissue in (("liver", Tissue.LIVER), ("spleen", Tissue.SPLEEN)):
        inner = ndimage.binary_erosion(labelmap.mask(organ), iterations=2)
        assert float(np.median(volume.voxels[inner])) == pytest.approx(MEAN_HU[phase][tissue], abs=20)


def test_phases_show_one_anatomy():
    plain, labels = phantom(2, TINY, TINY_MM, phase="noncontrast")
    arterial, labels_arterial = phantom(2, TINY, TINY_MM, phase="arterial")
    assert np.array_equal(labels.labels, labels_arterial.labels)
    kidney = labels.mask("kidney_left")
    assert np.median(arterial.voxels[kidney]) > np.median(plain.voxels[kidney]) + 50


def test_noise_has_the_level_that_is_asked_for():
    quiet, labelmap = phantom(0, SHAPE, SPACING_MM, noise_hu=0)
    loud, _ = phantom(0, SHAPE, SPACING_MM, noise_hu=20)
    liver = labelmap.mask("liver")
    assert (loud.voxels.astype(float) - quiet.voxels)[liver].std() == pytest.approx(20, rel=0.1)


def test_the_scan_holds_air_fat_bone_and_lung():
    volume, _ = phantom(0, SHAPE, SPACING_MM)
    hu = volume.voxels
    assert (hu < -900).mean() > 0.2
    assert 0.05 < ((hu > -130) & (hu < -70)).mean() < 0.5
    assert (hu > 300).mean() > 0.002
    assert (hu[:, :, -8] < -700).sum() > (hu[:, :, 8] < -700).sum()  # lungs above


def test_scan_and_labels_lie_on_one_grid_around_the_origin():
    volume, labelmap = phantom(0, TINY, TINY_MM)
    assert volume.geometry.matches(labelmap.geometry)
    assert volume.geometry.axes == "RAS"
    np.testing.assert_allclose(volume.geometry.corners_mm().mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(volume.geometry.spacing_mm, TINY_MM)


def test_grids_of_one_slice_and_far_from_the_organs_are_possible():
    volume, labelmap = phantom(0, (64, 56, 1), (6.0, 6.0, 5.0))
    assert volume.voxels.shape == (64, 56, 1)
    assert labelmap.mask("liver").any()
    long, _ = phantom(0, (32, 28, 60), (12.0, 12.0, 20.0))
    assert long.voxels.shape == (32, 28, 60)


def test_the_tissues_are_those_of_the_scan():
    tissues, labelmap = phantom_tissues(7, TINY, TINY_MM)
    _, same = phantom(7, TINY, TINY_MM)
    assert np.array_equal(labelmap.labels, same.labels)
    assert (tissues[labelmap.mask("liver")] == Tissue.LIVER).all()
    assert tissues.max() < 64


@pytest.mark.parametrize("region", ["head", "legs"])
def test_a_head_and_legs_have_tissues_and_no_labels(region):
    scan, labelmap = phantom(3, (96, 96, 60), (2.5, 2.5, 4.0), region=region)
    tissues, _ = phantom_tissues(3, (96, 96, 60), (2.5, 2.5, 4.0), region=region)
    assert not labelmap.labels.any()
    for tissue in (Tissue.SKIN, Tissue.FAT, Tissue.MUSCLE, Tissue.BONE_CORTEX, Tissue.BONE_MARROW):
        assert (tissues == tissue).sum() > 50
    assert scan.voxels[tissues == Tissue.BONE_CORTEX].mean() > 300
    assert -1024 <= scan.voxels.min() < -950


def test_a_brain_lies_in_a_skull():
    tissues, _ = phantom_tissues(5, (120, 130, 90), (1.6, 1.6, 2.4), region="head")
    brain = tissues == Tissue.NERVE
    assert 800 < brain.sum() * 1.6 * 1.6 * 2.4 / 1000 < 1700
    around = ndimage.binary_dilation(brain, iterations=2) & ~brain
    assert not np.isin(tissues[around], [Tissue.AIR, Tissue.SKIN]).any()
