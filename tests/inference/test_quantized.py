"""The network in bytes: close to the network itself, float32 where it cannot be, and its ranges as measured."""

from dataclasses import replace

import pytest
import torch
from random_networks import model_of, random_network
from torch import nn

from abdoseg.inference.backend import fuse
from abdoseg.inference.onednn import FusedVNet
from abdoseg.inference.quantized import ByteConvolution, ByteVNet, Code, fits, ranges_of

SHAPE = (1, 1, 16, 24, 32)
LARGER = {"widths": (8, 16, 24), "depths": (2, 1, 2)}
needs_bytes = pytest.mark.skipif(
    not hasattr(torch.ops.onednn, "qconv3d_pointwise"), reason="this PyTorch has no such operator"
)


def images(count=3):
    torch.manual_seed(1)
    return [torch.rand(SHAPE) * 2 - 1 for _ in range(count)]


@needs_bytes
@pytest.mark.parametrize("changes", [{}, LARGER, {"norm": "none"}, {"kernel": 5}])
def test_it_comes_close_to_the_network(changes):
    network, order = random_network(**changes), [3, 0, 5, 1, 2, 4]
    ranges = ranges_of(network, images())
    made = fuse(network, torch.int8, SHAPE[2:], order, ranges)
    assert isinstance(made, ByteVNet)
    with torch.inference_mode():
        truth, logits = network(images()[0])[0][order], made(images()[0]).float()
    assert (logits - truth).abs().mean() < 0.03 * truth.abs().mean()
    assert abs(float((logits - truth).mean())) < 0.005 * float(truth.abs().mean())  # nothing leans to one side


@needs_bytes
def test_what_lies_beyond_the_ranges_is_cut_off_and_no_more():
    network = random_network()
    ranges = ranges_of(network, images())
    narrow = {name: (0.5 * low, 0.5 * high) for name, (low, high) in ranges.items()}
    with torch.inference_mode():
        truth = network(images()[0])[0]
        wide, cut = (ByteVNet(network, r, SHAPE[2:])(images()[0]).float() for r in (ranges, narrow))
    assert (cut - truth).abs().mean() > 2 * (wide - truth).abs().mean()
    assert cut.abs().max() < 2 * truth.abs().max()


@needs_bytes
def test_a_convolution_of_nothing_is_its_bias_or_no_less_than_0():
    layer, code = nn.Conv3d(16, 16, 3, padding=1), Code(0.1, 40)
    nothing = torch.full((1, 16, 4, 4, 4), 40, dtype=torch.uint8).contiguous(memory_format=torch.channels_last_3d)
    bias = layer.bias.detach().view(1, -1, 1, 1, 1).expand(1, 16, 4, 4, 4)
    torch.testing.assert_close(ByteConvolution(layer, None, (4, 4, 4), code)(nothing), bias)
    coded = ByteConvolution(layer, None, (4, 4, 4), code, 0.5, 7.0)(nothing)
    torch.testing.assert_close(coded, bias / 0.5 + 7.0)
    counted = ByteConvolution(layer, None, (4, 4, 4), code, after=Code(0.001))(nothing)
    torch.testing.assert_close(counted.float(), (bias / 0.001).round().clamp(0, 255), atol=1, rtol=0)


def test_a_code_holds_its_ranges_and_0():
    assert Code.of((1.0, 5.1)) == Code(5.1 / 255, 0)
    code = Code.of((-1.0, 0.5), (-0.2, 1.55))
    assert code.step == pytest.approx(0.01) and code.zero == 100 and code.nought == 100.5


def test_the_ranges_are_those_of_the_feature_maps():
    network = random_network()
    ranges = ranges_of(network, images(1))
    with torch.inference_mode():
        stem = network.stem(images()[0])
        first = network.encoder[0](stem)
    assert ranges["stem"] == pytest.approx((float(stem.min()), float(stem.max())), abs=1e-4)
    assert ranges["encoder.0"] == pytest.approx((0.0, float(first.max())), abs=1e-4)
    assert set(ranges) == {"stem", "encoder.0", "downs.0", "encoder.1.activations.0", "ups.0"}
    more = ranges_of(network, images(3))
    assert all(more[name][0] <= low and more[name][1] >= high for name, (low, high) in ranges.items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("changes", [
    {"stem": 1}, {"join": "add"}, {"residual": False}, {"plain_ends": True}, {"norm": "instance"},
])  # fmt: skip
def test_other_networks_stay_float32(changes):
    network = random_network(**changes)
    assert not fits(network) and ranges_of(network, images(1)) == {}


def test_where_bytes_cannot_be_multiplied_it_is_float32(monkeypatch):
    network = random_network(**LARGER)
    ranges = ranges_of(network, images(1))
    incomplete = {name: ends for name, ends in ranges.items() if name != "ups.0"}
    assert isinstance(fuse(network, torch.int8, SHAPE[2:], ranges=incomplete), FusedVNet)
    monkeypatch.setattr(ByteConvolution, "__call__", lambda *_: torch.ops.onednn.no_such_operator())
    made = fuse(network, torch.int8, SHAPE[2:], ranges=ranges)
    with torch.inference_mode():
        torch.testing.assert_close(made(images()[0]).float(), network(images()[0])[0], atol=2e-3, rtol=2e-3)


def test_ranges_travel_with_the_plan():
    plan = replace(model_of(random_network()).plan, activation_ranges={"stem": (-1.5, 2.0)})
    assert type(plan).from_json(plan.to_json()) == plan
