"""Whole runs: one training with its outputs, the folds of a cross-validation, a learning curve."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import stdtrit

from abdoseg.runtime.files import writing
from abdoseg.training.data.collect import TrainingData
from abdoseg.training.data.splits import Split, by_fold, subsample
from abdoseg.training.distributed import ALONE, World
from abdoseg.training.experiments.curves import PAPER, SIZE, Curves, Slices, colour_of, draw_panel
from abdoseg.training.experiments.model_card import CARD, Row, assess, summary, table_of, write_card, write_rows
from abdoseg.training.fit import Outcome, Task, Terms, fit
from abdoseg.training.history import LOG_FILE, Watcher
from abdoseg.training.recipes import TrainingConfig

SPLIT = "split.json"


@dataclass(frozen=True)
class Setting:
    """What all runs of one command share. watchers: for a run's folder, who is told how it goes."""

    data: TrainingData
    config: TrainingConfig
    terms: Terms
    command: str
    watchers: Callable[[Path, TrainingConfig], Sequence[Watcher]] = lambda run, config: ()
    world: World = ALONE


@dataclass(frozen=True)
class Result:
    """A run's end: its outcome and, by case and organ, how good the best weights are. Rows only where rank 0 is."""

    outcome: Outcome
    rows: tuple[Row, ...]


def train_once(setting: Setting, split: Split, run: Path) -> Result:
    """One training into `run`: weights, checkpoint, log.csv, pictures, scores.csv and the model card."""
    config, data, world = setting.config, setting.data, setting.world
    watchers: list[Watcher] = []
    if world.leads:
        for name, content in (("recipe.json", config.to_json()), (SPLIT, split.to_json())):
            with writing(run / name, overwrite=True) as path:
                path.write_text(content, encoding="utf-8")
        if not setting.terms.resume:
            (run / LOG_FILE).unlink(missing_ok=True)
        watchers = [Curves(run, config), Slices(run, config, data.cache), *setting.watchers(run, config)]
    weights = {case: weight for case, weight in data.weights.items() if weight != 1.0}
    task = Task(data.cache, split.train, split.validate, weights)
    outcome = fit(task, config, run, setting.terms, watchers, world)
    if not world.leads or outcome.ended == "stopped":
        return Result(outcome, ())
    rows = assess(outcome.weights, config, data.cache, split.validate, setting.terms.device)
    write_rows(run / "scores.csv", rows)
    progress = outcome.progress
    facts = {
        "command": f"`{setting.command}`",
        "trained": f"{progress.step} steps in {progress.seconds / 60:.0f} minutes on {setting.terms.device.type}"
        f"{f', {world.size} processes' if world.size > 1 else ''}; kept: step {progress.best_step}",
        "training data, SHA-256": f"`{data.cache.digest()}`",
    }
    if began_from := progress.extra.get("began_from"):
        facts["began from"] = began_from
    write_card(run / CARD, config, data, split, rows, facts)
    return Result(outcome, tuple(rows))


def cross_validate(setting: Setting, folds: int, run: Path) -> list[Row]:
    """A training a fold into run/foldN; crossvalidation.csv and .md over all cases. Stops where it is told to."""
    rows: list[Row] = []
    for fold in range(1, folds + 1):
        name = f"fold{fold}"
        split = completed(setting.data, by_fold(setting.data.scans(), folds, fold, setting.config.seed))
        result = train_once(setting, split, run / name)
        if result.outcome.ended == "stopped":
            return rows
        rows += [replace(row, run=name) for row in result.rows]
    if setting.world.leads:
        write_rows(run / "crossvalidation.csv", rows)
        title = f"# {folds}-fold cross-validation of {setting.config.recipe}\n\nDice / NSD, every case once.\n\n"
        with writing(run / "crossvalidation.md", overwrite=True) as path:
            path.write_text(title + table_of(rows), encoding="utf-8")
    return rows


def completed(data: TrainingData, split: Split) -> Split:
    """A split of the scans, with all else on its training side (label maps), unless their patient validates."""
    held = {data.patients[case] for case in split.validate}
    train = [case for case, patient in data.patients.items() if patient not in held]
    return replace(split, train=tuple(sorted(train)))


@dataclass(frozen=True)
class Point:
    """Mean Dice of an organ after training on `cases` cases; ci95: half the confidence interval over the seeds."""

    cases: int
    organ: str
    dice: float
    ci95: float
    seeds: int

    @property
    def text(self) -> str:
        """For people: without an interval where there is only one seed."""
        interval = "" if math.isnan(self.ci95) else f" +- {self.ci95:.3f}"
        return f"{self.cases} cases, {self.organ}: Dice {self.dice:.3f}{interval}"


def learning_curve(setting: Setting, split: Split, counts: Sequence[int], seeds: int, run: Path) -> list[Point]:
    """Dice against the number of training cases: a run for each count and seed, the validation cases always the same.

    With one seed the smaller sets lie within the larger; each seed draws its own. Writes learning-curve.csv and .png.
    """
    found: dict[tuple[int, str], list[float]] = {}
    for count in counts:  # before the first run, what the last one would fail for
        subsample(split, setting.data.patients, count, setting.config.seed)
    points: list[Point] = []
    for count in counts:
        for seed in range(seeds):
            config = replace(setting.config, seed=setting.config.seed + seed)
            few = subsample(split, setting.data.patients, count, config.seed)
            result = train_once(replace(setting, config=config), few, run / f"cases{count}-seed{config.seed}")
            if result.outcome.ended == "stopped":
                return []
            for organ, (dice, *_) in summary(result.rows).items():
                found.setdefault((count, organ), []).append(dice)
        points = [Point(count, organ, *interval(values), len(values)) for (count, organ), values in found.items()]
        if setting.world.leads:
            _write_points(run, points)
    return points


def _write_points(run: Path, points: Sequence[Point]) -> None:
    with writing(run / "learning-curve.csv", overwrite=True) as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cases", "organ", "dice", "ci95", "seeds"])
        writer.writerows(
            [p.cases, p.organ, f"{p.dice:.4f}", "" if math.isnan(p.ci95) else f"{p.ci95:.4f}", p.seeds] for p in points
        )
    _draw_points(run / "learning-curve.png", points)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half its 95 percent confidence interval by Student's t; NaN for a single value.

    >>> interval([0.8, 0.9])
    (0.85, 0.63531)
    """
    count = len(values)
    if count < 2:
        return float(values[0]), math.nan
    t = float(stdtrit(count - 1, 0.975))  # scipy.stats, which has the same, takes twice the time to import
    return round(float(np.mean(values)), 6), round(t * float(np.std(values, ddof=1)) / math.sqrt(count), 6)


def _draw_points(path: Path, points: Sequence[Point]) -> None:
    counts = sorted({point.cases for point in points})
    dice = {(point.cases, point.organ): point.dice for point in points}
    organs = dict.fromkeys(point.organ for point in points)
    curves = [(o, colour_of(o), [dice.get((count, o), math.nan) for count in counts]) for o in organs]
    image = Image.new("RGB", (SIZE[0] // 2, SIZE[1]), PAPER)
    draw_panel(image, (0, 0, *image.size), "Dice by number of training cases", counts, curves, (0.0, 1.0), "cases")
    with writing(path, overwrite=True) as temporary:
        image.save(temporary)
