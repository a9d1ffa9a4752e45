"""The files of a dataset in a folder or a zip: their names, digests, and one at a time as a path on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abdoseg.errors import DatasetError, ResourceError


@dataclass(frozen=True)
class Tree:
    """The files below `root`: names relative to it with forward slashes, sorted, without hidden files.

    stamps: for each name, what changes when the file does (size and time, or a zip member's size and checksum).
    """

    root: Path
    stamps: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.stamps)

    @property
    def zipped(self) -> bool:
        return self.root.is_file()

    def stamp(self, name: str) -> str:
        """A digest that changes when a file, or anything in a folder (`name` ends in a slash), does."""
        parts = [f"{n}:{s}" for n, s in self.stamps.items() if n == name or (name.endswith("/") and n.startswith(name))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """A path on disk to a file, or to a folder when `name` ends in a slash.

        Members of a zip are unpacked for as long as the block runs, and only those. Raises DatasetError, ResourceError.
        """
        if not self.zipped:
            yield self.root / name
            return
        with tempfile.TemporaryDirectory(prefix="abdoseg-") as folder:
            try:
                with zipfile.ZipFile(self.root) as archive:
                    members = [n for n in self.names if n == name or (name.endswith("/") and n.startswith(name))]
                    for member in members:  # by their last name only, so that no member can choose its place
                        with archive.open(member) as source, (Path(folder) / Path(member).name).open("wb") as target:
                            shutil.copyfileobj(source, target, 2**20)
            except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
                raise DatasetError(f"{self.root}: {name} cannot be unpacked ({error}); download it again") from error
            except OSError as error:
                raise ResourceError(
                    f"{name}: no room to unpack it in {folder} ({error.strerror}); free some space"
                ) from error
            yield Path(folder) / ("" if name.endswith("/") else Path(name).name)

    def text(self, name: str) -> str:
        """A text file's content."""
        with self.opened(name) as path:
            return path.read_text(encoding="utf-8")


def list_tree(root: Path) -> Tree:
    """The files below a folder, or in a zip. Raises DatasetError when there is neither."""
    if root.is_dir():
        stamps = {}
        for path in sorted(path for path in _walk(root) if path.is_file()):
            status = path.stat()
            stamps[path.relative_to(root).as_posix()] = f"{status.st_size}-{status.st_mtime_ns}"
    elif root.is_file() and zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            stamps = {info.filename: f"{info.file_size}-{info.CRC:08x}" for info in sorted_members(archive)}
    else:
        what = "neither a folder, a zip nor a CSV of pairs" if root.exists() else "no such folder or file"
        raise DatasetError(f"{root}: {what}; --data names a dataset")
    return Tree(root, {name: stamp for name, stamp in stamps.items() if not _hidden(name)})


def _walk(root: Path) -> Iterator[Path]:
    """All below a folder but folders. Linked folders are entered, except for links to a folder that they lie in."""
    for name, folders, files in os.walk(root, followlinks=True):
        here = Path(name).resolve()
        folders[:] = [inner for inner in folders if not here.is_relative_to((here / inner).resolve())]
        yield from (Path(name) / file for file in files)


def sorted_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of a zip by name."""
    return sorted((info for info in archive.infolist() if not info.is_dir()), key=lambda info: info.filename)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
