"""Provenance: the run record, with versions, model, stages, input, changes and quality, without patient data."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from abdoseg import __version__
from abdoseg.image.lesions import Lesion, lesion_row
from abdoseg.image.volume import Geometry, Volume
from abdoseg.quality import Quality


@dataclass(frozen=True)
class RunRecord:
    """The record of one case, written as `CASE.json`.

    model: digest and organs. seconds: by stage. input: the scan's geometry as it was stored, and what reading found
    out. changes: what post-processing did, a sentence each. removed: why an organ was taken away, by organ.
    quality: by organ. lesions: by kind that was looked for, one after the other, the largest first. warnings: what a
    person should know, in sentences. scan_warnings: those of them that doubt the scan, not an organ.
    """

    versions: Mapping[str, str]
    model: Mapping[str, Any]
    device: str
    precision: str
    threads: int
    seconds: Mapping[str, float]
    peak_memory_bytes: int
    input: Mapping[str, Any]
    grid: Mapping[str, Any]
    changes: tuple[str, ...] = ()
    removed: Mapping[str, str] = field(default_factory=dict)
    quality: Mapping[str, Quality] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    scan_warnings: tuple[str, ...] = ()
    lesions: Mapping[str, tuple[Lesion, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values; each organ's quality with the verdict `review`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        quality = {organ: asdict(found) | {"review": found.review} for organ, found in self.quality.items()}
        lesions = {kind: [lesion_row(lesion) for lesion in found] for kind, found in self.lesions.items()}
        return values | {"quality": quality, "lesions": lesions}


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


def versions() -> dict[str, str]:
    """What computed the result."""
    return {
        "abdoseg": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def describe_input(volume: Volume) -> dict[str, Any]:
    """The scan's geometry as it was stored, and what reading found out about it; of DICOM, which series it is."""
    stored = volume.stored.geometry
    series = {"series_digest": volume.details["series_digest"]} if "series_digest" in volume.details else {}
    return {
        **series,
        "shape": list(stored.shape),
        "spacing_mm": [round(float(s), 6) for s in stored.spacing_mm],
        "affine": stored.affine.tolist(),
        "axes": stored.axes,
        "shear_degrees": round(stored.shear_degrees, 3),
        "notes": list(volume.notes),
    }


def describe_grid(grid: Geometry) -> dict[str, Any]:
    """The network's grid."""
    return {"shape": list(grid.shape), "spacing_mm": [round(float(s), 4) for s in grid.spacing_mm]}
