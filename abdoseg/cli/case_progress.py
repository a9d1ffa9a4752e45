"""Progress over many cases: a bar that says "12 of 300, 4 min left", or JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import click

from abdoseg.cli.console import Talk, duration

if TYPE_CHECKING:
    from rich.progress import Progress

Form = Literal["auto", "json", "none"]


class CaseProgress:
    """Counts the cases of a run on stderr. form: auto is a bar, where there is a terminal and more than one case."""

    def __init__(self, total: int, form: Form, talk: Talk) -> None:
        self.total, self.form = total, form
        self.done = self.failed = 0
        self.began = time.monotonic()
        self._bar: Progress | None = None
        if form == "auto" and total > 1 and not talk.quiet and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(),
                console=talk.console(soft_wrap=True), transient=True, redirect_stdout=sys.stdout.isatty(),
            )  # fmt: skip
            self._task = self._bar.add_task(self.text(), total=total)

    def __enter__(self) -> CaseProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, case: str, failed: bool) -> None:
        """Counts a case that has ended."""
        self.done += 1
        self.failed += failed
        if self._bar:
            self._bar.update(self._task, completed=self.done, description=self.text())
        if self.form == "json":
            left = self.seconds_left()
            event = {"event": "case", "case": case, "failed": failed, "done": self.done, "of": self.total,
                     "failures": self.failed, "seconds_left": left if left is None else round(left, 1)}  # fmt: skip
            click.echo(json.dumps(event), err=True)

    def seconds_left(self) -> float | None:
        """At the pace so far; None before the first case has ended."""
        if not self.done:
            return None
        return (time.monotonic() - self.began) / self.done * (self.total - self.done)

    def text(self) -> str:
        """Where the run is, for people."""
        left, failed = self.seconds_left(), f", {self.failed} failed" if self.failed else ""
        return f"{self.done} of {self.total}{failed}" + ("" if left is None else f", {duration(left)} left")
