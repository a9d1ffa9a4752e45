"""Atomic file writing: a file appears whole or not at all, written under a temporary name and then renamed."""

import contextlib
import errno
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from abdoseg.errors import OutputError

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or name another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or name another folder",
    errno.EACCES: "permission denied; name a folder that you may write to",
    errno.EPERM: "permission denied; name a folder that you may write to",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; name another folder",
    errno.ENAMETOOLONG: "the name is too long for this file system; give a shorter one",
}
TEMPORARY = re.compile(r"\.[0-9a-f]{8}-(.+)")
LONGEST_TAIL = 100  # characters of the final name kept in the temporary one: its suffixes, within any file system


@contextmanager
def writing(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the same folder with the same suffixes; it becomes `path` when the block ends well.

    The folder is made when missing. When the block fails, or is interrupted, nothing is left behind.
    Raises OutputError when `path` exists and `overwrite` is not given, and for whatever the file system refuses.
    """
    path = Path(path)
    ensure_absent([path], overwrite)
    temporary = path.with_name(f".{secrets.token_hex(4)}-{path.name[-LONGEST_TAIL:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: {_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def ensure_absent(paths: Iterable[Path], overwrite: bool = False) -> None:
    """Raises OutputError when one of the paths stands there already, or could never be a file. Writes nothing."""
    for path in paths:
        try:
            stands = path.exists()
        except OSError as error:
            raise OutputError(f"{path.parent}: {path.name[:40]}...: {_reason(error)}") from error
        if stands and path.is_dir():
            raise OutputError(f"{path}: a folder has this name; name another output")
        if not overwrite and stands:
            raise OutputError(f"{path}: exists already; pass --overwrite to replace it, or name another output")


def ensure_writable(folder: Path) -> None:
    """Makes the folder and proves that a file can be written in it, before long work. Raises OutputError."""
    probe = folder / f".{secrets.token_hex(4)}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """What the system said, in words that name a remedy."""
    return REMEDIES.get(error.errno or 0, f"cannot be written: {error.strerror or error}")


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes the temporary files that killed processes left of these files. To be called when nobody writes them."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(path.name[-LONGEST_TAIL:])
    for folder, tails in names.items():
        if folder.is_dir():
            for file in folder.iterdir():
                found = TEMPORARY.fullmatch(file.name)
                if found and found[1] in tails:
                    with contextlib.suppress(OSError):
                        file.unlink()
