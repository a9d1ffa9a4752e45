"""Memory: the peak that this process has held, what is free, and giving back what was freed."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory() -> int:
    """The most bytes that this process has held so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say. Source: proc(5), MemAvailable."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def release_freed_memory() -> bool:
    """Gives the system back what this process has freed and its allocator keeps; False where there is no glibc.

    Takes some 30 to 90 ms, and what is allocated next has to be mapped again. Source: malloc_trim(3).
    """
    import ctypes

    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):
        return False
