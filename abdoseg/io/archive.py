"""Files of a folder tree or a zip archive, listed without unpacking; hostile archives are refused."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from abdoseg.errors import AbdosegError, ScanError
from abdoseg.io.limits import MAX_RATIO

MAX_FILES = 100_000
MAX_ZIP_BYTES = 2**35  # unpacked: 32 GB
ENCRYPTED = 0x1  # general purpose bit 0. Source: PKWARE APPNOTE.TXT, 4.4.4
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True, eq=False)
class Entry:
    """A file that can be opened: on disk, or inside a zip. `name` is for messages, never for records."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def entries(path: Path, with_empty: bool = False) -> list[Entry]:
    """The files behind `path`, in order of name; a DICOMDIR stands for its folder.

    Nothing is unpacked and no link is followed twice. Files of 0 bytes are left out unless asked for. Raises ScanError
    when there is nothing else, or when a zip is hostile or damaged.
    """
    try:
        if path.name.upper() == "DICOMDIR" and path.is_file():
            path = path.parent
        if path.is_dir():
            os.scandir(path).close()  # os.walk is silent about a folder that may not be entered
            found = sorted(_walk(path), key=lambda entry: entry.name)
        elif _begins(path, b"PK"):
            found = _members(path)
        else:
            return [_entry(path, path.name, path.stat())]
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not any(entry.size for entry in found):
        raise ScanError(
            f"{path}: the {'folder is empty' if path.is_dir() else 'zip holds no files'}; is the path right?"
        )
    return [entry for entry in found if entry.size or with_empty]


@contextmanager
def extracted(path: Path, member: str | None) -> Iterator[Path]:
    """The path, or for a zip's member a temporary file with its content. Raises ScanError."""
    if member is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / PurePosixPath(member).name
        entry = next((entry for entry in entries(path) if entry.name == member), None)
        if entry is None:
            raise ScanError(f"{path}: holds no {member}; copy or export it again")
        try:
            with entry.open() as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
        except Exception as error:  # zipfile and its decompressors raise exceptions of every kind
            raise ScanError(f"{path}: {member}: damaged member of a zip ({error}); copy or export it again") from error
        try:
            yield target
        except AbdosegError as error:
            error.args = (str(error).replace(str(target), f"{path}: {member}"),)
            raise


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _walk(folder: Path) -> Iterator[Entry]:
    """Regular files only: a pipe or a device would wait for ever. Folders are entered once, by device and inode."""
    seen = {_identity(folder.stat())}
    count = 0
    for top, folders, files in os.walk(folder, followlinks=True):
        kept = []
        for name in folders:
            try:
                identity = _identity(Path(top, name).stat())
            except OSError:
                continue
            if identity not in seen:
                seen.add(identity)
                kept.append(name)
        folders[:] = kept
        for name in files:
            path = Path(top, name)
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                count += 1
                if count > MAX_FILES:
                    raise ScanError(f"{folder}: more than {MAX_FILES:,} files; name the folder of one scan")
                yield _entry(path, str(path.relative_to(folder)), status)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _entry(path: Path, name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, lambda: path.open("rb"))


def _members(path: Path) -> list[Entry]:
    """A zip's files, after its directory was checked. Raises ScanError."""
    try:
        archive = zipfile.ZipFile(path)
        infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ScanError(f"{path}: damaged zip ({error}); copy or export it again") from error
    if len(infos) > MAX_FILES:
        raise ScanError(f"{path}: more than {MAX_FILES:,} files; zip one scan alone")
    total = sum(info.file_size for info in infos)
    if total > MAX_ZIP_BYTES:
        raise ScanError(f"{path}: would unpack to {total / 2**30:.0f} GB (limit {MAX_ZIP_BYTES / 2**30:.0f}); refused")
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if not parts:
            raise ScanError(f"{path}: a member of the zip has no name; it is damaged: copy or export it again")
        if ".." in parts or parts[0] == "/" or parts[0].endswith(":"):
            raise ScanError(f"{path}: a member's name leads out of the archive; refused as hostile")
        if info.flag_bits & ENCRYPTED:
            raise ScanError(f"{path}: the zip is encrypted; unpack it and name the folder")
        if info.compress_type not in READABLE:
            raise ScanError(
                f"{path}: compressed by method {info.compress_type} (9 is Deflate64, of large zips on Windows), "
                "which is not read; unpack it and name the folder"
            )
        if info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise ScanError(f"{path}: a member claims to expand {info.file_size // max(info.compress_size, 1):,} times")
    return [_member(archive, info) for info in sorted(infos, key=lambda info: info.filename)]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    return Entry(info.filename, info.file_size, lambda: archive.open(info))
