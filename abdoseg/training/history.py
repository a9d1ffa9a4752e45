"""History of a run: log.csv, an epoch a row, and the watchers that are called after each step and epoch."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from abdoseg.errors import OutputError
from abdoseg.runtime.files import reason, write_csv, writing
from abdoseg.training.checkpoint import Progress
from abdoseg.training.pixel_metrics import NOT_MEASURED, PixelMetrics
from abdoseg.training.validation import CaseScore

LOG_FILE = "log.csv"


@dataclass(frozen=True)
class Epoch:
    """What an epoch reached.

    Attributes:
        seconds: since the run began, all sittings together.
        loss: mean over the epoch's steps.
        dice: by organ, the mean over the validation cases; accuracy, iou, iou_at_half: means of the cases' own.
        train: of the epoch's patches; validation: of the validation cases, their voxels pooled.
        digest: SHA-256 of the weights' moving average.
        best: whether no epoch before was better.
    """

    step: int
    seconds: float
    loss: float
    learning_rate: float
    dice: Mapping[str, float]
    accuracy: float = float("nan")
    iou: float = float("nan")
    iou_at_half: float = float("nan")
    train: PixelMetrics = NOT_MEASURED
    validation: PixelMetrics = NOT_MEASURED
    digest: str = ""
    best: bool = False
    scores: Sequence[CaseScore] = field(default=(), repr=False, compare=False)

    def row(self, organs: Sequence[str]) -> dict[str, str]:
        """The line in log.csv; nothing where nothing was measured."""
        columns = {
            "step": str(self.step), "seconds": f"{self.seconds:.1f}", "loss": f"{self.loss:.6f}",
            "learning_rate": f"{self.learning_rate:.4g}", "accuracy": _number(self.accuracy),
            "mean_iou": _number(self.iou), "iou_at_0.5": _number(self.iou_at_half),
        }  # fmt: skip
        for side, metrics in (("train", self.train), ("val", self.validation)):
            columns |= {f"{side}_{name}": _number(value) for name, value in vars(metrics).items()}
        columns |= {f"dice_{organ}": _number(self.dice.get(organ, float("nan"))) for organ in organs}
        return columns | {"weights": self.digest}


class Watcher:
    """Is called as a run goes on; what a watcher does not override does nothing."""

    def stepped(self, progress: Progress, fraction: float, loss: float) -> None:
        """After each step. fraction: how much of the run is done."""

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """After each epoch: all of them, the last one last."""


def append(path: Path, epoch: Epoch, organs: Sequence[str]) -> Epoch:
    """Adds a line to log.csv, on disk before this returns; none or a whole one.

    Returns:
        The epoch as the log has it, with as many digits, so that a run that is resumed draws the same curves.

    Raises:
        OutputError: the file cannot be written.
    """
    row = epoch.row(organs)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            if not before:
                writer.writeheader()
            writer.writerow(row)
            line = text.getvalue().encode()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise OutputError(f"{path}: {reason(error, path)}") from error
    return replace(_epoch(row), best=epoch.best, scores=epoch.scores)


def read_epochs(path: Path) -> list[Epoch]:
    """The epochs in log.csv; none when there is no such file. A line that a crash cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_epoch(row) for row in csv.DictReader(file) if None not in row.values()]


def read_log(path: Path, until_step: int) -> list[Epoch]:
    """The epochs in log.csv up to a step; the file is cut there, as a killed run may have logged more than it saved."""
    epochs = [epoch for epoch in read_epochs(path) if epoch.step <= until_step]
    if not epochs:
        path.unlink(missing_ok=True)
        return []
    with path.open(newline="", encoding="utf-8") as file:
        organs = [name[5:] for name in next(csv.reader(file)) if name.startswith("dice_")]
    lines = [epoch.row(organs) for epoch in epochs]
    with writing(path, overwrite=True) as temporary:
        write_csv(temporary, lines[0], (line.values() for line in lines))
    return epochs


def _epoch(row: Mapping[str, str]) -> Epoch:
    dice = {name.removeprefix("dice_"): float(value) for name, value in row.items() if name[:5] == "dice_" and value}
    return Epoch(
        step=int(row["step"]),
        seconds=float(row["seconds"]),
        loss=float(row["loss"]),
        learning_rate=float(row["learning_rate"]),
        dice=dice,
        accuracy=float(row["accuracy"] or "nan"),
        iou=float(row["mean_iou"] or "nan"),
        iou_at_half=float(row.get("iou_at_0.5") or "nan"),
        train=_metrics(row, "train"),
        validation=_metrics(row, "val"),
        digest=row["weights"],
    )


def _metrics(row: Mapping[str, str], side: str) -> PixelMetrics:
    """A side's columns; NaN in logs from before there were any."""
    return PixelMetrics(**{f.name: float(row.get(f"{side}_{f.name}") or "nan") for f in fields(PixelMetrics)})


def _number(value: float) -> str:
    return "" if value != value else f"{value:.4f}"
