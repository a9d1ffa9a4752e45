"""Interrupts: Ctrl-C and SIGTERM let long work end after its present step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from abdoseg.cli.console import Talk


@contextmanager
def stop_on_signals(talk: Talk, advice: str) -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether a signal came. The first only says `advice`, a second Ctrl-C ends at once."""
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        talk.say(advice)

    former = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
