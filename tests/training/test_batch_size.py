"""Batch size by memory, on a pretended GPU: what fits, the rate that goes with it, and what is said of it."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import RECIPE

from abdoseg.training import batch_size
from abdoseg.training.batch_size import auto_batch, for_batch

CUDA = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of so much free memory, on which a step takes 1 GB and another 2 for each patch."""

    def of(free_gb: float) -> torch.device:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gb * 1e9), 0))
        monkeypatch.setattr(batch_size, "_peak_bytes", lambda config, device, batch: int((1 + 2 * batch) * 1e9))
        return CUDA

    return of


@pytest.mark.parametrize(("free_gb", "batch"), [(140.0, 16), (24.0, 4), (10.0, 2), (6.0, 1), (2.0, 1)])
def test_the_batch_is_what_six_tenths_of_the_free_memory_hold(gpu, free_gb, batch):
    assert auto_batch(RECIPE, gpu(free_gb)).batch == batch


def test_the_rate_goes_with_the_square_root_and_both_are_reported(gpu, caplog):
    config = replace(RECIPE, batch=4, learning_rate=1e-3)
    with caplog.at_level(logging.INFO, "abdoseg"):
        assert auto_batch(config, gpu(140.0)).learning_rate == pytest.approx(2e-3)
    assert "batch 16 (the recipe's is 4)" in caplog.text and "learning rate 0.002 (0.001" in caplog.text
    assert auto_batch(config, gpu(140.0), scale_rate=False) == replace(config, batch=16)
    assert for_batch(config, 1).learning_rate == pytest.approx(5e-4)


def test_a_recipes_own_batch_stays_where_it_fits_and_on_a_cpu(gpu):
    config = replace(RECIPE, batch=24)
    assert auto_batch(config, gpu(140.0)) == config
    assert auto_batch(RECIPE, torch.device("cpu")) == RECIPE


def test_processes_take_the_smallest_of_their_batches(gpu):
    world = SimpleNamespace(agree=lambda least: (max(least, -4),))
    assert auto_batch(RECIPE, gpu(140.0), world).batch == 4


def test_a_step_is_measured_with_its_gradients_moments_and_average(monkeypatch):
    """On a CPU that counts as the GPU."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000)
    network = batch_size.build_network(RECIPE.plan().network)
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert batch_size._peak_bytes(RECIPE, torch.device("cpu"), 2) == 1000 + 3 * 4 * weights
