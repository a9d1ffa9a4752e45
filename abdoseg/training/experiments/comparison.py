"""Comparison of recipes that were trained on one split: a table as text, CSV and an HTML page with curves."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from markupsafe import Markup

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.model.plan import members
from abdoseg.rendering import charts
from abdoseg.rendering.html import render_page
from abdoseg.runtime.files import write_csv, write_text, writing
from abdoseg.training.experiments.curves import curve
from abdoseg.training.history import LOG_FILE, Epoch, read_epochs
from abdoseg.training.recipes import from_json

COMPARISON = "comparison"
PALETTE = ((66, 133, 190), (200, 90, 40), (46, 150, 90), (130, 80, 170), (190, 150, 30), (90, 100, 115))
METRICS = ("loss", "accuracy", "jaccard", "precision", "recall", "dice")


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe's run reached.

    Attributes:
        steps, seconds: of the whole run.
        megavoxels: millions of voxels that it trained on.
        dice: by organ, of scores.csv: the mean over the validation cases, on the recipe's own grid, by the best
            weights. A group's Dice is that of each of its organs.
        epochs: of log.csv; best: the one whose weights were kept.
    """

    recipe: str
    steps: int
    seconds: float
    megavoxels: float
    dice: dict[str, float]
    epochs: tuple[Epoch, ...]
    best: Epoch


def read_result(run: Path) -> RecipeResult:
    """The result of a finished run."""
    config = from_json((run / "recipe.json").read_text(encoding="utf-8"))
    epochs = tuple(read_epochs(run / LOG_FILE))
    found = defaultdict(list)
    with (run / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for organ in members(row["organ"]):
                found[organ].append(float(row["dice"]))
    voxels = (math.prod(config.zoom_and_patch(step)[1]) for step in range(epochs[-1].step))
    return RecipeResult(
        recipe=config.recipe,
        steps=epochs[-1].step,
        seconds=epochs[-1].seconds,
        megavoxels=config.batch * sum(voxels) / 1e6,
        dice={organ: mean(values) for organ, values in found.items()},
        epochs=epochs,
        best=max(epochs, key=lambda epoch: _mean_dice(epoch, config.output_organs)),
    )


def _mean_dice(epoch: Epoch, organs: Sequence[str]) -> float:
    """Of the organs that were measured; below all others where none was."""
    return mean([epoch.dice[organ] for organ in organs if organ in epoch.dice] or [-1.0])


def columns(results: Sequence[RecipeResult]) -> list[str]:
    """Of the table: the recipe, its work, Dice by organ, and the metrics of training and validation."""
    organs = [organ for organ in BY_NAME if any(organ in result.dice for result in results)]
    metrics = [f"{side}_{name}" for side in ("train", "val") for name in METRICS]
    return ["recipe", "steps", "minutes", "s_per_megavoxel", *(f"dice_{o}" for o in organs), "mean_dice", *metrics]


def values(result: RecipeResult, names: Sequence[str]) -> list[str | float]:
    """A recipe's row. mean_dice: over the organs that it has; NaN where there is nothing."""
    row: dict[str, str | float] = {
        "recipe": result.recipe,
        "steps": result.steps,
        "minutes": result.seconds / 60,
        "s_per_megavoxel": result.seconds / result.megavoxels if result.megavoxels else math.nan,
        "mean_dice": mean(result.dice.values()) if result.dice else math.nan,
        **{f"dice_{organ}": dice for organ, dice in result.dice.items()},
        **{f"train_{name}": getattr(result.best.train, name) for name in METRICS},
        **{f"val_{name}": getattr(result.best.validation, name) for name in METRICS},
    }
    return [row.get(name, math.nan) for name in names]


def text_table(results: Sequence[RecipeResult]) -> str:
    """Markdown, a recipe a line."""
    names = columns(results)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(value) for value in values(result, names))} |" for result in results]
    return "\n".join(lines) + "\n"


def write_comparison(folder: Path, results: Sequence[RecipeResult], command: str) -> None:
    """Writes comparison.csv, .md and .html."""
    names = columns(results)
    with writing(folder / f"{COMPARISON}.csv", overwrite=True) as path:
        write_csv(path, names, ([_cell(value) for value in values(result, names)] for result in results))
    write_text(folder / f"{COMPARISON}.md", text_table(results))
    page = render_page(
        "comparison.html",
        "Comparison of recipes",
        lead=f"{len(results)} recipes on the same cases, one after another",
        foot=command,
        headers=names,
        rows=[values(result, names) for result in results],
        charts=[
            _chart(results, "Training loss", lambda epoch: epoch.loss),
            _chart(results, "Validation loss", lambda epoch: epoch.validation.loss),
            _chart(results, "Dice, validation cases", lambda epoch: epoch.validation.dice, (0.0, 1.0)),
            _chart(results, "Jaccard, validation cases", lambda epoch: epoch.validation.jaccard, (0.0, 1.0)),
        ],
    )
    write_text(folder / f"{COMPARISON}.html", page)


def _chart(
    results: Sequence[RecipeResult],
    title: str,
    of: Callable[[Epoch], float],
    limits: tuple[float, float] | None = None,
) -> Markup:
    """A value over the minutes of each run."""
    curves = [
        curve(
            result.recipe,
            PALETTE[number % len(PALETTE)],
            [epoch.seconds / 60 for epoch in result.epochs],
            [of(epoch) for epoch in result.epochs],
        )
        for number, result in enumerate(results)
    ]
    return charts.line_chart(curves, title, "minutes", "", limits)


def _cell(value: str | float) -> str:
    if isinstance(value, str | int):
        return str(value)
    return "" if value != value else f"{value:.3f}"
