"""The cache of preprocessed cases: arrays on the network's grid that training memory-maps, a manifest, digests.

Only numpy and the standard library are needed here; the caller of `prepare_cases` reads the scans.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.errors import AbdosegError, DatasetError, OutputError, ResourceError
from abdoseg.runtime.files import ensure_writable, write_text, writing

LOG = logging.getLogger("abdoseg")
VERSION = 2
MANIFEST = "manifest.json"
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class PreparedCase:
    """A case in the cache: arrays (I, J, K) by name, those that it has, on a grid of `spacing_mm`.

    annotated: organs whose absence from the labels means absence from the scan. declared: the dataset says so itself.
    weight: how often the case is drawn.
    digests: SHA-256 of each array file. source: digest of the case's files and of their preprocessing.
    patient: the first case of the same patient.
    facts: for tables and warnings: the scan's own spacing, HU, organ volumes, notes of its reader.
    """

    case: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    annotated: tuple[str, ...]
    digests: dict[str, str]
    source: str
    patient: str = ""
    declared: bool = False
    weight: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def array(self, name: str) -> npt.NDArray[Any]:
        """A memory-mapped array: image int16 HU, labels uint8 in our numbers, tissues uint8.

        Raises DatasetError when the cache has gone.
        """
        try:
            return np.asarray(np.load(self.folder / f"{self.case}.{name}.npy", mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"the cache cannot be read any more ({error}); --resume packs it again") from error

    @property
    def has_image(self) -> bool:
        """Whether there is a scan, not only a tissue map for synthesis."""
        return "image" in self.digests


@dataclass(frozen=True)
class Cache:
    """Prepared cases of one dataset or several."""

    cases: tuple[PreparedCase, ...]

    @cached_property
    def by_name(self) -> dict[str, PreparedCase]:
        return {prepared.case: prepared for prepared in self.cases}

    def digest(self) -> str:
        """SHA-256 of the training data: of all arrays, and of which organs are annotated."""
        rows = sorted(json.dumps([p.case, p.annotated, p.digests], sort_keys=True) for p in self.cases)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@dataclass(frozen=True)
class CaseSource:
    """A case to be prepared. `stamp` changes when its files or their preprocessing do."""

    case: str
    stamp: str
    annotated: tuple[str, ...]
    patient: str = ""
    declared: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class CaseArrays:
    """The result of preprocessing a case; see PreparedCase."""

    arrays: Arrays
    spacing_mm: tuple[float, float, float]
    facts: dict[str, Any] = field(default_factory=dict)


def prepare_cases(
    folder: Path,
    sources: Iterable[CaseSource],
    read: Callable[[str], CaseArrays],
    keep_going: bool = False,
) -> tuple[tuple[PreparedCase, ...], tuple[tuple[str, str], ...]]:
    """Brings the cache in `folder` up to date. Each case is committed at once, so an interrupted run can be continued.

    Args:
        folder: the cache.
        sources: the cases that it is to hold.
        read: gives a case's arrays on the network's grid; called for cases that are new, changed or damaged.
        keep_going: leave out cases that cannot be read, instead of raising their error.

    Returns:
        The cases, and the names of those left out with the reason.

    Raises:
        AbdosegError: what `read` raised.
        ResourceError: a case does not fit into memory.
        OutputError: the folder cannot be written.
    """
    before = load_manifest(folder)
    known = {prepared.case: prepared for prepared in before}
    done: list[PreparedCase] = []
    left_out: list[tuple[str, str]] = []
    try:
        ensure_writable(folder)
        for source in sources:
            prepared = known.get(source.case)
            if prepared is None or prepared.source != source.stamp or not _intact(prepared):
                LOG.info("packing %s", source.case)
                try:
                    contents = read(source.case)
                except AbdosegError as error:
                    if not keep_going:
                        raise type(error)(f"{source.case}: {error}; or pass --keep-going to do without it") from error
                    left_out.append((source.case, str(error)))
                    continue
                except MemoryError as error:
                    raise ResourceError(
                        f"{source.case}: there is not enough memory to pack it; close other programs, take a recipe "
                        "with a coarser spacing_mm, or pack it on another machine with abdoseg prepare"
                    ) from error
                prepared = _write(folder, source, contents)
                known[source.case] = prepared
                _save_manifest(folder, list(known.values()))
            said = {name: getattr(source, name) for name in ("annotated", "patient", "declared", "weight")}
            done.append(replace(prepared, **said))
        if done != before:  # a case has gone, or what is said of one is another
            _save_manifest(folder, done)
    except OutputError as error:
        raise OutputError(f"{error} (--cache names the folder)") from error
    except OSError as error:
        raise DatasetError(f"{folder}: the cache cannot be read ({error.strerror or error}); pack it anew") from error
    return tuple(done), tuple(left_out)


def _write(folder: Path, source: CaseSource, contents: CaseArrays) -> PreparedCase:
    for name, array in contents.arrays.items():
        path = folder / f"{source.case}.{name}.npy"
        with writing(path, overwrite=True) as temporary, temporary.open("wb") as file:
            # To a file as such numpy writes through C's buffers, and says nothing when their last bytes find no room.
            np.save(SimpleNamespace(write=file.write), np.ascontiguousarray(array))
    digests = {name: _digest(folder / f"{source.case}.{name}.npy") for name in contents.arrays}
    i, j, k = next(iter(contents.arrays.values())).shape
    return PreparedCase(
        source.case, (i, j, k), contents.spacing_mm, source.annotated, digests, source.stamp, source.patient,
        source.declared, source.weight, contents.facts, folder,
    )  # fmt: skip


def load_manifest(folder: Path) -> list[PreparedCase]:
    """The cases that a folder's manifest lists; none when it is missing, damaged, or of another version."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            return []
        return [_packed(row, folder) for row in manifest["cases"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def load_prepared(folder: Path) -> tuple[PreparedCase, ...]:
    """The cases of a folder that `abdoseg prepare` wrote, checked by digest; their scans are not needed.

    Raises:
        DatasetError: the manifest or an array is damaged.
    """
    cases = load_manifest(folder)
    damaged = [prepared.case for prepared in cases if not _intact(prepared)]
    if damaged or not cases:
        what = f"arrays are missing or damaged ({', '.join(damaged[:5])})" if damaged else "the manifest is damaged"
        raise DatasetError(f"{folder}: {what}; copy it again, or run abdoseg prepare again")
    return tuple(cases)


def _packed(row: dict[str, Any], folder: Path) -> PreparedCase:
    values = {name: tuple(row[name]) for name in ("shape", "spacing_mm", "annotated")}
    return PreparedCase(
        case=row["case"], digests=dict(row["digests"]), source=row["source"], patient=row["patient"],
        declared=row.get("declared", False), weight=row.get("weight", 1.0), facts=row["facts"], folder=folder,
        **values,
    )  # fmt: skip


def _save_manifest(folder: Path, cases: Sequence[PreparedCase]) -> None:
    rows = [{name: value for name, value in asdict(prepared).items() if name != "folder"} for prepared in cases]
    write_text(folder / MANIFEST, json.dumps({"version": VERSION, "cases": rows}, indent=1))


def _intact(prepared: PreparedCase) -> bool:
    paths = {name: prepared.folder / f"{prepared.case}.{name}.npy" for name in prepared.digests}
    return all(path.is_file() and _digest(path) == prepared.digests[name] for name, path in paths.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
