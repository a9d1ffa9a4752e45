"""The live table of a training: epochs, loss, Dice by organ, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from abdoseg.cli.console import Talk

if TYPE_CHECKING:
    from rich.console import Group

    from abdoseg.training.checkpoint import Progress
    from abdoseg.training.history import Epoch

SHOWN = 14  # epochs
SILENCE_S = 20.0  # without a terminal, after so long a step says how far the run is


class LiveTable:
    """A watcher: a table that renews itself on a terminal; elsewhere a line an epoch, and one at least every 30 s."""

    def __init__(self, talk: Talk, organs: Sequence[str]) -> None:
        from rich.live import Live

        self.talk, self.organs = talk, organs
        console = talk.console()
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal and not talk.quiet else None
        self.epochs: Sequence[Epoch] = ()
        self.loss, self.fraction, self.step = float("nan"), 0.0, 0
        self.began = self.refreshed = time.monotonic()
        self.fraction_before = 0.0

    def __enter__(self) -> LiveTable:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def stepped(self, progress: Progress, fraction: float, loss: float) -> None:
        """Shows the step, twice a second at most."""
        if self.step == 0:
            self.fraction_before = self.fraction = fraction
        self.step, self.fraction = progress.step, fraction
        self.loss = loss if self.loss != self.loss else 0.98 * self.loss + 0.02 * loss
        since_s = time.monotonic() - self.refreshed
        if self.live and since_s > 0.5:
            self._refresh()
        elif not self.live and since_s > SILENCE_S:
            self.talk.say(f"step {self.step} loss {self.loss:.4f} {self.fraction:.0%} ({self.remaining()})")
            self.refreshed = time.monotonic()

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """Adds the epoch."""
        self.epochs = epochs
        if self.live:
            self._refresh()
            return
        last = epochs[-1]
        dice = " ".join(f"{organ} {last.dice[organ]:.3f}" for organ in self.organs if organ in last.dice)
        self.talk.say(
            f"epoch {len(epochs)} step {last.step} {last.seconds:.0f} s loss {last.loss:.4f} {dice}"
            f"{' *' if last.best else ''} ({self.remaining()})"
        )
        self.refreshed = time.monotonic()

    def remaining(self) -> str:
        """How long the run still takes at its present pace."""
        done = self.fraction - self.fraction_before
        if done <= 0:
            return "time left unknown"
        seconds = int((time.monotonic() - self.began) * max(0.0, 1 - self.fraction) / done)
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours}h{minutes:02d}m left" if hours else f"{minutes}m{seconds % 60:02d}s left"

    def _refresh(self) -> None:
        self.refreshed = time.monotonic()
        if self.live:
            self.live.update(self._picture(), refresh=True)

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("epoch", "step", "seconds", "loss", *self.organs):
            table.add_column(name, justify="right")
        for number, epoch in list(enumerate(self.epochs, start=1))[-SHOWN:]:
            dice = [f"{epoch.dice[organ]:.3f}" if organ in epoch.dice else "" for organ in self.organs]
            cells = [str(number), str(epoch.step), f"{epoch.seconds:.0f}", f"{epoch.loss:.4f}", *dice]
            table.add_row(*cells, style="bold green" if epoch.best else None)
        bar = ProgressBar(total=1.0, completed=self.fraction, width=40)
        return Group(table, bar, f"step {self.step}  loss {self.loss:.4f}  {self.fraction:.0%}  {self.remaining()}")
