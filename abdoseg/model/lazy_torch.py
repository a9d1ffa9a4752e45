"""PyTorch imported in less than two thirds of its time, for a process that only predicts."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# Of the import, the shapes of every operator's result are a third, and torch.export a tenth of the rest.
LATER = ("torch._meta_registrations", "torch.export")


class _Later(ModuleType):
    """Stands for a module of PyTorch that is imported when something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which is what an import of a part of it asks for
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_torch() -> None:
    """Imports PyTorch, if it is not there yet, leaving out what torch.compile and torch.export alone need.

    It is imported when something asks it for anything, or by `import_rest`. Nor does Python look for garbage among what
    an import makes, which is none, then or later.
    """
    if "torch" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    stand_ins = [_Later(name) for name in LATER]
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


def import_rest() -> None:
    """Imports what `import_torch` left out: before anything that imports torch._dynamo, as timm does."""
    for name in LATER:
        import_module(name)
