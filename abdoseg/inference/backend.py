"""The fastest way to run a network on the processor at hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from abdoseg.inference.onednn import FusedVNet, fusable
from abdoseg.inference.quantized import ByteVNet, Ranges, fits
from abdoseg.model.device import fastest_float
from abdoseg.model.vnet import VNet
from abdoseg.model.weights import Model


def precision(model: Model) -> torch.dtype:
    """What the model computes in when it is asked. torch.int8 means that its convolutions multiply bytes."""
    dtype = fastest_float(model.device)
    able = model.device.type == "cpu" and getattr(torch.cpu, "_is_avx2_supported", bool)()
    quantizable = able and model.plan.activation_ranges and fits(model.network)
    return torch.int8 if dtype == torch.float32 and quantizable else dtype


def fuse(
    network: nn.Module,
    dtype: torch.dtype,
    size: Sequence[int],
    order: Sequence[int] | None = None,
    ranges: Ranges | None = None,
) -> FusedVNet | ByteVNet | None:
    """The network for this processor, or None where it or PyTorch cannot: then the network runs as it is.

    size: (I, J, K) of the images to come, for which weights are laid out; others are only slower. order: of the output
    channels, the network's own if not given. ranges: the plan's, needed for torch.int8.
    """
    if not fusable(network):
        return None
    assert isinstance(network, VNet)
    try:
        made = (
            ByteVNet(network, ranges or {}, size, order)
            if dtype == torch.int8
            else FusedVNet(network, dtype, size, order)
        )
        made(torch.zeros(1, 1, *[2 * network.config.stride] * 3))
    except (AttributeError, RuntimeError, KeyError):  # an operator or a range is missing, or the processor unknown
        return fuse(network, torch.float32, size, order) if dtype == torch.int8 else None
    return made
