"""abdoseg: abdominal organs from CT, on a laptop, offline, from one command.

    import abdoseg

    result = abdoseg.segment("scan.nii.gz")
    for volume in result.volumes:
        print(volume.organ, volume.volume_ml)
    result.save("out/")

Importing the package imports neither PyTorch nor anything else that takes time; its functions do when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abdoseg.api import Result, evaluate, export, follow, segment
    from abdoseg.model.weights import load_model

__version__ = "0.2.0"
__all__ = ["Result", "__version__", "evaluate", "export", "follow", "load_model", "segment"]
_HOMES = {
    "Result": "abdoseg.api",
    "evaluate": "abdoseg.api",
    "export": "abdoseg.api",
    "follow": "abdoseg.api",
    "load_model": "abdoseg.model.weights",
    "segment": "abdoseg.api",
}


def __getattr__(name: str) -> Any:
    """Looks a name of the interface up when it is first used."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'abdoseg' has no attribute {name!r}")
