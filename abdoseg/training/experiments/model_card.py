"""How good finished weights are, case by case, and the model card that says so."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.metrics import surface_distances
from abdoseg.model.device import to_device
from abdoseg.model.plan import members
from abdoseg.model.weights import load_model
from abdoseg.runtime.files import writing
from abdoseg.training.augment.sampler import channel_table, is_annotated
from abdoseg.training.data.cache import Cache
from abdoseg.training.data.collect import TrainingData
from abdoseg.training.data.splits import Split
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.validation import predict

CARD = "MODEL_CARD.md"
TERMS = (
    "The weights are under the terms of the data that they were trained on: look them up before passing them on. "
    "FLARE22, KiTS and 3D-IRCADb, for instance, forbid commercial use."
)


@dataclass(frozen=True)
class Row:
    """One organ of one validation case, on the network's grid. nsd: at the organ's tolerance.

    volume_error: prediction over truth, less 1. run: which fold or trial, empty for a run by itself.
    """

    case: str
    organ: str
    dice: float
    nsd: float
    hd95_mm: float
    volume_error: float
    run: str = ""


def assess(
    weights: Path, config: TrainingConfig, cache: Cache, cases: Sequence[str], device: torch.device
) -> list[Row]:
    """Scores a weights file on cases of the cache: output organs that are annotated and there."""
    network = to_device(load_model(weights, str(device)).network, device)
    table = channel_table(config.organs)
    rows = []
    for case in cases:
        prepared = cache.by_name[case]
        guess, truth = predict(network, prepared, config, device).channels, table[prepared.array("labels")]
        for organ in config.output_organs:
            channel = config.organs.index(organ) + 1
            there, found = truth == channel, guess == channel
            if not is_annotated(prepared, organ) or not there.any():
                continue
            distances = surface_distances(there, found, prepared.spacing_mm)
            tolerance_mm = BY_NAME[members(organ)[0]].nsd_tolerance_mm
            both, one, other = (int(mask.sum()) for mask in (there & found, there, found))
            rows.append(
                Row(case, organ, 2 * both / (one + other), distances.nsd(tolerance_mm), distances.hausdorff(95.0),
                    other / one - 1)
            )  # fmt: skip
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """The rows as CSV."""
    with writing(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f.name for f in fields(Row)])
        for row in rows:
            writer.writerow([value if isinstance(value, str) else f"{value:.4f}" for value in astuple(row)])


def summary(rows: Sequence[Row]) -> dict[str, tuple[float, float, float, int]]:
    """By organ: mean Dice, its standard deviation over cases, mean NSD, and the number of cases."""
    found = {}
    for organ in dict.fromkeys(row.organ for row in rows):
        dice = np.array([row.dice for row in rows if row.organ == organ])
        nsd = np.array([row.nsd for row in rows if row.organ == organ])
        deviation = float(dice.std(ddof=1)) if len(dice) > 1 else 0.0
        found[organ] = float(dice.mean()), deviation, float(nsd.mean()), len(dice)
    return found


def table_of(rows: Sequence[Row]) -> str:
    """Markdown: Dice and NSD, a case a line and an organ a column; the mean and the deviation below."""
    organs = list(dict.fromkeys(row.organ for row in rows))
    if not organs:
        return "No validation case has any of these organs.\n"
    lines = [f"| case | {' | '.join(organs)} |", f"|---|{'---|' * len(organs)}"]
    found = {(row.case, row.organ): row for row in rows}
    for case in dict.fromkeys(row.case for row in rows):
        cells = [found.get((case, organ)) for organ in organs]
        lines.append(f"| {case} | {' | '.join(f'{c.dice:.3f} / {c.nsd:.3f}' if c else '' for c in cells)} |")
    means = summary(rows)
    lines.append(f"| **mean** | {' | '.join(f'**{means[o][0]:.3f} / {means[o][2]:.3f}**' for o in organs)} |")
    lines.append(f"| sd of Dice | {' | '.join(f'{means[o][1]:.3f}' for o in organs)} |")
    return "\n".join(lines) + "\n"


def write_card(
    path: Path,
    config: TrainingConfig,
    data: TrainingData,
    split: Split,
    rows: Sequence[Row],
    facts: dict[str, str],
) -> None:
    """The model card: data, terms, recipe, split, seed, what was reached. facts: further lines, name and value."""
    grid = f"{' x '.join(f'{s:g}' for s in config.spacing_mm)} mm" if config.spacing_mm else "whole scans"
    tolerances = ", ".join(f"{o} {BY_NAME[members(o)[0]].nsd_tolerance_mm:g} mm" for o in config.output_organs)
    lines = [
        f"# Model card: {config.recipe}",
        "",
        f"Finds {', '.join(config.output_organs)} in CT of the abdomen. For research; no medical device.",
        "",
        "## How it was made",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- recipe: `{config.recipe}`, seed {config.seed}, on a grid of {grid}; all fields in recipe.json",
        f"- learnt: {', '.join(config.organs)}",
        "",
        "## Data",
        "",
        *(f"- {line}" for line in data.datasets),
        f"- {len(split.train)} cases for training: {', '.join(split.train)}",
        f"- {len(split.validate)} for validation ({split.how}): {', '.join(split.validate) or 'none'}",
        *(f"- left out: {what} ({why})" for what, why in data.left_out),
        "",
        TERMS,
        "",
        "## What it reaches on the validation cases",
        "",
        f"Dice / NSD ({tolerances}) on the network's grid, without postprocessing.",
        "The best epoch was chosen on the same cases, so that unseen scans may do worse.",
        "",
        table_of(rows),
    ]
    with writing(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
