"""Prefetch: batches are drawn by threads, or by worker processes, while the network trains on the ones before them."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import signal
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from abdoseg.errors import ResourceError
from abdoseg.training.augment.rng import CPU
from abdoseg.training.augment.sampler import Batch, Sampler
from abdoseg.training.recipes import TrainingConfig

# Threads that draw on a GPU: while one waits for a number the other launches kernels; a third would wait for the
# interpreter, which the training step needs too. A CPU computes the step as well, and gets one.
THREADS = 2
BATCHES_WAITING = 2  # of each process
PROCESS_BYTES = 700 * 2**20  # of GPU memory that a process takes: its CUDA context and a patch
GPU_FRACTION = 0.25  # of the free GPU memory that all processes may take
SHARED_MEMORY = Path("/dev/shm")
BYTES_A_VOXEL = 3  # float16 and uint8


def auto_workers(device: torch.device, config: TrainingConfig, cores: int) -> int:
    """The number of worker processes that draw for a training step on `device`; 0 leaves it to threads.

    A CPU has no time left beside the step, so it gets none. A GPU takes batches faster than one process draws them:
    measured on an H200 with 16 cores, patches of 112 x 112 x 80, two threads draw 60 a second and 14 processes, each on
    the GPU, 385; a step of 16 takes 40 ms.

    Args:
        cores: of the CPU, that this training may use.
    """
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    i, j, k = config.patch
    waiting_bytes = (BATCHES_WAITING + 1) * config.batch * i * j * k * BYTES_A_VOXEL
    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else waiting_bytes * cores * 2
    workers = min(cores - 2, int(GPU_FRACTION * free / PROCESS_BYTES), shared // 2 // waiting_bytes)
    return workers if workers > 1 else 0


def prefetch(sampler: Sampler, step: int, workers: int = 0) -> AbstractContextManager[Iterator[Batch]]:
    """Batches from `step` on, in their order, drawn while the network trains.

    Args:
        sampler: draws on its device.
        step: of the first batch.
        workers: processes that draw; with 0 threads of this process do.
    """
    return _by_processes(sampler, step, workers) if workers else _by_threads(sampler, step)


@contextmanager
def _by_threads(sampler: Sampler, step: int) -> Iterator[Iterator[Batch]]:
    """On a GPU each thread has a stream of its own, or it would wait for the training step whenever it waits at all."""
    device = sampler.device
    cuda = device.type == "cuda"
    threads = THREADS if cuda else 1

    def begin() -> None:
        if cuda:
            torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

    def draw(step: int) -> Batch:
        batch = sampler.batch(step)
        if cuda:
            torch.cuda.current_stream(device).synchronize()
        return batch

    with ThreadPoolExecutor(threads, initializer=begin) as pool:
        waiting: deque[Future[Batch]] = deque(pool.submit(draw, step + n) for n in range(threads))

        def batches() -> Iterator[Batch]:
            following = step + threads
            while True:
                batch = waiting.popleft().result()
                waiting.append(pool.submit(draw, following))
                following += 1
                if cuda:
                    batch.used_by(torch.cuda.current_stream(device))
                yield batch

        try:
            yield batches()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Failure:
    """What a process failed of, and where."""

    error: Exception
    trace: str


Sent = tuple[Tensor, Tensor, Tensor] | _Failure


class _Batches(Dataset[Sent]):
    """Batches by step, as they are sent between processes: image, target uint8 and annotated, on the CPU.

    An image from a GPU is float16, half as large and still finer than what the network computes in there. What a
    sampler needs on its device is put there by the process that draws.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.device = sampler.on(CPU), sampler.device

    def __getitem__(self, step: int) -> Sent:
        try:
            if self.sampler.device != self.device:
                self.sampler = self.sampler.on(self.device)
            batch = self.sampler.batch(step)
            image = batch.image if self.device.type == "cpu" else batch.image.half().cpu()
            return image, batch.target.to(torch.uint8).cpu(), batch.annotated.cpu()
        except Exception as error:
            return _Failure(error, traceback.format_exc())


def _begin_process(number: int) -> None:
    """Ctrl-C in a terminal goes to all its processes; the one that trains decides when the others end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _by_processes(sampler: Sampler, step: int, workers: int) -> Iterator[Iterator[Batch]]:
    """A server imports PyTorch once, and each process is a fork of it."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    loader = DataLoader(
        _Batches(sampler),
        batch_size=None,
        sampler=itertools.count(step),
        num_workers=workers,
        pin_memory=sampler.device.type == "cuda",
        worker_init_fn=_begin_process,
        multiprocessing_context=context,
        prefetch_factor=BATCHES_WAITING,
    )
    batches = _received(iter(loader), sampler.device)
    try:
        yield batches
    finally:
        batches.close()  # and with it the processes


def _received(sent: Iterator[Sent], device: torch.device) -> Generator[Batch]:
    """The batches on the device. Raises what a process raised, and ResourceError when one has ended."""
    while True:
        try:
            one = next(sent)
        except (RuntimeError, EOFError, OSError) as error:  # its own failures are sent as values
            raise ResourceError(
                f"a process that draws patches has ended ({error or 'unexpectedly'}); memory may be short, or "
                f"{SHARED_MEMORY} small: give fewer --workers, or 0 for none"
            ) from error
        if isinstance(one, _Failure):
            one.error.add_note(one.trace)
            raise one.error
        image, target, annotated = (tensor.to(device, non_blocking=True) for tensor in one)
        yield Batch(image.float(), target.long(), annotated)
