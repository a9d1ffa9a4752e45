"""Augmentation: patches lie where they should, and a mirrored patient keeps his kidneys' names right."""

from dataclasses import replace

import numpy as np
import torch
from tiny import SPACING, STILL, packed

from abdoseg.anatomy.organs import MAIN
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.sampler import Sampler, mirror_table
from abdoseg.training.augment.transforms import (
    AIR_HU,
    NO_AUGMENTATION,
    Augmentation,
    PatchRegion,
    add_oral_contrast,
    augment_hu,
    random_coordinates,
    truncate_field_of_view,
)

ANISOTROPIC = (1.0, 2.0, 4.0)


def test_without_augmentation_a_patch_is_the_array_itself():
    array = np.arange(10 * 8 * 6, dtype=np.int16).reshape(10, 8, 6)
    coordinates, mirrored = random_coordinates((4.5, 3.5, 2.5), (4, 4, 4), ANISOTROPIC, NO_AUGMENTATION, Rng(0))
    patch = PatchRegion.around(coordinates, array.shape).sample(array, 0.0)
    assert not mirrored
    torch.testing.assert_close(patch, torch.tensor(array[3:7, 2:6, 1:5], dtype=torch.float32), atol=2e-3, rtol=0)


def test_beyond_the_scan_is_air():
    array = np.zeros((4, 4, 4), np.int16)
    coordinates, _ = random_coordinates((-20.0, 1.5, 1.5), (4, 4, 4), ANISOTROPIC, NO_AUGMENTATION, Rng(0))
    assert (PatchRegion.around(coordinates, array.shape).sample(array, AIR_HU) == AIR_HU).all()


def test_scale_makes_organs_larger_in_mm_on_every_axis():
    how = replace(NO_AUGMENTATION, scale=(2.0, 2.0))
    coordinates, _ = random_coordinates((0.0, 0.0, 0.0), (5, 5, 5), ANISOTROPIC, how, Rng(0))
    steps = [float(coordinates[a].diff(dim=a).mean()) for a in range(3)]
    np.testing.assert_allclose(steps, 0.5, atol=1e-5)


def test_zoom_makes_a_patchs_voxels_larger_on_every_axis():
    coordinates, _ = random_coordinates((0.0, 0.0, 0.0), (5, 5, 5), ANISOTROPIC, NO_AUGMENTATION, Rng(0), zoom=2.0)
    np.testing.assert_allclose([float(coordinates[a].diff(dim=a).mean()) for a in range(3)], 2.0, atol=1e-5)


def test_a_quarter_turn_keeps_distances_in_mm():
    how = replace(NO_AUGMENTATION, rotate_degrees=90.0)
    coordinates, _ = random_coordinates((0.0, 0.0, 0.0), (3, 3, 3), ANISOTROPIC, how, Rng(3))
    mm = coordinates * torch.tensor(ANISOTROPIC).view(3, 1, 1, 1)
    np.testing.assert_allclose([float(mm.diff(dim=1 + a).norm(dim=0).mean()) for a in range(3)], ANISOTROPIC, rtol=1e-5)


def test_a_mirrored_patient_has_his_right_kidney_on_the_other_side_and_still_calls_it_right(tmp_path):
    cache = packed(tmp_path, 1)
    whole = replace(STILL, spacing_mm=None, patch=cache.cases[0].shape)
    mirrored = replace(whole, augmentation=replace(NO_AUGMENTATION, mirror=1.0))
    before, after = (Sampler(cache, ["case0"], config).batch(0) for config in (whole, mirrored))
    torch.testing.assert_close(after.image, before.image.flip(2), atol=1e-3, rtol=0)
    liver, right, left, spleen = (1 + MAIN.index(o) for o in ("liver", "kidney_right", "kidney_left", "spleen"))
    flipped = before.target.flip(1)
    assert (after.target[flipped == right] == left).all() and (after.target[flipped == left] == right).all()
    assert (after.target[flipped == liver] == liver).all() and (after.target[flipped == spleen] == spleen).all()
    rows = torch.arange(after.target.shape[1]).view(-1, 1, 1)
    mean_row = [float((rows * (after.target[0] == c)).sum() / (after.target[0] == c).sum()) for c in (right, left)]
    assert mean_row[0] > mean_row[1]  # I runs to the patient's right: the right kidney is where right kidneys are


