"""Batch size by a GPU's memory, and the learning rate that goes with it."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import torch

from abdoseg.model.device import fastest_float, to_device
from abdoseg.model.weights import build_network
from abdoseg.training.distributed import ALONE, World
from abdoseg.training.losses import mixed_loss
from abdoseg.training.recipes import TrainingConfig

LOG = logging.getLogger("abdoseg")
LARGEST_BATCH = 16  # on an H200 a step of 2 patches of 112 x 112 x 80 takes 19 ms, one of 16 takes 40
MEMORY_FRACTION = 0.6  # of a GPU's free memory that a step may take; processes that draw patches take from the rest


def auto_batch(
    config: TrainingConfig, device: torch.device, world: World = ALONE, *, scale_rate: bool = True
) -> TrainingConfig:
    """The recipe with the largest batch that the device has memory for, up to LARGEST_BATCH or the recipe's own.

    A batch is a power of two, or the recipe's own. Elsewhere than on a GPU the recipe's own number stays.

    Args:
        world: processes that train together take the smallest of their batches.
        scale_rate: whether the learning rate goes with the batch.
    """
    if device.type != "cuda":
        return config
    free, _ = torch.cuda.mem_get_info(device)
    one, two = (_peak_bytes(config, device, batch) for batch in (1, 2))
    most = 1 + int((MEMORY_FRACTION * free - one) / max(1, two - one))
    wanted = max(config.batch, LARGEST_BATCH)
    batch = wanted if most >= wanted else 2 ** max(0, int(math.log2(max(1, most))))
    (smallest,) = world.agree(-batch)
    scaled = for_batch(config, -int(smallest))
    scaled = scaled if scale_rate else replace(scaled, learning_rate=config.learning_rate)
    LOG.info(
        "batch %d (the recipe's is %d): a patch takes %.2f of %.1f GB; learning rate %.3g (%.3g)",
        scaled.batch, config.batch, (two - one) / 1e9, free / 1e9, scaled.learning_rate, config.learning_rate,
    )  # fmt: skip
    return scaled


def for_batch(config: TrainingConfig, batch: int) -> TrainingConfig:
    """The recipe with another batch, and the learning rate in proportion to its square root.

    Source: Malladi 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", arXiv:2205.10287.
    """
    return replace(config, batch=batch, learning_rate=config.learning_rate * math.sqrt(batch / config.batch))


def _peak_bytes(config: TrainingConfig, device: torch.device, batch: int) -> int:
    """GPU memory of a training step: of the network, its gradients, its optimiser's moments and EMA, and the batch."""
    network = to_device(build_network(config.plan().network), device).train()
    image = torch.zeros((batch, 1, *config.patch), device=device).contiguous(memory_format=torch.channels_last_3d)
    target = torch.zeros((batch, *config.patch), dtype=torch.int64, device=device)
    annotated = torch.ones((batch, len(config.organs) + 1), dtype=torch.bool, device=device)
    annotated[:, 0] = False
    torch.cuda.reset_peak_memory_stats(device)
    dtype = fastest_float(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = network(image)
    mixed_loss(logits, target, annotated, config.loss_weights).backward()  # type: ignore[no-untyped-call]
    kept = 3 * sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return int(torch.cuda.max_memory_allocated(device)) + kept
