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
            _put(message, err=True)

    def warn(self, message: str) -> None:
        """Something the user should look at; the run goes on."""
        if not self.quiet:
            _put(f"warning: {message}", err=True)

    def error(self, message: str) -> None:
        """What failed. Said even when quiet."""
        _put(f"error: {message}", err=True)

    def trace(self, text: str) -> None:
        """Where a bug is. Said even when quiet."""
        _put(text.rstrip("\n"), err=True)

    def console(self, soft_wrap: bool = False) -> Console:
        """The rich console on stderr, for tables and live views. soft_wrap: long lines are the terminal's to break."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet, soft_wrap=soft_wrap)

    def track(self, items: Sequence[T], label: str) -> Iterable[T]:
        """Iterates with a progress bar on a terminal, silently elsewhere. See abdoseg.runtime.progress.Track."""
        if self.quiet or not sys.stderr.isatty():
            return items
        return self._bar(items, label)

    def _bar(self, items: Sequence[T], label: str) -> Iterator[T]:
        from rich.progress import track

        yield from track(items, description=label, console=self.console(soft_wrap=True), transient=True)


def echo_data(line: object) -> None:
    """A line on stdout, above a bar where one is shown."""
    _put(str(line), err=False)


def _put(line: str, err: bool) -> None:
    """A line on stderr or stdout, through rich's own stream while it shows a bar: click would write into the bar."""
    stream = sys.stderr if err else sys.stdout
    shown = hasattr(stream, "rich_proxied_file") and stream.isatty()
    click.echo(line, file=stream if shown else None, err=err)


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
