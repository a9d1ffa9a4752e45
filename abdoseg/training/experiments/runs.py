"""Runs: one training with its outputs, cross-validation, learning curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from abdoseg.anatomy.organs import title_of
from abdoseg.errors import DatasetError
from abdoseg.rendering import charts
from abdoseg.runtime.claim import claim
from abdoseg.runtime.files import write_csv, write_text, writing
from abdoseg.training.data.collect import TrainingData
from abdoseg.training.data.splits import Split, by_file, by_fold, subsample
from abdoseg.training.distributed import ALONE, World
from abdoseg.training.experiments.curves import Curves, Slices, colour_of, curve
from abdoseg.training.experiments.model_card import (
    CARD,
    OrganScore,
    assess,
    markdown_table,
    summarise,
    write_card,
    write_rows,
)
from abdoseg.training.fit import CHECKPOINT, FitResult, RunOptions, TrainingSplit, fit
from abdoseg.training.history import Watcher
from abdoseg.training.recipes import TrainingConfig

SPLIT, SCORES = "split.json", "scores.csv"


@dataclass(frozen=True)
class Experiment:
    """What all runs of one command have in common. watchers: makes those of a run in its folder."""

    data: TrainingData
    config: TrainingConfig
    options: RunOptions
    command: str
    watchers: Callable[[Path, TrainingConfig], Sequence[Watcher]] = lambda run, config: ()
    world: World = ALONE


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and the scores of its best weights; rank 0 alone has scores."""

    fit: FitResult
    rows: tuple[OrganScore, ...]


def train_once(experiment: Experiment, split: Split, run: Path) -> RunResult:
    """One training into `run`: weights, checkpoint, log.csv, pictures, scores.csv and the model card.

    Raises OutputError when another process trains there; otherwise see `fit`.
    """
    with claim(run) if experiment.world.leads else nullcontext():
        return _train_once(experiment, split, run)


def _train_once(experiment: Experiment, split: Split, run: Path) -> RunResult:
    config, data, world = experiment.config, experiment.data, experiment.world
    watchers: list[Watcher] = []
    if world.leads:
        for name, content in (("recipe.json", config.to_json()), (SPLIT, split.to_json())):
            write_text(run / name, content)
        watchers = [Curves(run, config), Slices(run, config, data.cache), *experiment.watchers(run, config)]
    weights = {case: weight for case, weight in data.weights.items() if weight != 1.0}
    training = TrainingSplit(data.cache, split.train, split.validate, weights)
    trained = fit(training, config, run, experiment.options, watchers, world)
    if not world.leads or trained.ended == "stopped":
        return RunResult(trained, ())
    rows = assess(trained.weights, config, data.cache, split.validate, experiment.options.device)
    write_rows(run / SCORES, rows)
    progress = trained.progress
    facts = {
        "command": f"`{experiment.command}`",
        "trained": f"{progress.step} steps in {progress.seconds / 60:.0f} minutes on {experiment.options.device.type}"
        f"{f', {world.size} processes' if world.size > 1 else ''}; kept: step {progress.best_step}",
        "training data, SHA-256": f"`{data.cache.digest()}`",
    }
    if warm_start := progress.extra.get("warm_start"):
        facts["began from"] = warm_start
    if encoder := progress.extra.get("encoder_weights"):
        facts["encoder began from"] = encoder
    write_card(run / CARD, config, data, split, rows, facts)
    return RunResult(trained, tuple(rows))


