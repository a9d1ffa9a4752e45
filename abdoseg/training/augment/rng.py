"""Random numbers of one training sample, from one seed: scalars on the host, noise on the sample's device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

CPU = torch.device("cpu")


class Rng:
    """A random number generator whose results depend on the seed and on the order of the calls.

    Scalars decide sizes and branches on the host, which would wait for each one that a GPU drew. Noise is large and
    is made where it is used. A CPU has one generator for both; any other device has its own for noise.
    """

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self.device = device
        self._host = Generator().manual_seed(seed)
        self._there = self._host if device.type == "cpu" else Generator(device).manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """A number from [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self._host))

    def log_uniform(self, low: float, high: float) -> float:
        """A number from [low, high) whose logarithm is uniform: small ones are as frequent as large ones."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def bernoulli(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform(0.0, 1.0) < probability

    def integers(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return int(torch.randint(count, (), generator=self._host))

    def categorical(self, weights: Tensor) -> int:
        """An index of `weights` (N,), with a probability proportional to its weight."""
        return int(torch.multinomial(weights, 1, generator=self._host))

    def permutation(self, count: int) -> list[int]:
        """The numbers from 0 to count - 1, shuffled."""
        order: list[int] = torch.randperm(count, generator=self._host).tolist()
        return order

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        """A number of the normal distribution."""
        return mean + sd * float(torch.randn((), generator=self._host))

    def normals(self, count: int) -> Tensor:
        """(count,) float32 on the host, mean 0, standard deviation 1."""
        return torch.randn(count, generator=self._host)

    def noise(self, shape: Sequence[int]) -> Tensor:
        """White Gaussian noise of this shape on the device: float32, mean 0, standard deviation 1."""
        return torch.randn(tuple(shape), generator=self._there, device=self.device)


def host_to_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's pageable memory on the device, without waiting for the device."""
    return host.to(device, non_blocking=True)
