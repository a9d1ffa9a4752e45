"""Files as streams of bytes, gunzipped where they are gzip, opened once.

isal gunzips a CT of 157 MB in .3 s, Python's zlib in .9 s.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from abdoseg.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 540  # enough to tell formats apart, and a whole NIfTI header of either version


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """A file open for reading. stream: its bytes from the first on, gunzipped where it is gzip.

    head: the first HEAD_BYTES of them, or fewer. stored_bytes: the size of the file on disk.
    """

    path: Path
    stream: IO[bytes]
    head: bytes
    is_gzip: bool
    stored_bytes: int


@contextmanager
def open_decompressed(
    path: Path, open_member: Callable[[], IO[bytes]] | None = None, member_bytes: int = 0
) -> Iterator[OpenedFile]:
    """Opens a file once, gunzipping it when it is gzip, whatever its suffix.

    open_member: opens a file inside an archive, of `member_bytes`; `path` then is for messages alone.

    Raises:
        ScanError: for every OSError and every error of gzip, raised here or inside the `with` block.
    """
    from isal import igzip, isal_zlib

    try:
        with open_member() if open_member else path.open("rb") as file:
            magic = file.peek(2)[:2]  # type: ignore[attr-defined]
            if not magic:
                raise ScanError(f"{path}: the file is empty; copy or export it again")
            is_gzip = magic == GZIP_MAGIC
            stream: IO[bytes] = igzip.GzipFile(fileobj=file, mode="rb") if is_gzip else file
            head = stream.read(HEAD_BYTES)
            stream.seek(0)
            yield OpenedFile(path, stream, head, is_gzip, member_bytes or path.stat().st_size)
    except FileNotFoundError as error:
        raise ScanError(f"{path}: no such file") from error
    except (EOFError, zlib.error, isal_zlib.error, igzip.BadGzipFile) as error:  # type: ignore[misc]  # isal's stubs call its error an instance
        raise ScanError(f"{path}: truncated or damaged gzip ({error}); copy or export it again") from error
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error
