"""A dataset packed once into arrays on the network's grid, with a manifest and digests; training maps them from disk.

Here only numpy and the standard library are needed; reading scans is the affair of `pack`'s caller.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import AbdosegError, DatasetError

LOG = logging.getLogger("abdoseg")
VERSION = 2
MANIFEST = "manifest.json"
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Packed:
    """One case in the cache: arrays (I, J, K) by name, present ones only, on a grid of `spacing_mm`.

    annotated: organs whose absence from the labels means absence from the scan.
    digests: SHA-256 of each array file. source: digest of the case's files and of how they were packed.
    patient: the first case of the same patient.
    facts: what is worth telling about the case: the scan's own spacing, HU, organ volumes, notes of its reader.
    """

    case: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    annotated: tuple[str, ...]
    digests: dict[str, str]
    source: str
    patient: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def array(self, name: str) -> npt.NDArray[Any]:
        """A memory-mapped array: image int16 HU, labels uint8 in our numbers, tissues uint8."""
        return np.asarray(np.load(self.folder / f"{self.case}.{name}.npy", mmap_mode="r"))

    @property
    def has_image(self) -> bool:
        """Whether there is a scan, not only a map from which one can be painted."""
        return "image" in self.digests


@dataclass(frozen=True)
class Cache:
    """Packed cases, from one dataset or several."""

    cases: tuple[Packed, ...]

    @cached_property
    def by_name(self) -> dict[str, Packed]:
        return {packed.case: packed for packed in self.cases}

    def digest(self) -> str:
        """What the training data is: changes with any array or any statement about it."""
        rows = sorted(json.dumps([p.case, p.annotated, p.digests], sort_keys=True) for p in self.cases)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """A case to be packed: `stamp` changes when its files, or the way they are packed, do."""

    case: str
    stamp: str
    annotated: tuple[str, ...]
    patient: str = ""


@dataclass(frozen=True)
class Contents:
    """What reading a case gives."""

    arrays: Arrays
    spacing_mm: tuple[float, float, float]
    facts: dict[str, Any] = field(default_factory=dict)


def pack(
    folder: Path,
    sources: Iterable[Source],
    read: Callable[[str], Contents],
    keep_going: bool = False,
) -> tuple[tuple[Packed, ...], tuple[tuple[str, str], ...]]:
    """Brings the cache in `folder` up to date; returns the cases, and those left out with the reason.

    read: a case's arrays on the network's grid; called only for cases that are new, changed or damaged. Each case is
    committed as soon as it is packed, so an interrupted run goes on where it was. A case that cannot be read raises
    its error, or is left out when keep_going. Raises DatasetError when the folder cannot be written.
    """
    known = {packed.case: packed for packed in load_manifest(folder)}
    done: list[Packed] = []
    left_out: list[tuple[str, str]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            packed = known.get(source.case)
            if packed is None or packed.source != source.stamp or not _intact(packed):
                LOG.info("packing %s", source.case)
                try:
                    contents = read(source.case)
                except AbdosegError as error:
                    if not keep_going:
                        raise type(error)(f"{source.case}: {error}; or pass --keep-going to do without it") from error
                    left_out.append((source.case, str(error)))
                    continue
                packed = _write(folder, source, contents)
                known[source.case] = packed
                _save_manifest(folder, list(known.values()))
            done.append(replace(packed, annotated=source.annotated, patient=source.patient))
    except OSError as error:
        raise DatasetError(
            f"{folder}: the cache cannot be written ({error.strerror or error}); name another place with --cache"
        ) from error
    return tuple(done), tuple(left_out)


def _write(folder: Path, source: Source, contents: Contents) -> Packed:
    for name, array in contents.arrays.items():
        path = folder / f"{source.case}.{name}.npy"
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(array))
        temporary.replace(path)
    digests = {name: _digest(folder / f"{source.case}.{name}.npy") for name in contents.arrays}
    i, j, k = next(iter(contents.arrays.values())).shape
    return Packed(
        source.case, (i, j, k), contents.spacing_mm, source.annotated, digests, source.stamp, source.patient,
        contents.facts, folder,
    )  # fmt: skip


def load_manifest(folder: Path) -> list[Packed]:
    """What the manifest lists; nothing when it is missing, damaged, or of another version."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            return []
        return [_packed(row, folder) for row in manifest["cases"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def load_prepared(folder: Path) -> tuple[Packed, ...]:
    """A folder that `abdoseg prepare` wrote, to be trained from without its scans. Raises DatasetError when damaged."""
    cases = load_manifest(folder)
    damaged = [packed.case for packed in cases if not _intact(packed)]
    if damaged or not cases:
        what = f"arrays are missing or damaged ({', '.join(damaged[:5])})" if damaged else "the manifest is damaged"
        raise DatasetError(f"{folder}: {what}; copy it again, or run abdoseg prepare again")
    return tuple(cases)


def _packed(row: dict[str, Any], folder: Path) -> Packed:
    values = {name: tuple(row[name]) for name in ("shape", "spacing_mm", "annotated")}
    return Packed(
        case=row["case"], digests=dict(row["digests"]), source=row["source"], patient=row["patient"],
        facts=row["facts"], folder=folder, **values,
    )  # fmt: skip


def _save_manifest(folder: Path, cases: Sequence[Packed]) -> None:
    rows = [{name: value for name, value in asdict(packed).items() if name != "folder"} for packed in cases]
    temporary = folder / f"{MANIFEST}.part"
    temporary.write_text(json.dumps({"version": VERSION, "cases": rows}, indent=1), encoding="utf-8")
    temporary.replace(folder / MANIFEST)


def _intact(packed: Packed) -> bool:
    paths = {name: packed.folder / f"{packed.case}.{name}.npy" for name in packed.digests}
    return all(path.is_file() and _digest(path) == packed.digests[name] for name, path in paths.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
