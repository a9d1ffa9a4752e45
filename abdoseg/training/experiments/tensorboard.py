"""TensorBoard events of a run, where tensorboard is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from abdoseg.training.checkpoint import Progress
from abdoseg.training.history import Epoch, Watcher


def is_available() -> bool:
    """Whether tensorboard is installed; it is optional."""
    return find_spec("tensorboard") is not None


class Events(Watcher):
    """Writes loss, learning rate, pixel metrics and Dice by organ into the run's folder, for `tensorboard --logdir`."""

    def __init__(self, run: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run / "events"))

    def stepped(self, progress: Progress, fraction: float, loss: float) -> None:
        """The loss of each step."""
        self.writer.add_scalar("loss/step", loss, progress.step)

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """The epoch's means."""
        last = epochs[-1]
        self.writer.add_scalar("loss/epoch", last.loss, last.step)
        self.writer.add_scalar("learning_rate", last.learning_rate, last.step)
        for name, value in (("accuracy", last.accuracy), ("mean_iou", last.iou), ("iou_at_0.5", last.iou_at_half)):
            self.writer.add_scalar(f"validation/{name}", value, last.step)
        for side, metrics in (("train", last.train), ("val", last.validation)):
            for name, value in vars(metrics).items():
                self.writer.add_scalar(f"{name}/{side}", value, last.step)
        for organ, dice in last.dice.items():
            self.writer.add_scalar(f"dice/{organ}", dice, last.step)
        self.writer.flush()
