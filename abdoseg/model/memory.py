"""What large tensors cost beyond their arithmetic: memory that the kernel hands out page by page, each one cleared."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # Source: glibc's malloc.h, mallopt(3)
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets this process keep what its tensors free, for the next ones, instead of returning it to the kernel.

    glibc maps every large block anew, and touching it for the first time costs more than many a layer's arithmetic.
    False where there is no glibc: nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MOST))
