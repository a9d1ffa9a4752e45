"""PyTorch imported in two thirds of its time, for a process that only predicts."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

LATER = "torch._meta_registrations"


def import_torch() -> None:
    """Imports PyTorch, if it is not there yet, leaving out what torch.compile and torch.export alone need.

    Those know from a module what shape every operator's result has; registering its thousand functions is a third of
    the import. It is imported when something asks it for one of them, or by `import_rest`. Nor does Python look for
    garbage among what an import makes, which is none, then or later.
    """
    if "torch" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    empty = ModuleType(LATER)
    empty.__getattr__ = _asked  # type: ignore[method-assign]  # Source: PEP 562
    sys.modules[LATER] = empty
    try:
        import torch
    finally:
        if sys.modules.get(LATER) is empty:
            del sys.modules[LATER]
        gc.freeze()
        if collecting:
            gc.enable()
    package, name = vars(torch), LATER.removeprefix("torch.")
    if package.get(name) is empty:
        del package[name]


def import_rest() -> None:
    """Imports what `import_torch` left out: before anything that imports torch._dynamo, as timm does."""
    import_module(LATER)


def _asked(name: str) -> Any:
    """The attribute of the module that the empty one stands for."""
    if name.startswith("__"):
        raise AttributeError(name)
    if not hasattr(sys.modules.get(LATER), "__file__"):
        sys.modules.pop(LATER, None)
    return getattr(import_module(LATER), name)
