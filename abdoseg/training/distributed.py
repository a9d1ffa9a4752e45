"""Several processes that train one network, started by torchrun; one process alone is the same code with size 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

from abdoseg.errors import AbdosegError, ResourceError, TrainingError

PATIENCE = timedelta(minutes=30)  # longer than a validation, which rank 0 does alone
PACKING = timedelta(days=7)  # longer than it takes to pack any dataset, which rank 0 does alone, too


@dataclass(frozen=True)
class World:
    """rank of `size` processes; `local` is the rank on this machine, which chooses its GPU.

    waiting: the group in which they wait for one another, however long it takes.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    waiting: distributed.ProcessGroup | None = None

    def own(self, device: torch.device) -> torch.device:
        """This process's device: of several GPUs on a machine, each process has its own."""
        several = self.size > 1 and device == torch.device("cuda")
        return torch.device("cuda", self.local) if several else device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes as they come."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def agree(self, *values: float) -> tuple[float, ...]:
        """The largest of each value among the processes, so that all decide alike."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            tensor = tensor.cuda()
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier(self.waiting)


ALONE = World()


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun started, or this one alone. A process that is lost becomes a TrainingError.

    Raises ResourceError when they are more than this machine's GPUs.
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
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    waiting = distributed.new_group(backend="gloo", timeout=PACKING)
    world = World(distributed.get_rank(), distributed.get_world_size(), distributed.get_node_local_rank(), waiting)
    if cuda:
        torch.cuda.set_device(world.local)
    try:
        yield world
    except AbdosegError:
        raise
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "peer" in str(error) or "gloo" in str(error).lower():
            raise TrainingError(
                f"process {world.rank} of {world.size} lost another, whose own message says why; "
                "the last checkpoint is intact: run again with --resume"
            ) from error
        raise
    finally:
        distributed.destroy_process_group()
