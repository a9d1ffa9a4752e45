"""How far a run is, by steps or by the clock, and when it is time to validate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from abdoseg.training.checkpoint import Progress

SELDOM = 9  # by the clock, training takes at least so many times as long as validating


class Pace:
    """A run's measure of time. budget_s: the whole run's, validations and all its sittings; None: it takes `steps`.

    Under a budget, time is kept for the last validation and for the report, which takes about as long; and validations
    that are too near are left out, so that short epochs leave time to train.
    """

    def __init__(self, progress: Progress, steps: int, budget_s: float | None) -> None:
        self.progress, self.steps, self.budget_s = progress, steps, budget_s
        self.offset_s = progress.seconds - time.monotonic()

    def share(self) -> float:
        """How much of the run is done: 1 or more at its end."""
        if self.budget_s is None:
            return self.progress.step / self.steps
        return self.progress.seconds / max(1e-3, self.budget_s - 2 * self.progress.validation_s)

    def stepped(self) -> None:
        """Another step is done."""
        self.progress.step += 1
        self.progress.seconds = self.offset_s + time.monotonic()

    def too_soon(self) -> bool:
        """Whether the last validation is too near for another."""
        apart_s = self.progress.seconds - self.progress.validated_s
        return self.budget_s is not None and apart_s < SELDOM * self.progress.validation_s

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Counts how long the block takes."""
        began_s = self.offset_s + time.monotonic()
        yield
        self.progress.seconds = self.progress.validated_s = self.offset_s + time.monotonic()
        self.progress.validation_s = self.progress.seconds - began_s
