"""What this computer gives a process: cores that it may use, memory that it has taken and may keep."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # Source: glibc's malloc.h, mallopt(3)
_MOST = 2**31 - 1
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

    def share(_: int) -> None:
        for n in left:
            work(n)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(share, range(workers)):
            pass


def use_cores(count: int | None) -> None:
    """Holds what asks `cores` to so many; None to as many as there are. PyTorch has its own number."""
    global _limit
    _limit = count


def peak_memory() -> int:
    """The most bytes that this process has held so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_freed_memory() -> bool:
    """Lets this process keep what its tensors free, for the next ones, instead of returning it to the kernel.

    glibc maps every large block anew, and gives each thread a heap of its own; touching memory for the first time costs
    more than many a layer's arithmetic.
    False where there is no glibc: nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, 1) and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MOST))


def share_cores() -> None:
    """Lets PyTorch's threads sleep soon when they wait for one another; to be called before it is imported.

    libgomp's own wait of some ms keeps a core from whoever has work for it: with one more program on two cores a scan
    took twice as long. Source: GOMP_SPINCOUNT, libgomp's manual. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def share_python() -> None:
    """Lets threads that need Python's lock for a moment, as gunzip does for every block, have it within half a ms.

    Python's own 5 ms make a scan's reading twice as long beside an import.
    """
    sys.setswitchinterval(0.0005)
