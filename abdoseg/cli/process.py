"""Process tuning: malloc, OpenMP's spinning, Python's switch interval, gzip buffers, PyTorch's import, the exit.

The command line alone calls it; the library leaves the process that imports it as it is.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # Source: glibc's malloc.h, mallopt(3)
_MOST = 2**31 - 1
SWITCH_INTERVAL_S = 0.0005  # Python's own 5 ms make a scan's reading twice as long beside an import
GZIP_BUFFER = 2**22  # bytes of a gzip read at a time: before each, Python's lock is waited for, long beside an import
SPIN_COUNT = "1000"
# Of PyTorch's import, the shapes of every operator's result are a third, and torch.export a tenth of the rest.
DEFERRED = ("torch._meta_registrations", "torch.export")


def tune_process() -> None:
    """Tunes this process for scans and networks. To be called once, before PyTorch is imported or a scan is read."""
    from isal import igzip

    _keep_freed_memory()
    _sleep_when_waiting()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    igzip.READ_BUFFER_SIZE = GZIP_BUFFER


def ignore_dicom_warnings() -> None:
    """Keeps warnings of every letter out of place in a header off stderr: what matters is said by us.

    They are all of pydicom's, and highdicom's of a patient's name without a caret. For the whole process and before any
    thread starts: `warnings.catch_warnings` is not safe in threads.
    """
    warnings.filterwarnings("ignore", module="pydicom")
    warnings.filterwarnings("ignore", ".* is unlikely to represent the intended person name")


def _keep_freed_memory() -> bool:
    """Lets this process keep what its tensors free, for the next ones, instead of returning it to the kernel.

    glibc maps every large block anew, and gives each thread a heap of its own; touching memory for the first time costs
    more than many a layer's arithmetic.
    False where there is no glibc: nothing is changed then.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, 1) and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _MOST))


def _sleep_when_waiting() -> None:
    """Lets PyTorch's threads sleep soon when they wait for one another.

    libgomp's own wait of some ms keeps a core from whoever has work for it: with one more program on two cores a scan
    took twice as long. Source: GOMP_SPINCOUNT, libgomp's manual. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


class _Deferred(ModuleType):
    """Stands for a module of PyTorch that is imported when something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which is what an import of a part of it asks for
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_torch() -> None:
    """Imports PyTorch in less than two thirds of its time, leaving out what torch.compile and torch.export alone need.

    That is imported when something imports it or asks it for anything. Python does not look for garbage among what an
    import makes, which is none, then or later. Nothing happens when PyTorch is there already.
    """
    if "torch" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    stand_ins = [_Deferred(name) for name in DEFERRED]
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        import torch
    finally:
        for module in stand_ins:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
        gc.freeze()
        if collecting:
            gc.enable()
    package = vars(torch)
    for module in stand_ins:
        name = module.__name__.removeprefix("torch.")
        if package.get(name) is module:
            del package[name]


def leave(exit_code: int) -> NoReturn:
    """Ends the process with what was said, and no more: Python would take PyTorch apart object by object, for 0.5 s."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)
