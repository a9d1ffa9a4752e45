"""The quantized network: close to the network itself, float32 where it cannot be, its activation ranges as measured."""

from dataclasses import replace

import pytest
import torch
from random_networks import model_of, random_network
from torch import nn

from abdoseg.inference.backend import fuse
from abdoseg.inference.onednn import FusedVNet
from abdoseg.inference.quantized import Quantization, QuantizedConvolution, QuantizedVNet, calibrate, quantizable

SHAPE = (1, 1, 16, 24, 32)
LARGER = {"widths": (8, 16, 24), "depths": (2, 1, 2)}
needs_int8 = pytest.mark.skipif(
    not hasattr(torch.ops.onednn, "qconv3d_pointwise"), reason="this PyTorch has no such operator"
)


def images(count=3):
    torch.manual_seed(1)
    return [torch.rand(SHAPE) * 2 - 1 for _ in range(count)]


@needs_int8
@pytest.mark.parametrize("changes", [{}, LARGER, {"norm": "none"}, {"kernel": 5}])
def test_it_comes_close_to_the_network(changes):
    network, order = random_network(**changes), [3, 0, 5, 1, 2, 4]
    ranges = calibrate(network, images())
    made = fuse(network, torch.int8, SHAPE[2:], order, ranges)
    assert isinstance(made, QuantizedVNet)
    with torch.inference_mode():
        truth, logits = network(images()[0])[0][order], made(images()[0]).float()
    assert (logits - truth).abs().mean() < 0.03 * truth.abs().mean()
    assert abs(float((logits - truth).mean())) < 0.005 * float(truth.abs().mean())  # nothing leans to one side


@needs_int8
def test_values_beyond_the_activation_ranges_are_clipped_and_no_more():
    network = random_network()
    ranges = calibrate(network, images())
    narrow = {name: (0.5 * low, 0.5 * high) for name, (low, high) in ranges.items()}
    with torch.inference_mode():
        truth = network(images()[0])[0]
        wide, cut = (QuantizedVNet(network, r, SHAPE[2:])(images()[0]).float() for r in (ranges, narrow))
    assert (cut - truth).abs().mean() > 2 * (wide - truth).abs().mean()
    assert cut.abs().max() < 2 * truth.abs().max()


@needs_int8
def test_a_convolution_of_nothing_is_its_bias_or_no_less_than_0():
    layer, quantization = nn.Conv3d(16, 16, 3, padding=1), Quantization(0.1, 40)
    nothing = torch.full((1, 16, 4, 4, 4), 40, dtype=torch.uint8).contiguous(memory_format=torch.channels_last_3d)
    bias = layer.bias.detach().view(1, -1, 1, 1, 1).expand(1, 16, 4, 4, 4)
    torch.testing.assert_close(QuantizedConvolution(layer, None, (4, 4, 4), quantization)(nothing), bias)
    scaled = QuantizedConvolution(layer, None, (4, 4, 4), quantization, 0.5, 7.0)(nothing)
    torch.testing.assert_close(scaled, bias / 0.5 + 7.0)
    quantized = QuantizedConvolution(layer, None, (4, 4, 4), quantization, target=Quantization(0.001))(nothing)
    torch.testing.assert_close(quantized.float(), (bias / 0.001).round().clamp(0, 255), atol=1, rtol=0)


def test_a_quantization_holds_its_ranges_and_0():
    assert Quantization.covering((1.0, 5.1)) == Quantization(5.1 / 255, 0)
    both = Quantization.covering((-1.0, 0.5), (-0.2, 1.55))
    assert both.scale == pytest.approx(0.01) and both.zero_point == 100 and both.float_zero == 100.5


def test_calibration_finds_the_ranges_of_the_feature_maps():
    network = random_network()
    ranges = calibrate(network, images(1))
    with torch.inference_mode():
        stem = network.stem(images()[0])
        first = network.encoder[0](stem)
    assert ranges["stem"] == pytest.approx((float(stem.min()), float(stem.max())), abs=1e-4)
    assert ranges["encoder.0"] == pytest.approx((0.0, float(first.max())), abs=1e-4)
    assert set(ranges) == {"stem", "encoder.0", "downs.0", "encoder.1.activations.0", "ups.0"}
    more = calibrate(network, images(3))
    assert all(more[name][0] <= low and more[name][1] >= high for name, (low, high) in ranges.items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("changes", [
    {"stem": 1}, {"join": "add"}, {"residual": False}, {"plain_ends": True}, {"norm": "instance"},
])  # fmt: skip
def test_other_networks_are_not_quantized(changes):
    network = random_network(**changes)
    assert not quantizable(network) and calibrate(network, images(1)) == {}


def test_where_int8_cannot_be_computed_it_is_float32(monkeypatch):
    network = random_network(**LARGER)
    ranges = calibrate(network, images(1))
    incomplete = {name: ends for name, ends in ranges.items() if name != "ups.0"}
    assert isinstance(fuse(network, torch.int8, SHAPE[2:], ranges=incomplete), FusedVNet)
    monkeypatch.setattr(QuantizedConvolution, "__call__", lambda *_: torch.ops.onednn.no_such_operator())
    made = fuse(network, torch.int8, SHAPE[2:], ranges=ranges)
    with torch.inference_mode():
        torch.testing.assert_close(made(images()[0]).float(), network(images()[0])[0], atol=2e-3, rtol=2e-3)


def test_activation_ranges_travel_with_the_plan():
    plan = replace(model_of(random_network()).plan, activation_ranges={"stem": (-1.5, 2.0)})
    assert type(plan).from_json(plan.to_json()) == plan
