"""Random numbers of one training sample: single ones drawn on the host, whole fields on the sample's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

CPU = torch.device("cpu")


class Draws:
    """What is drawn from a seed, in the order of asking.

    Single numbers say how large, where and whether; the host must know them, and would wait for each that a GPU drew.
    Fields are large, and stay where they are drawn. A CPU has one generator for both, any other device its own.
    """

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self.device = device
        self._host = Generator().manual_seed(seed)
        self._there = self._host if device.type == "cpu" else Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """From [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self._host))

    def chance(self, share: float) -> bool:
        """True in that share of draws."""
        return self.uniform(0.0, 1.0) < share

    def below(self, count: int) -> int:
        """One of 0 .. count - 1."""
        return int(torch.randint(count, (), generator=self._host))

    def weighted(self, weights: Tensor) -> int:
        """An index of `weights`, as often as its weight says."""
        return int(torch.multinomial(weights, 1, generator=self._host))

    def order(self, count: int) -> list[int]:
        """0 .. count - 1, shuffled."""
        order: list[int] = torch.randperm(count, generator=self._host).tolist()
        return order

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        return mean + sd * float(torch.randn((), generator=self._host))

    def normals(self, count: int) -> Tensor:
        """(count,) float32 on the host, mean 0, deviation 1."""
        return torch.randn(count, generator=self._host)

    def field(self, shape: Sequence[int]) -> Tensor:
        """White noise of that shape on the device, mean 0, deviation 1."""
        return torch.randn(tuple(shape), generator=self._there, device=self.device)


def sent(host: Tensor, device: torch.device) -> Tensor:
    """What lies in the host's ordinary memory, on the device. Nobody waits: it is read before this returns."""
    return host.to(device, non_blocking=True)
