"""Threads: how many cores this process may use, and work spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_limit: int | None = None


def cores() -> int:
    """Cores that this process may compute on: what the scheduler lets it have, which on a cluster is not the node's."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _limit or allowed)


def on_all_cores(work: Callable[[int], None], count: int) -> None:
    """work(0) to work(count - 1), in any order: numpy lets other threads run while it computes."""
    workers = min(8, cores(), count)
    if workers < 2:
        for n in range(count):
            work(n)
        return
    left = iter(range(count))

    def worker(_: int) -> None:
        for n in left:
            work(n)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(worker, range(workers)):
            pass


def use_cores(count: int | None) -> None:
    """Holds what asks `cores` to so many; None to as many as there are. PyTorch has its own number."""
    global _limit
    _limit = count
