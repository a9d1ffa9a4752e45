"""Distributed data-parallel training under torchrun; one process alone is the same code with size 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from abdoseg.errors import ResourceError, TrainingError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # longer than a validation, which rank 0 does alone
PACKING_TIMEOUT = timedelta(days=7)  # longer than packing any dataset takes, which rank 0 does alone, too


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: this process's number of `size`.
        local_rank: its number of `local_size` on this machine, which chooses its GPU.
        waiting: the group in which processes wait for one another, however long it takes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    waiting: distributed.ProcessGroup | None = None

    def own_device(self, device: torch.device) -> torch.device:
        """This process's device: of several GPUs on a machine, each process has its own."""
        several = self.size > 1 and device == torch.device("cuda")
        return torch.device("cuda", self.local_rank) if several else device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces the gradients of all parameters by their means over the processes. Raises TrainingError.

        One message a step. DistributedDataParallel would overlap it with the backward pass, but raises a bare
        RuntimeError out of that pass when a process is lost.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(self.size)
        with self._lost_process_errors():
            distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agree(self, *values: float) -> tuple[float, ...]:
        """The largest of each value among the processes, so that all decide alike."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            tensor = tensor.cuda()
        with self._lost_process_errors():
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            with self._lost_process_errors():
                distributed.barrier(self.waiting)

    @contextmanager
    def _lost_process_errors(self) -> Iterator[None]:
        """Around what fails only when another process has ended."""
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank} of {self.size} lost another, whose own message says why; "
                "the last checkpoint is intact: run again with --resume"
            ) from error


ALONE = World()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun started, or this one alone.

    Raises:
        ResourceError: there are more processes than GPUs on this machine.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield ALONE
        return
    cuda = torch.cuda.is_available() and device in ("auto", "cuda")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if cuda and here > torch.cuda.device_count():
        raise ResourceError(
            f"torchrun started {here} processes here, and PyTorch sees {torch.cuda.device_count()} GPUs; give "
            f"--nproc-per-node {torch.cuda.device_count()}, or abdoseg train --device cpu"
        )
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)
    waiting = distributed.new_group(backend="gloo", timeout=PACKING_TIMEOUT)
    world = World(
        rank=distributed.get_rank(),
        size=distributed.get_world_size(),
        local_rank=distributed.get_node_local_rank(),
        local_size=here,
        waiting=waiting,
    )
    if cuda:
        torch.cuda.set_device(world.local_rank)
    try:
        yield world
    finally:
        distributed.destroy_process_group()
