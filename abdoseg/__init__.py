"""abdoseg: abdominal organs from CT, on a laptop, offline, from one command.

import abdoseg
labelmap = abdoseg.segment("scan.nii.gz")
labelmap.mask("liver").sum() * labelmap.geometry.voxel_ml
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abdoseg.segmentation import segment_scan as segment

__version__ = "0.1.0"
__all__ = ["__version__", "segment"]


def __getattr__(name: str) -> Any:
    """`segment` is looked up when it is first used: it needs PyTorch, which takes a second to import."""
    if name == "segment":
        from abdoseg.segmentation import segment_scan

        return segment_scan
    raise AttributeError(f"module 'abdoseg' has no attribute {name!r}")
