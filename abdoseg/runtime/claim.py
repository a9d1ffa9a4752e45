"""Claims: a folder that one process alone may write to, such as a training run's; a killed process's claim lapses."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from abdoseg.errors import OutputError
from abdoseg.runtime.files import is_running, machine, reason

CLAIM = ".running"
BEAT_S = 5.0  # between the holder's signs of life
LAPSE_S = 30.0  # without one, after which the holder is dead
SETTLE_S = 1.0  # after which of several that take a lapsed claim over one is seen to have it


@contextmanager
def claim(folder: Path, beat_s: float = BEAT_S, lapse_s: float = LAPSE_S) -> Iterator[None]:
    """Holds a folder, which is made when missing, for this process alone while the block runs.

    The claim is a file that its holder touches every few seconds. No lock of the file system is needed, which network
    drives may lack, and no clock: whoever finds a claim watches whether it is touched. That of a process of this
    machine which is gone lapses at once.

    Raises:
        OutputError: another process holds the folder, or it cannot be written.
    """
    path, ours = folder / CLAIM, f"{os.getpid():x} {machine()} {platform.node()}\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _created(path, ours):
            if _is_held(path, lapse_s):
                raise _refusal(folder, path)
            path.write_text(ours, encoding="utf-8")
            time.sleep(min(SETTLE_S, beat_s))
            if path.read_text(encoding="utf-8") != ours:
                raise _refusal(folder, path)
    except OSError as error:
        raise OutputError(f"{folder}: {reason(error, path)}") from error
    ended = Event()
    beat = Thread(target=_touch, args=(path, ended, beat_s), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):
            path.unlink()


def _created(path: Path, text: str) -> bool:
    """Makes the file, unless it is there."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _is_held(path: Path, lapse_s: float) -> bool:
    """Whether the claim's process lives: by its number on this machine, otherwise by whether it touches the claim."""
    process, where, _ = _holder(path)
    if where == machine() and not is_running(process):
        return False
    first, until = _touched(path), time.monotonic() + lapse_s
    while time.monotonic() < until:
        time.sleep(min(0.5, lapse_s / 10))
        if _touched(path) != first:
            return _touched(path) is not None
    return False


def _touched(path: Path) -> int | None:
    """When the file was touched; None when it is gone. It is opened, since network drives then ask the server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _holder(path: Path) -> tuple[int, str, str]:
    """Process, machine and host of a claim; 0 and nothing where it is damaged, or not written to its end."""
    with suppress(OSError, ValueError):
        process, where, host = path.read_text(encoding="utf-8").split(maxsplit=2)
        if 0 < (number := int(process, 16)) < 2**31:
            return number, where, host.strip()
    return 0, "", ""


def _refusal(folder: Path, path: Path) -> OutputError:
    process, _, host = _holder(path)
    return OutputError(
        f"{folder}: another process ({process} on {host or 'a machine'}) trains here; wait for it, or "
        "name another folder with -o"
    )


def _touch(path: Path, ended: Event, beat_s: float) -> None:
    while not ended.wait(beat_s):
        with suppress(OSError):
            os.utime(path)
