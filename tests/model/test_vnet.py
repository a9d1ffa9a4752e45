"""The V-Net as the paper draws it, and its kin: sizes worked by hand, no parameter left out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from abdoseg.model.vnet import VNet, VNetConfig
from abdoseg.training.recipes import RECIPES

PAPER = VNetConfig()
SMALL = VNetConfig(classes=3, widths=(4, 8), depths=(1, 2), kernel=3)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**3 + outputs


def receptive_field(config):
    """Receptive field of an output voxel along an axis, as table 1 of the paper counts it: 551 voxels there.

    A transposed convolution counts as one more step, by which a gradient may reach less far.
    """
    field, step, grow = config.stem, config.stem, config.kernel - 1
    if config.stem > 1:
        field += grow * step * (config.depths[0] - 1) + grow * step
    else:
        field += grow * config.depths[0]
    for depth, down in zip(config.depths[1:], config.downs, strict=True):
        field += grow * step if down == "convolve-maxpool" else 0
        field, step = field + step, step * 2
        field += grow * step * depth
    for depth in reversed(config.depths[:-1]):
        step //= 2
        field += step + grow * step * depth
    return field


def test_the_receptive_field_is_that_of_the_papers_table_1():
    assert receptive_field(PAPER) == 551
    left = [replace(PAPER, widths=PAPER.widths[:n], depths=PAPER.depths[:n]) for n in range(2, 6)]
    ups = [sum(2**step * (1 + 4 * depth) for step, depth in enumerate(config.depths[:-1])) for config in left]
    assert [receptive_field(config) - up for config, up in zip(left, ups, strict=True)] == [22, 72, 172, 372]


@pytest.mark.parametrize("config", [
    SMALL, replace(SMALL, down="maxpool", residual=False), replace(SMALL, down="convolve-maxpool"),
    replace(SMALL, join="add", kernel=5), replace(SMALL, widths=(4, 4, 4), depths=(1, 1, 1)),
])  # fmt: skip
def test_a_gradient_reaches_the_receptive_field_but_for_the_transposed_steps(config):
    field = receptive_field(config)
    stride, up_steps = config.stride, config.stride - 1
    size = 2 * stride * (field // stride + 1)
    network = VNet(config)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.constant_(module.weight, 0.01)
    ramp = torch.arange(1.0, size + 1).view(1, 1, -1, 1, 1).expand(1, 1, size, stride, stride)
    image = ramp.clone().requires_grad_()  # so that of each pair of voxels the later is the maximum
    reach = []
    for at in range(size // 2, size // 2 + stride):  # it depends on where in a stride the voxel lies
        (gradient,) = torch.autograd.grad(network(image)[0, 0, at, 0, 0], image)
        seen = torch.nonzero(gradient.abs().sum(dim=(0, 1, 3, 4))).flatten()
        reach.append(int(seen.max() - seen.min() + 1))
    spare = stride - 1 if any("maxpool" in down for down in config.downs) else 0  # a maximum has one gradient
    assert field - up_steps - spare <= max(reach) <= field


def test_the_parameters_of_a_small_vnet_are_as_counted_by_hand():
    """Encoder: 1 to 4; down 4 to 8; two of 8. Decoder: up 8 to 4; one of 8 (4 joined with 4). Head: 8 to 3."""
    expected = convolution(1, 4, 3) + convolution(4, 8, 2) + 2 * convolution(8, 8, 3)
    expected += convolution(8, 4, 2) + convolution(8, 8, 3) + convolution(8, 3, 1)
    expected += 4 + 8 + 2 * 8 + 8  # a PReLU's slope a channel: stages and the way down
    assert parameters(VNet(SMALL)) == expected


def test_the_parameters_of_the_papers_network_are_as_counted_by_hand():
    widths, depths = (16, 32, 64, 128, 256), (1, 2, 3, 3, 3)
    expected = convolution(1, 16, 5) + 16
    for above, width, depth in zip(widths[:-1], widths[1:], depths[1:], strict=True):
        expected += convolution(above, width, 2) + width + depth * (convolution(width, width, 5) + width)
    below = 256
    for width, depth in zip(reversed(widths[:-1]), reversed(depths[:-1]), strict=True):
        expected += convolution(below, width, 2) + depth * (convolution(2 * width, 2 * width, 5) + 2 * width)
        below = 2 * width
    expected += convolution(32, 5, 1)
    assert expected == 65_175_173
    with torch.device("meta"):
        assert parameters(VNet(PAPER)) == expected


def test_max_pooling_has_no_parameters_and_the_stage_widens():
    pooled = VNetConfig(
        classes=3, widths=(4, 8), depths=(1, 2), kernel=3, down="maxpool", residual=False, join="concat"
    )
    expected = convolution(1, 4, 3) + convolution(4, 8, 3) + convolution(8, 8, 3)
    expected += convolution(8, 4, 2) + convolution(8, 4, 3) + convolution(4, 3, 1) + 4 + 2 * 8 + 4
    assert parameters(VNet(pooled)) == expected


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.network["name"] == "vnet"])
def test_every_recipes_network_keeps_the_grid_and_reaches_every_parameter(name):
    recipe = RECIPES[name]
    torch.manual_seed(0)
    widths = tuple(width // 4 for width in recipe.network.get("widths", PAPER.widths))
    values = {**recipe.network, "widths": widths, "classes": 4, "dropout": 0.0}
    network = VNet(VNetConfig(**{key: value for key, value in values.items() if key != "name"}))
    stride = network.config.stride
    logits = network(torch.randn(2, 1, 2 * stride, stride, stride))
    assert logits.shape == (2, 4, 2 * stride, stride, stride)
    (logits * torch.randn_like(logits)).sum().backward()
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


@pytest.mark.parametrize("change", [
    {"stem": 2}, {"norm": "batch"}, {"norm": "instance"}, {"join": "concat"}, {"join": "add"}, {"dropout": 0.5},
    {"residual": False}, {"plain_ends": True}, {"down": "convolve-maxpool"}, {"down": ("maxpool",)},
])  # fmt: skip
def test_every_field_gives_a_network_of_the_same_grid(change):
    config = replace(SMALL, **change)
    size = 2 * config.stride
    assert VNet(config)(torch.zeros(1, 1, size, size, size)).shape == (1, 3, size, size, size)


def test_what_the_deep_stages_say_is_as_loud_as_the_skip_connections_when_training_begins():
    torch.manual_seed(0)
    network = VNet(replace(SMALL, widths=(8, 16, 32), depths=(2, 2, 2), norm="batch", join="concat"))
    joined = []
    for stage in network.decoder:
        stage.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0].detach().chunk(2, dim=1)))
    with torch.no_grad():
        logits = network(torch.rand(2, 1, 16, 16, 16) * 2 - 1)
    assert len(joined) == 2
    for skip, below in joined:
        assert 1 < float(below.std() / skip.std()) < 5  # PyTorch's own kernels: 0.3
    assert float(logits.std()) < 1


def test_dropout_acts_in_training_alone():
    network = VNet(replace(SMALL, dropout=0.5))
    image = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_a_residual_stage_adds_its_input():
    stage = VNet(VNetConfig(widths=(4, 8), depths=(1, 1), kernel=3)).encoder[1]
    for convolve in stage.convolutions:
        nn.init.zeros_(convolve.weight)
        nn.init.zeros_(convolve.bias)
    x = torch.rand(1, 8, 4, 4, 4)
    assert torch.equal(stage(x), x)  # PReLU leaves what is positive


@pytest.mark.parametrize("change", [
    {"kernel": 4}, {"depths": (1,)}, {"depths": (1, 0)}, {"down": "stride"}, {"down": ("strided", "strided")},
])  # fmt: skip
def test_a_shape_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match=r"kernel|depths|down"):
        replace(SMALL, **change)
