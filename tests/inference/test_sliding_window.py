"""Margins from networks: fused and eager agree, tiles and the whole agree, organs never overlap, air is skipped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_networks import model_of, random_network
from torch import nn

from abdoseg.inference.backend import fuse, precision
from abdoseg.inference.onednn import FusedVNet
from abdoseg.inference.quantized import calibrate
from abdoseg.inference.sliding_window import body_box, margins_of, sliding_window


class Threshold(nn.Module):
    """Logits of a voxel from that voxel alone: channel c wins where the scaled HU is c / 10."""

    def forward(self, image):
        centres = torch.arange(6).view(1, 6, 1, 1, 1) / 10
        return -((image - centres) ** 2) * 100


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stem": 1},
        {"stem": 1, "join": "wide", "widths": (8, 16, 24), "depths": (1, 2, 1)},
        {"join": "add", "norm": "none"},
        {"residual": False, "kernel": 5},
    ],
)
def test_the_fused_network_gives_the_networks_logits(changes):
    network = random_network(**changes)
    image = torch.randn(1, 1, 16, 24, 32)
    order = [3, 0, 5, 1, 2, 4]
    fused = FusedVNet(network, torch.float32, image.shape[2:], order)
    with torch.inference_mode():
        truth, logits = network(image)[0][order], fused(image)
    torch.testing.assert_close(logits.float(), truth, atol=2e-3, rtol=2e-3)  # logits are float16


@pytest.mark.parametrize(("instructions", "fast", "expected"), [
    ({"avx2"}, torch.float32, torch.int8), (set(), torch.float32, torch.float32),
    ({"avx2"}, torch.bfloat16, torch.int8), ({"avx2", "amx_tile"}, torch.bfloat16, torch.bfloat16),
])  # fmt: skip
def test_int8_is_for_processors_with_avx2_and_without_amx(monkeypatch, instructions, fast, expected):
    for name in ("avx2", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in instructions, raising=False)
    monkeypatch.setattr("abdoseg.inference.backend.fastest_float", lambda device: fast)
    model = model_of(random_network())
    ranges = calibrate(model.network, [torch.randn(1, 1, 16, 16, 16)])
    measured = replace(model, plan=replace(model.plan, activation_ranges=ranges))
    assert precision(measured) == expected and precision(model) == fast
    assert precision(replace(measured, plan=replace(model.plan, activation_ranges={"stem": (-1, 1)}))) == fast
    assert precision(replace(measured, network=random_network(norm="instance"))) == fast


def test_weights_laid_out_for_one_size_serve_another():
    network, image = random_network(), torch.randn(1, 1, 8, 16, 24)
    fused = FusedVNet(network, torch.float32, (32, 32, 16))
    with torch.inference_mode():
        torch.testing.assert_close(fused(image).float(), network(image)[0], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("changes", [{"activation": "prelu"}, {"norm": "instance"}, {"down": "maxpool"}])
def test_what_cannot_be_fused_runs_as_it_is(changes):
    network = random_network(**changes)
    assert fuse(network, torch.float32, (16, 16, 16)) is None
    margins = sliding_window(
        model_of(network), np.random.default_rng(0).normal(0, 100, (16, 16, 16)).astype(np.float32)
    )
    assert margins.shape == (4, 16, 16, 16)


def test_logits_are_finished_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr("abdoseg.inference.onednn.HEAD_ROWS", 100)
    network, image, sizes = random_network(), torch.randn(1, 1, 16, 24, 32), []
    fused = FusedVNet(network, torch.float32, image.shape[2:])
    whole = fused(image)
    monkeypatch.setattr("abdoseg.inference.onednn.HEAD_ROWS", 10**6)
    parts = fused(image, lambda logits: sizes.append(logits.shape) or logits[:2])
    assert sizes == [(6, 16 * 24 * 32)]
    torch.testing.assert_close(parts, whole[:2], atol=1e-3, rtol=1e-3)


def test_a_margin_is_over_the_best_other_channel():
    logits = torch.tensor([[3.0, 2.0, 4.0], [2.0, 4.0, 4.0], [1.0, 5.0, 0.0], [0.0, 9.0, 1.0]])
    assert margins_of(logits, 2).tolist() == [[1.0, -7.0, 0.0], [-1.0, -5.0, 0.0]]


def test_at_most_one_organ_has_a_positive_margin():
    logits = torch.randn(6, 1000)
    margins = margins_of(logits, 4)
    assert int((margins > 0).sum(0).max()) == 1
    pairs = margins[:, None] + margins[None]
    assert float(pairs[~torch.eye(4, dtype=bool)].max()) <= 1e-6


def test_tiles_blend_into_what_one_tile_gives():
    model = model_of(Threshold())
    image = np.random.default_rng(1).uniform(-125, 275, (40, 50, 30)).astype(np.float32)
    whole = sliding_window(model, image, max_tile_voxels=10**7)
    tiles = sliding_window(model, image, max_tile_voxels=1)
    np.testing.assert_allclose(tiles, whole, atol=0.3, rtol=0.02)
    clear = np.abs(whole) > 0.5
    np.testing.assert_array_equal((tiles > 0)[clear], (whole > 0)[clear])


def test_air_around_the_body_is_not_computed():
    image = np.full((64, 64, 32), -1000.0, np.float32)
    image[30:40, 30:42, 10:20] = 100.0
    assert body_box(image, -125.0) == (slice(22, 48), slice(22, 50), slice(2, 28))
    values = sliding_window(model_of(Threshold()), image)
    assert (values[:, 0] == -1).all()
    assert values.max() > 0


def test_an_image_of_air_has_no_organ():
    values = sliding_window(model_of(random_network()), np.full((20, 20, 20), -1000.0, np.float32))
    assert not (values > 0).any()


def test_a_slab_of_two_slices_has_margins_of_its_own_shape():
    image = np.random.default_rng(2).uniform(-125, 275, (20, 20, 2)).astype(np.float32)
    assert sliding_window(model_of(random_network()), image).shape == (4, 20, 20, 2)


def test_any_of_the_networks_organs_can_be_named():
    image = np.full((16, 16, 16), 75.0, np.float32)
    pancreas, liver = sliding_window(model_of(Threshold()), image, organs=("pancreas", "liver"))
    np.testing.assert_array_equal(liver, sliding_window(model_of(Threshold()), image, organs=("liver",))[0])
    assert not np.array_equal(pancreas, liver)
