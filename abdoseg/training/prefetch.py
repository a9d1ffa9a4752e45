"""Prefetch: batches are drawn by threads while the network trains on the ones before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from abdoseg.training.augment.sampler import Batch, Sampler

# Threads that draw on a GPU: while one waits for a number the other launches kernels; a third would wait for the
# interpreter, which the training step needs too. A CPU computes the step as well, and gets one.
WORKERS = 2


@contextmanager
def prefetch(sampler: Sampler, step: int) -> Iterator[Iterator[Batch]]:
    """Batches from `step` on, in their order, drawn while the network trains.

    On a GPU each worker has a stream of its own, or it would wait for the training step whenever it waits at all.
    """
    device = sampler.device
    cuda = device.type == "cuda"
    workers = WORKERS if cuda else 1

    def begin() -> None:
        if cuda:
            torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

    def draw(step: int) -> Batch:
        batch = sampler.batch(step)
        if cuda:
            torch.cuda.current_stream(device).synchronize()
        return batch

    with ThreadPoolExecutor(workers, initializer=begin) as pool:
        waiting: deque[Future[Batch]] = deque(pool.submit(draw, step + n) for n in range(workers))

        def batches() -> Iterator[Batch]:
            following = step + workers
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
