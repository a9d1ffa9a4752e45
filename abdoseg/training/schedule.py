"""Learning rate schedule, limits of a run, and its progress by steps or by the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from abdoseg.training.checkpoint import Progress
from abdoseg.training.recipes import TrainingConfig

TRAINED_PER_VALIDATED = 9  # under a time budget, training takes at least so many times as long as validation


@dataclass(frozen=True)
class RunLimits:
    """When a run ends before its recipe's last epoch.

    Attributes:
        time_budget_s: seconds of the whole run, all its sittings; the learning rate then follows the clock.
        early_stopping: epochs without a better validation after which the run ends.
        stop: called after each step, whether to end.
    """

    time_budget_s: float | None = None
    early_stopping: int | None = None
    stop: Callable[[], bool] = lambda: False


def learning_rate(config: TrainingConfig, step: int, fraction: float) -> float:
    """The learning rate of a step, counted from 0. fraction: of the run that is done, by steps or by time."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay: float = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))),
        "poly": max(0.0, 1 - fraction) ** 0.9,
    }[config.schedule]
    return config.learning_rate * warmup * decay


class RunClock:
    """A run's progress, by steps, or by the clock under a time budget.

    Under a budget, time is kept for the last validation and for the report, which takes about as long; validations
    that would follow one another too soon are left out, so that short epochs leave time to train.

    Args:
        progress: where the run is; its step and seconds are kept up to date.
        steps: of the whole run.
        budget_s: seconds of the whole run, validations and all sittings; None: it takes `steps`.
    """

    def __init__(self, progress: Progress, steps: int, budget_s: float | None) -> None:
        self.progress, self.steps, self.budget_s = progress, steps, budget_s
        self.offset_s = progress.seconds - time.monotonic()

    def fraction(self) -> float:
        """How much of the run is done: 1 or more at its end."""
        if self.budget_s is None:
            return self.progress.step / self.steps
        return self.progress.seconds / max(1e-3, self.budget_s - 2 * self.progress.validation_s)

    def count_step(self) -> None:
        """Counts a step that is done."""
        self.progress.step += 1
        self.progress.seconds = self.offset_s + time.monotonic()

    def is_too_soon(self) -> bool:
        """Whether the last validation was too short a time ago for another."""
        since_s = self.progress.seconds - self.progress.validated_s
        return self.budget_s is not None and since_s < TRAINED_PER_VALIDATED * self.progress.validation_s

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Measures how long the block takes."""
        began_s = self.offset_s + time.monotonic()
        yield
        self.progress.seconds = self.progress.validated_s = self.offset_s + time.monotonic()
        self.progress.validation_s = self.progress.seconds - began_s
