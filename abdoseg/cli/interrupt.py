"""Ctrl-C and SIGTERM as a question that long work asks between its steps: shall I stop?"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from abdoseg.cli.console import Talk


@contextmanager
def stop_on_signals(talk: Talk, advice: str) -> Iterator[Callable[[], bool]]:
    """Gives what tells whether a signal came; the first one only says `advice`, a second Ctrl-C ends all at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        talk.say(advice)

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