def cross_validate(experiment: Experiment, folds: int, run: Path) -> list[OrganScore]:
    """A training a fold into run/foldN; crossvalidation.csv and .md over all cases. Stops where it is told to.

    Raises DatasetError when a fold was begun with other cases: one that trained before might validate now.
    """
    scans, data = experiment.data.scans(), experiment.data
    splits = {
        f"fold{fold}": completed(data, by_fold(scans, folds, fold, experiment.config.seed))
        for fold in range(1, folds + 1)
    }
    if not experiment.options.resume:
        if experiment.world.leads:
            forget_runs(run / name for name in splits)
    else:
        for name, split in splits.items():
            if (run / name / SPLIT).is_file() and by_file(scans, run / name / SPLIT).validate != split.validate:
                raise DatasetError(
                    f"{run / name}: began with other cases, and each would validate in another fold now; give the data "
                    "that it began with, or name another folder with -o"
                )
    rows: list[OrganScore] = []
    for name, split in splits.items():
        result = train_once(experiment, split, run / name)
        if result.fit.ended == "stopped":
            return rows
        rows += [replace(row, run=name) for row in result.rows]
    if experiment.world.leads:
        write_rows(run / "crossvalidation.csv", rows)
        title = f"# {folds}-fold cross-validation of {experiment.config.recipe}\n\nDice / NSD, every case once.\n\n"
        write_text(run / "crossvalidation.md", title + markdown_table(rows))
    return rows


def forget_runs(folders: Iterable[Path]) -> None:
    """Removes what --resume would go on from or take for finished, of former runs that are begun anew.

    Raises OutputError when another process trains in one of them.
    """
    for folder in folders:
        if (folder / CHECKPOINT).is_file():
            with claim(folder):
                for name in (CHECKPOINT, SCORES):
                    (folder / name).unlink(missing_ok=True)


def completed(data: TrainingData, split: Split) -> Split:
    """A split of the scans, with all else on its training side (label maps), unless their patient validates."""
    held = {data.patients[case] for case in split.validate}
    train = [case for case, patient in data.patients.items() if patient not in held]
    return replace(split, train=tuple(sorted(train)))


@dataclass(frozen=True)
class Point:
    """Mean Dice of an organ after training on `cases` cases. ci95: half the confidence interval over the seeds."""

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


def learning_curve(experiment: Experiment, split: Split, counts: Sequence[int], seeds: int, run: Path) -> list[Point]:
    """Dice against the number of training cases: a run for each count and seed, the validation cases always the same.

    With one seed the smaller sets lie within the larger; each seed draws its own. Writes learning-curve.csv and .svg.
    """
    found: dict[tuple[int, str], list[float]] = {}
    for count in counts:  # before the first run, what the last one would fail for
        subsample(split, experiment.data.patients, count, experiment.config.seed)
    if experiment.world.leads and not experiment.options.resume:
        forget_runs(run.glob("cases*-seed*"))
    points: list[Point] = []
    for count in counts:
        for seed in range(seeds):
            config = replace(experiment.config, seed=experiment.config.seed + seed)
            few = subsample(split, experiment.data.patients, count, config.seed)
            result = train_once(replace(experiment, config=config), few, run / f"cases{count}-seed{config.seed}")
            if result.fit.ended == "stopped":
                return []
            for organ, mean in summarise(result.rows).items():
                found.setdefault((count, organ), []).append(mean.dice)
        points = [Point(count, organ, *interval(values), len(values)) for (count, organ), values in found.items()]
        if experiment.world.leads:
            _write_points(run, points)
    return points


def _write_points(run: Path, points: Sequence[Point]) -> None:
    rows = ([p.cases, p.organ, f"{p.dice:.4f}", "" if math.isnan(p.ci95) else f"{p.ci95:.4f}", p.seeds] for p in points)
    with writing(run / "learning-curve.csv", overwrite=True) as path:
        write_csv(path, ["cases", "organ", "dice", "ci95", "seeds"], rows)
    _draw_points(run / "learning-curve.svg", points)


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
    curves = [
        curve(title_of(organ), colour_of(organ), counts, [dice.get((count, organ), math.nan) for count in counts])
        for organ in organs
    ]
    chart = charts.line_chart(curves, "Dice by number of training cases", "cases", "Dice", (0.0, 1.0))
    write_text(path, charts.svg_file([chart]))
