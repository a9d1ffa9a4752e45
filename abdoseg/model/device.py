"""Devices: which one runs a network, how the network is laid out on it, and the float type that it is fastest in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from abdoseg.errors import ResourceError


def pick_device(device: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        ResourceError: the device is unknown or not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        picked = torch.device("meta")
    if picked.type not in ("cpu", "cuda", "mps") or (picked.type != "cuda" and picked.index):
        raise ResourceError(f"{device}: no such device; use auto, cpu, cuda, cuda:N or mps")
    if (picked.type == "cuda" and not (cuda and (picked.index or 0) < torch.cuda.device_count())) or (
        picked.type == "mps" and not mps
    ):
        raise ResourceError(f"{device}: PyTorch sees no such device here; use --device cpu")
    return picked


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, its kernels channels last, which convolutions are faster with."""
    moved: nn.Module = network.to(device).to(memory_format=network.layout)  # type: ignore[call-overload]
    return moved


def fastest_float(device: torch.device) -> torch.dtype:
    """The float type that a device computes a network in fastest: bfloat16 where its hardware has it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        able = (getattr(torch.cpu, name, bool)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
        return torch.bfloat16 if any(able) else torch.float32
    return torch.float32


@contextmanager
def typed_memory_errors() -> Iterator[None]:
    """Raises MemoryError where the block runs out of memory, on a GPU or a CPU.

    PyTorch's CPU allocator raises a bare RuntimeError, which only the allocator's name in the message tells apart.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise MemoryError(str(error)) from error
