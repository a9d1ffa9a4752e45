"""Messages, progress bars and tables on stderr, the talk of every command; stdout belongs to data."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class Talk:
    """Speaks on stderr: plain lines, or a rich bar on a terminal; nothing but errors when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        handler = _Handler(self)
        logger = logging.getLogger("abdoseg")
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def say(self, message: str) -> None:
        """One line of news."""
        if not self.quiet:
            click.echo(message, err=True)

    def warn(self, message: str) -> None:
        """Something the user should look at; the run goes on."""
        if not self.quiet:
            click.echo(f"warning: {message}", err=True)

    def error(self, message: str) -> None:
        """What failed. Said even when quiet."""
        click.echo(f"error: {message}", err=True)

    def trace(self, text: str) -> None:
        """Where a bug is. Said even when quiet."""
        click.echo(text, err=True, nl=False)

    def console(self) -> Console:
        """The rich console on stderr, for tables and live views."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet)

    def track(self, items: Sequence[T], label: str) -> Iterable[T]:
        """Iterates with a progress bar on a terminal, silently elsewhere. See abdoseg.runtime.progress.Track."""
        if self.quiet or not sys.stderr.isatty():
            return items
        return self._bar(items, label)

    def _bar(self, items: Sequence[T], label: str) -> Iterator[T]:
        from rich.progress import track

        yield from track(items, description=label, console=self.console(), transient=True)


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 4 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Handler(logging.Handler):
    """The library's log records, said as talk."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self.talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        speak: Callable[[str], None] = self.talk.warn if record.levelno >= logging.WARNING else self.talk.say
        speak(record.getMessage())
        if record.exc_info:
            self.talk.trace("".join(traceback.format_exception(*record.exc_info)))
