"""A dataset packed once into arrays on the network's grid, with a manifest and digests; training maps them from disk.

Here only numpy and the standard library are needed; reading scans is `pack`'s caller's affair.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import DatasetError

LOG = logging.getLogger("abdoseg")
VERSION = 1
ARRAYS = ("image", "labels", "tissues")


@dataclass(frozen=True)
class Packed:
    """One case in the cache: arrays (I, J, K) by name, present ones only.

    annotated: organs whose absence from the labels means absence from the scan.
    digests: SHA-256 of each array file. source: digest of the case's files and of how they were packed.
    """

    case: str
    shape: tuple[int, int, int]
    annotated: tuple[str, ...]
    digests: dict[str, str]
    source: str


@dataclass(frozen=True)
class Cache:
    """The packed cases in `folder`: image int16 HU, labels uint8 in our numbers, tissues uint8."""

    folder: Path
    spacing_mm: tuple[float, float, float]
    cases: tuple[Packed, ...]

    def array(self, case: str, name: str) -> npt.NDArray[Any]:
        """A memory-mapped array."""
        return np.asarray(np.load(self.folder / f"{case}.{name}.npy", mmap_mode="r"))


Arrays = dict[str, npt.NDArray[Any]]


def pack(
    folder: Path,
    spacing_mm: tuple[float, float, float],
    sources: Sequence[tuple[str, str, tuple[str, ...]]],
    read: Callable[[str], Arrays],
) -> Cache:
    """Brings the cache in `folder` up to date and returns it.

    sources: (case, digest of its source, annotated organs). read: the arrays of a case, on the grid of `spacing_mm`;
    called only for cases that are new, changed or damaged. Each case is committed as soon as it is packed, so an
    interrupted run goes on where it was. Raises DatasetError when the folder cannot be written.
    """
    known = {packed.case: packed for packed in _load_manifest(folder, spacing_mm)}
    done: list[Packed] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for case, source, annotated in sources:
            packed = known.get(case)
            if packed is None or packed.source != source or not _intact(folder, packed):
                LOG.info("packing %s", case)
                arrays = read(case)
                for name, array in arrays.items():
                    _save(folder / f"{case}.{name}.npy", array)
                digests = {name: _digest(folder / f"{case}.{name}.npy") for name in arrays}
                i, j, k = next(iter(arrays.values())).shape
                packed = Packed(case, (i, j, k), annotated, digests, source)
            done.append(packed)
            _save_manifest(
                folder, spacing_mm, [*done, *(p for p in known.values() if p.case not in {d.case for d in done})]
            )
    except OSError as error:
        raise DatasetError(
            f"{folder}: the cache cannot be written ({error.strerror}); name another with --cache"
        ) from error
    return Cache(folder, spacing_mm, tuple(done))


def _load_manifest(folder: Path, spacing_mm: tuple[float, float, float]) -> list[Packed]:
    """What the manifest lists; nothing when it is missing, damaged, or for another grid or version."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["version"] != VERSION or tuple(manifest["spacing_mm"]) != tuple(spacing_mm):
            return []
        return [
            Packed(c["case"], tuple(c["shape"]), tuple(c["annotated"]), dict(c["digests"]), c["source"])
            for c in manifest["cases"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _save_manifest(folder: Path, spacing_mm: tuple[float, float, float], cases: Sequence[Packed]) -> None:
    manifest = {"version": VERSION, "spacing_mm": spacing_mm, "cases": [asdict(packed) for packed in cases]}
    temporary = folder / "manifest.json.part"
    temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    temporary.replace(folder / "manifest.json")


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        np.save(file, array)
    temporary.replace(path)


def _intact(folder: Path, packed: Packed) -> bool:
    paths = {name: folder / f"{packed.case}.{name}.npy" for name in packed.digests}
    return all(path.is_file() and _digest(path) == packed.digests[name] for name, path in paths.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
