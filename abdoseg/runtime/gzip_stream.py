"""The bytes of files, gunzipped where they are gzip: as they are asked for, or ahead of that in a thread."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from io import RawIOBase
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import IO, TYPE_CHECKING

from abdoseg.errors import ScanError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"\x1f\x8b"
PIECE = 2**20  # bytes gunzipped ahead at a time, as many as a core's cache holds
AHEAD = 80  # pieces that wait for whoever takes them


@contextmanager
def open_decompressed(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, gunzipped when they are gzip, whatever the suffix. Foreign errors become ScanError."""
    from isal import igzip, isal_zlib

    try:
        with path.open("rb") as file:
            if not file.peek(2):
                raise ScanError(f"{path}: the file is empty; copy or export it again")
            if file.peek(2)[:2] == MAGIC:
                with igzip.GzipFile(fileobj=file, mode="rb") as stream:
                    yield stream
            else:
                yield file
    except FileNotFoundError as error:
        raise ScanError(f"{path}: no such file") from error
    except (EOFError, zlib.error, isal_zlib.error, igzip.BadGzipFile) as error:  # type: ignore[misc]  # isal's stubs call its error an instance
        raise ScanError(f"{path}: truncated or damaged gzip ({error}); copy or export it again") from error
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from error


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == MAGIC


class PrefetchedStream(RawIOBase):
    """A file's bytes as `open_decompressed` gives them, read by a thread that starts now.

    Errors are raised where the bytes would have been. At its end the gzip's checksum has been checked.
    """

    def __init__(self, path: Path) -> None:
        self._pieces: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._room = Semaphore(AHEAD)
        self._piece: memoryview | None = memoryview(b"")  # None at the end
        Thread(target=self._read, args=(path,), daemon=True).start()

    def _read(self, path: Path) -> None:
        try:
            with open_decompressed(path) as stream:
                while piece := stream.read(PIECE):
                    self._room.acquire()
                    self._pieces.put(piece)
            self._pieces.put(b"")
        except Exception as error:  # whatever it is: who waits for bytes would wait for ever
            self._pieces.put(error)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Up to as many bytes as the buffer has room for; 0 at the end. Raises ScanError."""
        if self._piece is not None and not self._piece:
            piece, self._piece = self._pieces.get(), None
            self._room.release()
            if isinstance(piece, Exception):
                raise piece
            if piece:
                self._piece = memoryview(piece)
        if self._piece is None:
            return 0
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def prefetch(path: Path) -> PrefetchedStream | None:
    """Begins to read a gzip; None for what is none, or cannot be opened: whoever reads it then says why."""
    try:
        return PrefetchedStream(path) if path.is_file() and is_gzip(path) else None  # a pipe would be waited for
    except OSError:
        return None
