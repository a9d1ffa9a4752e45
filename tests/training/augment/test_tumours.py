"""Synthetic tumours: inside the liver, of the stated sizes and contrasts, the same for the same seed."""

import math

import pytest
import torch

from abdoseg.training.augment import shapes, tumours
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.tumours import KINDS, LIVER, TUMOUR, add_tumours

SPACING_MM = (2.0, 2.0, 3.0)
LIVER_HU = 110.0


def patch() -> tuple[torch.Tensor, torch.Tensor]:
    """A liver of 120 x 120 x 120 mm and 110 HU amid fat, with a kidney beside it."""
    labels = torch.zeros(76, 76, 50, dtype=torch.uint8)
    labels[8:68, 8:68, 5:45] = LIVER
    labels[70:74, 20:40, 10:30] = 2
    return torch.where(labels == LIVER, LIVER_HU, -100.0), labels


def test_a_seed_gives_the_same_tumours_and_another_seed_others():
    image, labels = patch()
    first, again, other = (add_tumours(image, labels, SPACING_MM, Rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_arguments_are_left_as_they_are():
    image, labels = patch()
    add_tumours(image, labels, SPACING_MM, Rng(0))
    assert torch.equal(image, patch()[0]) and torch.equal(labels, patch()[1])


@pytest.mark.parametrize("seed", range(10))
def test_nothing_outside_the_liver_changes(seed):
    image, labels = patch()
    changed, found = add_tumours(image, labels, SPACING_MM, Rng(seed))
    outside = labels != LIVER
    assert torch.equal(changed[outside], image[outside]) and torch.equal(found[outside], labels[outside])
    assert set(found.unique().tolist()) == {0, LIVER, 2, TUMOUR}


def test_volumes_are_those_of_one_small_to_two_large_ellipsoids():
    image, labels = patch()
    volumes_ml = []
    for seed in range(40):
        found = add_tumours(image, labels, SPACING_MM, Rng(seed))[1] == TUMOUR
        volumes_ml.append(float(found.sum()) * math.prod(SPACING_MM) / 1000)
    assert 0.03 < min(volumes_ml) < 2 and 30 < max(volumes_ml) < 500


def test_a_tumours_volume_is_its_ellipsoids(monkeypatch):
    monkeypatch.setattr(tumours, "KINDS", ((20.0, 20.001, 1),))
    monkeypatch.setattr(shapes, "SIZES", (1.0, 1.0))
    image, labels = patch()
    ball_ml = 4 / 3 * math.pi * 20.0**3 / 1000
    volumes_ml = [
        float((add_tumours(image, labels, SPACING_MM, Rng(seed))[1] == TUMOUR).sum()) * math.prod(SPACING_MM) / 1000
        for seed in range(12)
    ]
    assert max(volumes_ml) == pytest.approx(ball_ml, rel=0.25)  # others are clipped by the liver's surface
    assert len({round(volume, 3) for volume in volumes_ml}) == 12  # no border is even


def test_contrast_to_the_liver_lies_in_the_stated_ranges():
    image, labels = patch()
    medians = []
    for seed in range(60):
        changed, found = add_tumours(image, labels, SPACING_MM, Rng(seed))
        medians.append(float((changed - image)[found == TUMOUR].median()))
    darker, brighter = ([m for m in medians if m < 0], [m for m in medians if m > 0])
    assert 0.7 < len(darker) / len(medians) < 0.97
    assert -115 < min(darker) < -50  # 75, and a necrotic core of up to 40 more
    assert max(darker) > -30 and 10 < max(brighter) < 65


def test_a_darker_tumour_is_darkest_in_a_necrotic_core_and_a_rim_may_be_bright(monkeypatch):
    monkeypatch.setattr(Rng, "bernoulli", lambda self, probability: True)
    monkeypatch.setattr(tumours, "KINDS", ((30.0, 31.0, 1),))
    image, labels = patch()
    changed, found = add_tumours(image, labels, SPACING_MM, Rng(1))
    inside = (found == TUMOUR).nonzero().float()
    distance = ((inside - inside.mean(dim=0)) * torch.tensor(SPACING_MM)).norm(dim=1)
    contrast = (changed - image)[found == TUMOUR]
    core, rim = contrast[distance < 8].mean(), contrast[distance > distance.max() * 0.8].mean()
    assert core < rim - 15


def test_a_patch_with_next_to_no_liver_is_left_alone():
    image, labels = patch()
    labels = torch.where(torch.arange(76)[:, None, None] < 10, labels, torch.zeros_like(labels))
    labels[:, 20:] = 0
    changed, found = add_tumours(image, labels, SPACING_MM, Rng(0))
    assert torch.equal(changed, image) and torch.equal(found, labels)


def test_kinds_run_from_three_to_thirty_six_mm_and_up_to_eight_tumours():
    assert min(kind[0] for kind in KINDS) == 3 and max(kind[1] for kind in KINDS) == 36
    assert max(kind[2] for kind in KINDS) == 8
