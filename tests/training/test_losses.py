"""Losses: worked by hand on two voxels, and beside a plain second implementation that autograd differentiates."""

import itertools
import math

import pytest
import torch

from abdoseg.training import losses
from abdoseg.training.losses import merge_unannotated, mixed_loss, owners_of

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


def test_merging_keeps_probabilities_and_empties_what_nobody_annotated():
    (owners,) = owners_of(torch.tensor([[False, False, True]]))
    merged = merge_unannotated(LOGITS[0].flatten(1), owners).exp()
    torch.testing.assert_close(merged, torch.tensor([[0.8, 0.9], [0.0, 0.0], [0.2, 0.1]]))


# Three samples of 2 x 3 x 2 voxels and 4 classes: annotated whole, in part, and not at all.
PARTLY = torch.tensor([[False, True, True, True], [False, False, True, False], [False] * 4])
WEIGHTS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.7, 0.2, 3.0)]


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((3, 4, 2, 3, 2), generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(4, (3, 2, 3, 2), generator=generator)


def plain_loss(logits, target, annotated, weights, class_weights, hosts=(0, 0, 0, 0)):
    """What `mixed_loss` says it is, voxel by voxel and class by class."""
    overlap, total = [0.0] * 4, [0.0] * 4
    pixelwise = []
    for sample, truth, known in zip(logits, target, annotated, strict=True):
        for place in itertools.product(*map(range, truth.shape)):
            p = sample[:, *place].softmax(0)
            owners = [c if known[c] else hosts[c] if known[hosts[c]] else 0 for c in range(4)]
            y = owners[int(truth[place])]
            merged = [sum(p[c] for c in range(4) if owners[c] == k) + 0 * p[k] for k in range(4)]
            pixelwise.append(-(weights[1] + weights[2] * (1 - merged[y]) ** 2) * merged[y].log())
            for c in range(4):
                overlap[c] = overlap[c] + merged[c] * (c == y)
                total[c] = total[c] + merged[c] ** 2 + (c == y)
    dice = [(2 * o + 1) / (t + 1) for o, t in zip(overlap, total, strict=True)]
    counted = [float(annotated[:, c].any()) for c in range(4)]
    if class_weights:
        counted = [w * (s if c else 1) for c, (w, s) in enumerate(zip(class_weights, counted, strict=True))]
    mean = sum(s * d for s, d in zip(counted, dice, strict=True)) / sum(counted)
    return weights[0] * (1 - mean) + sum(pixelwise) / len(pixelwise)


@pytest.mark.parametrize("class_weights", [None, (0.2, 3.0, 5.0, 1.0)])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("samples", [slice(1), slice(1, 2), slice(3)])
def test_value_and_gradient_are_those_of_a_plain_second_implementation(weights, class_weights, samples, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 5)  # so that the last of a sample's parts is shorter
    logits, target = example()
    batch = logits[samples], target[samples], PARTLY[samples]
    loss, plain = mixed_loss(*batch, weights, class_weights), plain_loss(*batch, weights, class_weights)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(plain, logits))
    assert torch.autograd.gradcheck(lambda x: mixed_loss(x[samples], *batch[1:], weights, class_weights), logits)


# Liver is channel 1 and its tumour 3: both annotated, no tumours looked for, and neither; the spleen always.
TUMOURS = torch.tensor([[False, True, True, True], [False, True, True, False], [False, False, True, False]])
IN_LIVER = (0, 0, 0, 1)


@pytest.mark.parametrize("class_weights", [None, (0.2, 3.0, 5.0, 1.0)])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_an_unannotated_lesion_is_part_of_its_organ_in_value_and_gradient(weights, class_weights, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 5)
    logits, target = example()
    arguments = (target, TUMOURS, weights, class_weights, IN_LIVER)
    loss, plain = mixed_loss(logits, *arguments), plain_loss(logits, *arguments)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(plain, logits))
    assert torch.autograd.gradcheck(lambda x: mixed_loss(x, *arguments), logits)


def test_a_tumour_that_nobody_looked_for_costs_nothing_inside_the_liver_and_something_outside():
    """Background, liver, tumour at two voxels; the truth is background, then liver."""
    cost = {}
    for name, moved in (
        ("none", [[0.5, 0.1], [0.5, 0.9], [0.0, 0.0]]),
        ("inside", [[0.5, 0.1], [0.5, 0.1], [0.0, 0.8]]),
        ("outside", [[0.2, 0.1], [0.5, 0.9], [0.3, 0.0]]),
    ):
        logits = torch.tensor(moved).clamp(min=1e-20).log().view(1, 3, 2, 1, 1)
        cost[name] = mixed_loss(logits, TARGET, LIVER_ONLY, (1, 1, 0), None, (0, 0, 1)).item()
    assert cost["inside"] == pytest.approx(cost["none"]) and cost["outside"] > cost["none"] + 0.1


def test_owners_are_found_through_hosts_that_nobody_annotated():
    assert owners_of(TUMOURS, IN_LIVER) == [(0, 1, 2, 3), (0, 1, 2, 1), (0, 0, 2, 0)]
    assert owners_of(TUMOURS) == [(0, 1, 2, 3), (0, 1, 2, 0), (0, 0, 2, 0)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_any_type_and_layout_of_the_logits_gives_the_same_and_keeps_them(dtype, layout):
    exact, target = example()
    given = exact.detach().to(dtype).contiguous(memory_format=layout)
    logits, exact = given.clone().requires_grad_(), given.double().requires_grad_()
    mixed_loss(logits, target, PARTLY, (1, 1, 1)).backward()
    mixed_loss(exact, target, PARTLY, (1, 1, 1)).backward()
    assert logits.grad.dtype == dtype and logits.grad.is_contiguous(memory_format=layout)
    torch.testing.assert_close(
        logits.grad, exact.grad.to(dtype), rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
    )


def test_a_network_that_is_quite_wrong_still_gets_a_gradient_that_is_a_number():
    """Where p of the truth is too small for a float32, its logarithm is not."""
    logits = torch.tensor([0.0, 500.0, 0.0]).view(1, 3, 1, 1, 1).requires_grad_()
    loss = mixed_loss(logits, torch.zeros(1, 1, 1, 1, dtype=torch.int64), ALL, (1, 1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(1000 + 1 - (1 / 2 + 1) / 2) and logits.grad[0, 0] == pytest.approx(-2)
