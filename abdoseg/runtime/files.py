"""Atomic file writing: a file appears whole or not at all, written under a temporary name and then renamed.

A temporary name says which process writes it, so that what a killed one left is known and removed by the next run.
"""

import contextlib
import csv
import errno
import os
import platform
import re
import secrets
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from abdoseg.errors import OutputError

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or name another folder",
    errno.EFBIG: "larger than the file system, or a limit on files (ulimit -f), allows; name another folder",
    errno.EACCES: "permission denied; name a folder that you may write to",
    errno.EPERM: "permission denied; name a folder that you may write to",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; name another folder",
    errno.EEXIST: "a part of the path is a file, not a folder; name another folder",
    errno.ENAMETOOLONG: "the name is too long for this file system; give a shorter one",
}
TEMPORARY = re.compile(r"\.([0-9a-f]{1,7})-([0-9a-f]{8})-[0-9a-f]{8}-(.+)")  # process, machine, random, final name
# Characters of the final name, its suffixes among them, that the temporary one keeps: at 4 bytes each, it is below the
# 255 bytes that file systems allow.
LONGEST_TAIL = 50
ABANDONED_S = 600  # without a change, after which a temporary file of a process elsewhere is nobody's
FULL_BYTES = 2**20  # free on a disk, below which a write that failed without a reason failed for that


@contextmanager
def writing(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the same folder with the same suffixes; it becomes `path` when the block ends well.

    The folder is made when missing. When the block fails, or is interrupted, nothing is left behind.
    Raises OutputError when `path` exists and `overwrite` is not given, and for whatever the file system refuses.
    """
    path = Path(path)
    ensure_absent([path], overwrite)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: {reason(error, path)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole, in the place of a former one. Raises OutputError."""
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Writes a table as CSV at a path, which is a temporary one where the file is to be whole; see `writing`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def ensure_absent(paths: Iterable[Path], overwrite: bool = False) -> None:
    """Raises OutputError when one of the paths stands there already, or could never be a file. Writes nothing."""
    for path in paths:
        try:
            stands = path.exists()
        except OSError as error:
            raise OutputError(f"{path.parent}: {path.name[:40]}...: {reason(error, path)}") from error
        if stands and path.is_dir():
            raise OutputError(f"{path}: a folder has this name; name another output")
        if not overwrite and stands:
            raise OutputError(f"{path}: exists already; pass --overwrite to replace it, or name another output")


def ensure_writable(folder: Path) -> None:
    """Makes the folder and proves that a file can be written in it, before long work. Raises OutputError.

    Temporary files that killed processes left there are removed.
    """
    probe = _temporary(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        _remove_abandoned(folder, probe.stat().st_mtime)
    except OSError as error:
        raise OutputError(f"{folder}: {reason(error, folder)}") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def reason(error: OSError, path: Path) -> str:
    """What the system said of writing a file, in words that name a remedy."""
    code = error.errno
    if code is None:  # numpy and ITK tell that less was written, not why
        with contextlib.suppress(OSError):
            code = errno.ENOSPC if shutil.disk_usage(path.parent).free < FULL_BYTES else None
    return REMEDIES.get(code or 0, f"cannot be written: {error.strerror or error}")


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes all temporary files of these files, whoever wrote them. To be called when nobody writes them."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name[-LONGEST_TAIL:])
    for folder, tails in names.items():
        if folder.is_dir():
            for file in folder.iterdir():
                found = TEMPORARY.fullmatch(file.name)
                if found and found[3] in tails:
                    with contextlib.suppress(OSError):
                        file.unlink()


def machine() -> str:
    """Eight digits for what numbers this process: the host's name and, in containers, their own process numbers."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{zlib.crc32((platform.node() + namespace).encode()):08x}"


def is_running(process: int) -> bool:
    """Whether a process of this number runs on this machine, where the system tells."""
    if sys.platform == "win32":  # where asking would end it, and where an open file cannot be removed anyway
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f".{os.getpid():x}-{machine()}-{secrets.token_hex(4)}-{path.name[-LONGEST_TAIL:]}")


def _remove_abandoned(folder: Path, now: float) -> None:
    """Removes temporary files that nobody writes any more. now: by the clock that the folder's files have."""
    for file in folder.iterdir():
        if found := TEMPORARY.fullmatch(file.name):
            killed = found[2] == machine() and not is_running(int(found[1], 16))
            with contextlib.suppress(OSError):
                if killed or now - file.stat().st_mtime > ABANDONED_S:
                    file.unlink()
