"""The ledger of a batch: a JSON line a case, appended as it ends, for resuming after a kill and for reports."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from abdoseg.errors import AbdosegError, OutputError
from abdoseg.runtime.files import reason


class Ledger:
    """The ledger of a folder. Shards write a file each, since network drives mix up two appends; all are read."""

    def __init__(self, folder: Path, shard: str | None = None) -> None:
        part = f".{shard.replace('/', '-of-')}" if shard else ""
        self.folder, self.path = folder, folder / f"ledger{part}.jsonl"

    def add(self, case: str, outputs: Sequence[Path], error: AbdosegError | None = None, **facts: Any) -> None:
        """Appends one line: done with its outputs, or failed with its error. Raises OutputError."""
        line = {
            "case": case,
            "status": "failed" if error else "done",
            "exit_code": error.exit_code if error else 0,
            "error": str(error) if error else None,
            "outputs": [relative(path, self.folder) for path in outputs],
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
        try:
            with self.path.open("a+b") as file:
                file.write(_ended(file) + json.dumps(line).encode() + b"\n")
        except OSError as failure:
            raise OutputError(f"{self.path}: {reason(failure, self.path)}") from failure

    def latest(self) -> dict[str, dict[str, Any]]:
        """The last line of each case, of all shards."""
        last: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("ledger*.jsonl")):
            for text in path.read_text(encoding="utf-8").splitlines():
                line = _parsed(text)
                if line:
                    last[line["case"]] = max(line, last.get(line["case"], line), key=_finished)
        return last

    def done(self) -> dict[str, dict[str, Any]]:
        """By case the last line, where it says done and its outputs are all there."""
        return {
            case: line
            for case, line in self.latest().items()
            if line["status"] == "done" and all((self.folder / name).exists() for name in line["outputs"])
        }


def relative(path: Path, folder: Path) -> str:
    """How to reach a path from a folder; its name alone from another drive."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return path.name


def _finished(line: dict[str, Any]) -> float:
    """When a case ended, in seconds; clocks differ between machines, and with summer."""
    try:
        return datetime.fromisoformat(line["finished"]).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _ended(file: IO[bytes]) -> bytes:
    """The newline that a kill may have kept from the last line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    return b"" if file.read(1) in (b"", b"\n") else b"\n"


def _parsed(text: str) -> dict[str, Any] | None:
    """A ledger's line; None for one that a kill cut short."""
    try:
        line = json.loads(text)
        return line if {"case", "status", "outputs", "finished"} <= set(line) else None
    except (ValueError, TypeError):
        return None
