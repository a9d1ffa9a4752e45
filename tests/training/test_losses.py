"""Losses, worked by hand on two voxels."""

import math

import pytest
import torch

from abdoseg.training.losses import merge_unannotated, mixed_loss, renumber

# Background, liver, spleen at two voxels; the truth is background, then liver.
P = torch.tensor([[0.5, 0.1], [0.3, 0.8], [0.2, 0.1]])
LOGITS = P.log().view(1, 3, 2, 1, 1)
TARGET = torch.tensor([0, 1]).view(1, 2, 1, 1)
ALL = torch.tensor([[False, True, True]])
LIVER_ONLY = torch.tensor([[False, True, False]])


def test_cross_entropy_is_the_mean_of_minus_log_p():
    expected = -(math.log(0.5) + math.log(0.8)) / 2
    assert mixed_loss(LOGITS, TARGET, ALL, (0, 1, 0)).item() == pytest.approx(expected, abs=1e-6)


def test_with_only_the_liver_annotated_the_spleen_counts_as_background():
    expected = -(math.log(0.5 + 0.2) + math.log(0.8)) / 2
    assert mixed_loss(LOGITS, TARGET, LIVER_ONLY, (0, 1, 0)).item() == pytest.approx(expected, abs=1e-6)


def test_dice_is_the_mean_of_the_organs_with_squares_below():
    liver = (2 * 0.8 + 1) / (0.3**2 + 0.8**2 + 1 + 1)
    spleen = (0 + 1) / (0.2**2 + 0.1**2 + 0 + 1)
    assert mixed_loss(LOGITS, TARGET, ALL, (1, 0, 0)).item() == pytest.approx(1 - (liver + spleen) / 2, abs=1e-6)
    assert mixed_loss(LOGITS, TARGET, LIVER_ONLY, (1, 0, 0)).item() == pytest.approx(1 - liver, abs=1e-6)


def test_focal_is_cross_entropy_where_the_network_is_unsure():
    expected = -(0.5**2 * math.log(0.5) + 0.2**2 * math.log(0.8)) / 2
    assert mixed_loss(LOGITS, TARGET, ALL, (0, 0, 1)).item() == pytest.approx(expected, abs=1e-6)


def test_class_weights_weigh_dice_with_the_background():
    background = (2 * 0.5 + 1) / (0.5**2 + 0.1**2 + 1 + 1)
    liver = (2 * 0.8 + 1) / (0.3**2 + 0.8**2 + 1 + 1)
    spleen = 1 / (0.2**2 + 0.1**2 + 1)
    expected = 1 - (0.2 * background + 3 * liver + 5 * spleen) / 8.2
    assert mixed_loss(LOGITS, TARGET, ALL, (1, 0, 0), (0.2, 3, 5)).item() == pytest.approx(expected, abs=1e-6)


def test_the_parts_add_up():
    whole = mixed_loss(LOGITS, TARGET, ALL, (1, 2, 3))
    parts = [
        w * mixed_loss(LOGITS, TARGET, ALL, tuple(float(i == n) for i in range(3))) for n, w in enumerate((1, 2, 3))
    ]
    torch.testing.assert_close(whole, sum(parts))


def test_two_samples_annotated_apart_share_one_dice_an_organ():
    logits, target = LOGITS.repeat(2, 1, 1, 1, 1), TARGET.repeat(2, 1, 1, 1)
    annotated = torch.cat((ALL, LIVER_ONLY))
    liver = (2 * 1.6 + 1) / (2 * (0.3**2 + 0.8**2) + 2 + 1)
    spleen = 1 / (0.2**2 + 0.1**2 + 1)
    assert mixed_loss(logits, target, annotated, (1, 0, 0)).item() == pytest.approx(1 - (liver + spleen) / 2, abs=1e-6)


def test_an_unannotated_organ_gets_no_blame_for_what_the_background_hides():
    """Moving probability between background and spleen changes nothing where the spleen was not looked for."""
    moved = torch.tensor([[0.1, 0.15], [0.3, 0.8], [0.6, 0.05]]).log().view(1, 3, 2, 1, 1)
    for weights in ((0, 1, 0), (1, 0, 0), (0, 0, 1)):
        assert mixed_loss(moved, TARGET, LIVER_ONLY, weights).item() == pytest.approx(
            mixed_loss(LOGITS, TARGET, LIVER_ONLY, weights).item()
        )


def test_merging_keeps_probabilities_and_renumbers_targets():
    merged = merge_unannotated(LOGITS[0].flatten(1), torch.tensor([False, False, True])).exp()
    torch.testing.assert_close(merged, torch.tensor([[0.8, 0.9], [0.2, 0.1]]))
    assert renumber(torch.tensor([0, 2]), torch.tensor([False, False, True])).tolist() == [0, 1]


def test_gradients_agree_with_finite_differences():
    logits = LOGITS.double().clone().requires_grad_()
    loss = mixed_loss(logits, TARGET, LIVER_ONLY, (1, 1, 1), (0.2, 3, 5))
    (gradient,) = torch.autograd.grad(loss, logits)
    step = 1e-2
    for index in ((0, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 2, 0, 0, 0)):
        shifted = [LOGITS.clone(), LOGITS.clone()]
        shifted[0][index] += step
        shifted[1][index] -= step
        up, down = (mixed_loss(s, TARGET, LIVER_ONLY, (1, 1, 1), (0.2, 3, 5)).item() for s in shifted)
        assert (up - down) / (2 * step) == pytest.approx(gradient[index].item(), abs=2e-4)
