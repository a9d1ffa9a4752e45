"""Process tuning: malloc, waiting threads, the switch interval. The command line alone calls it, never the library."""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # Source: glibc's malloc.h, mallopt(3)
_MOST = 2**31 - 1


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