def test_the_mirror_table_swaps_pairs_and_leaves_lone_twins():
    assert mirror_table(MAIN).tolist() == [0, 1, 3, 2, 4]
    assert mirror_table(("liver", "kidney_right")).tolist() == [0, 1, 2]


def test_mirroring_is_off_by_default():
    assert Augmentation().mirror == 0.0
    assert not any(random_coordinates((0, 0, 0), (2, 2, 2), SPACING, Augmentation(), Rng(s))[1] for s in range(50))


def test_organs_change_their_hu_together_and_the_rest_does_not():
    labels = torch.zeros(12, 12, 12, dtype=torch.uint8)
    labels[:, :, 6:] = 1
    image = torch.where(labels == 1, 110.0, -100.0)
    how = replace(NO_AUGMENTATION, organ_hu=1.0)
    changed = augment_hu(image, labels, SPACING, how, Rng(1))
    assert torch.allclose(changed[:, :, :3], torch.tensor(-100.0), atol=0.5)
    assert (changed[:, :, 9:] - 110.0).abs().min() > 3 and changed[:, :, 9:].std() < 1.0


def test_where_the_field_is_cut_there_is_air_and_no_organ():
    image, labels = torch.zeros(10, 10, 10), torch.ones(10, 10, 10, dtype=torch.uint8)
    cut, target = truncate_field_of_view(image, labels, Rng(2))
    gone = cut == AIR_HU
    assert 0.05 < gone.float().mean() < 0.75 and (target == 0).eq(gone).all()


def test_a_scan_may_end_just_above_or_below_the_organs():
    image, labels = torch.zeros((8, 8, 48)), torch.zeros((8, 8, 48), dtype=torch.uint8)
    labels[2:6, 2:6, 14:30] = 1
    labels[1, 1] = 7  # the aorta goes on above and below
    ends = set()
    for seed in range(200):
        cut, target = truncate_field_of_view(image, labels, Rng(seed))
        kept = (cut[0, 0] == 0).nonzero()[:, 0]
        if 7 in target and not (target == 1).any() and (cut == 0).all(dim=0).all(dim=0).sum() == len(kept):
            ends.add((int(kept[0]), int(kept[-1])))
    above = {low for low, high in ends if high == 47}
    below = {high for low, high in ends if low == 0}
    assert above >= {30, 31, 32} and below >= {13, 12, 11}
    assert min(above) == 30 and max(below) == 13


def test_the_same_seed_gives_the_same_patch():
    image = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(5)) * 50
    labels = (image > 20).to(torch.uint8)
    first, second = (augment_hu(image, labels, SPACING, Augmentation(), Rng(9)) for _ in range(2))
    assert torch.equal(first, second)


def test_loops_of_bright_bowel_lie_beside_a_kidney_and_leave_it_and_the_air_alone():
    image, labels = torch.full((48, 48, 32), -1000.0), torch.zeros((48, 48, 32), dtype=torch.uint8)
    image[6:42, 6:42] = -100.0
    labels[16:28, 10:22, 8:24] = 2
    image[labels == 2] = 180.0
    inside = torch.zeros_like(labels, dtype=torch.bool)
    inside[19:25, 13:19, 11:21] = True
    contents = []
    for seed in range(12):
        changed = add_oral_contrast(image, labels, (3.0, 3.0, 3.0), Rng(seed))
        torch.testing.assert_close(changed[inside], image[inside])
        torch.testing.assert_close(changed[:2], image[:2])
        filled = changed[(labels == 0) & (changed > 100)]
        contents.append(float(filled.median()) if len(filled) > 200 else 0.0)
    assert sum(hu > 300 for hu in contents) >= 2
    assert sum(140 < hu < 260 for hu in contents) >= 4  # as bright as the kidney
