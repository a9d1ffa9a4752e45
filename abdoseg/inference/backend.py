"""Inference backends: which precision a model runs in, and the network fused or quantized for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from abdoseg.inference.onednn import FusedVNet, fusable
from abdoseg.inference.quantized import ActivationRanges, QuantizedVNet, quantizable
from abdoseg.model.device import fastest_float
from abdoseg.model.vnet import VNet
from abdoseg.model.weights import Model


def precision(model: Model) -> torch.dtype:
    """What the model computes in on its device; torch.int8 means quantized."""
    dtype = fastest_float(model.device)
    able = model.device.type == "cpu" and getattr(torch.cpu, "_is_avx2_supported", bool)()
    calibrated = model.plan.activation_ranges and quantizable(model.network)
    return torch.int8 if dtype == torch.float32 and able and calibrated else dtype


def fuse(
    network: nn.Module,
    dtype: torch.dtype,
    size: Sequence[int],
    order: Sequence[int] | None = None,
    ranges: ActivationRanges | None = None,
) -> FusedVNet | QuantizedVNet | None:
    """The network fused or quantized for this CPU.

    Args:
        network: in evaluation mode.
        dtype: what it shall compute in; float32 where it cannot be quantized.
        size: (I, J, K) of the tiles to come, for which weights are laid out; others are only slower.
        order: channels in the order of the output; the network's own when None.
        ranges: the plan's activation ranges, needed for torch.int8.

    Returns:
        None where the network or PyTorch cannot be fused: then the network runs as it is.
    """
    if not fusable(network):
        return None
    assert isinstance(network, VNet)
    try:
        fused = (
            QuantizedVNet(network, ranges or {}, size, order)
            if dtype == torch.int8
            else FusedVNet(network, dtype, size, order)
        )
        fused(torch.zeros(1, 1, *[2 * network.config.stride] * 3))
    except (AttributeError, RuntimeError, KeyError):  # an operator or a range is missing, or the processor unknown
        return fuse(network, torch.float32, size, order) if dtype == torch.int8 else None
    return fused
