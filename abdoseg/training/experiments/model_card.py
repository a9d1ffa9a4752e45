"""Model card: the scores of finished weights by case and organ, and how they were trained."""

from __future__ import annotations

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
from abdoseg.runtime.files import write_csv, write_text, writing
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
class OrganScore:
    """Scores of one organ of one validation case, on the network's grid.

    Attributes:
        nsd: normalised surface distance at the organ's tolerance.
        volume_error: volume predicted over true volume, less 1.
        run: which fold, empty for a run by itself.
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
) -> list[OrganScore]:
    """Scores a weights file on cases of the cache: output organs that are annotated and there."""
    network = to_device(load_model(weights, str(device)).network, device)
    table = channel_table(config.organs)
    rows = []
    for case in cases:
        prepared = cache.by_name[case]
        predicted, truth = predict(network, prepared, config, device).channels, table[prepared.array("labels")]
        for organ in config.output_organs:
            channel = config.organs.index(organ) + 1
            there, found = truth == channel, predicted == channel
            if not is_annotated(prepared, organ) or not there.any():
                continue
            distances = surface_distances(there, found, prepared.spacing_mm)
            both, one, other = (int(mask.sum()) for mask in (there & found, there, found))
            score = OrganScore(
                case=case,
                organ=organ,
                dice=2 * both / (one + other),
                nsd=distances.nsd(BY_NAME[members(organ)[0]].nsd_tolerance_mm),
                hd95_mm=distances.hausdorff(95.0),
                volume_error=other / one - 1,
            )
            rows.append(score)
    return rows


def write_rows(path: Path, rows: Sequence[OrganScore]) -> None:
    """The rows as CSV."""
    texts = ([value if isinstance(value, str) else f"{value:.4f}" for value in astuple(row)] for row in rows)
    with writing(path, overwrite=True) as temporary:
        write_csv(temporary, [f.name for f in fields(OrganScore)], texts)


@dataclass(frozen=True)
class OrganSummary:
    """An organ over the cases that have it: mean Dice and its standard deviation, mean NSD, number of cases."""

    dice: float
    dice_sd: float
    nsd: float
    cases: int


def summarise(rows: Sequence[OrganScore]) -> dict[str, OrganSummary]:
    """Means over the cases, by organ. The standard deviation of a single case is 0."""
    found = {}
    for organ in dict.fromkeys(row.organ for row in rows):
        dice = np.array([row.dice for row in rows if row.organ == organ])
        nsd = np.array([row.nsd for row in rows if row.organ == organ])
        found[organ] = OrganSummary(
            dice=float(dice.mean()),
            dice_sd=float(dice.std(ddof=1)) if len(dice) > 1 else 0.0,
            nsd=float(nsd.mean()),
            cases=len(dice),
        )
    return found


def markdown_table(rows: Sequence[OrganScore]) -> str:
    """Markdown: Dice and NSD, a case a line and an organ a column; the mean and the deviation below."""
    organs = list(dict.fromkeys(row.organ for row in rows))
    if not organs:
        return "No validation case has any of these organs.\n"
    lines = [f"| case | {' | '.join(organs)} |", f"|---|{'---|' * len(organs)}"]
    found = {(row.case, row.organ): row for row in rows}
    for case in dict.fromkeys(row.case for row in rows):
        cells = [found.get((case, organ)) for organ in organs]
        lines.append(f"| {case} | {' | '.join(f'{c.dice:.3f} / {c.nsd:.3f}' if c else '' for c in cells)} |")
    means = summarise(rows)
    lines.append(f"| **mean** | {' | '.join(f'**{means[o].dice:.3f} / {means[o].nsd:.3f}**' for o in organs)} |")
    lines.append(f"| sd of Dice | {' | '.join(f'{means[o].dice_sd:.3f}' for o in organs)} |")
    return "\n".join(lines) + "\n"


def write_card(
    path: Path,
    config: TrainingConfig,
    data: TrainingData,
    split: Split,
    rows: Sequence[OrganScore],
    facts: dict[str, str],
) -> None:
    """Writes the model card: data, terms, recipe, split, seed, scores. facts: further lines, name to value."""
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
        markdown_table(rows),
    ]
    write_text(path, "\n".join(lines))
