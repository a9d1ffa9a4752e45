"""Pictures of a run: curves of loss and Dice as SVG, contact sheets of its data and of validation cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from abdoseg.anatomy.organs import BY_NAME, ORGANS, title_of
from abdoseg.image.volume import Array, Geometry, Labelmap, Stored, Volume
from abdoseg.model.plan import members
from abdoseg.rendering import SliceStyle, charts, preview
from abdoseg.rendering.html import hex_colour
from abdoseg.runtime.files import ensure_writable, write_text, writing
from abdoseg.training.augment.sampler import channel_table
from abdoseg.training.data.cache import Cache, PreparedCase
from abdoseg.training.history import Epoch, Watcher
from abdoseg.training.pixel_metrics import PixelMetrics
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.validation import CaseScore

SHOWN = 4  # validation cases
LOSS_COLOUR, VALIDATION_COLOUR = (110, 120, 136), (200, 90, 40)
METRIC_COLOURS = {
    "accuracy": (110, 120, 136), "jaccard": (66, 133, 190), "precision": (46, 150, 90), "recall": (200, 90, 40),
    "dice": (130, 80, 170),
}  # fmt: skip


class Curves(Watcher):
    """Rewrites curves.svg (loss, Dice by organ) and metrics.svg (pixel metrics) after each epoch."""

    def __init__(self, run: Path, config: TrainingConfig) -> None:
        self.run, self.config = run, config

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """Draws all epochs so far."""
        steps = [epoch.step for epoch in epochs]
        loss = [
            curve("training", LOSS_COLOUR, steps, [epoch.loss for epoch in epochs]),
            curve("validation", VALIDATION_COLOUR, steps, [epoch.validation.loss for epoch in epochs]),
        ]
        dice = [
            curve(title_of(organ), colour_of(organ), steps, [epoch.dice.get(organ, math.nan) for epoch in epochs])
            for organ in self.config.output_organs
        ]
        drawn = [
            charts.line_chart(loss, "Loss", "step", "loss"),
            charts.line_chart(dice, "Dice, validation cases", "step", "Dice", (0.0, 1.0)),
        ]
        metrics = [
            _metrics_chart("Pixel metrics, training patches", steps, [epoch.train for epoch in epochs]),
            _metrics_chart("Pixel metrics, validation cases", steps, [epoch.validation for epoch in epochs]),
        ]
        for name, side_by_side in (("curves.svg", drawn), ("metrics.svg", metrics)):
            write_text(self.run / name, charts.svg_file(side_by_side))


def _metrics_chart(title: str, steps: Sequence[int], metrics: Sequence[PixelMetrics]) -> Markup:
    curves = [
        curve(name, colour, steps, [getattr(one, name) for one in metrics]) for name, colour in METRIC_COLOURS.items()
    ]
    return charts.line_chart(curves, title, "step", "", (0.0, 1.0))


class Slices(Watcher):
    """Rewrites validation/CASE.png whenever the weights are the best so far; the truth is outlined in white."""

    def __init__(self, run: Path, config: TrainingConfig, cache: Cache) -> None:
        self.folder, self.config, self.cache = run / "validation", config, cache
        if self.folder.is_dir():
            ensure_writable(self.folder)

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """Draws the first validation cases."""
        if epochs[-1].best:
            for score in epochs[-1].scores[:SHOWN]:
                with writing(self.folder / f"{score.case}.png", overwrite=True) as path:
                    draw_case(score, self.cache.by_name[score.case], self.config).save(path)


def draw_case(score: CaseScore, prepared: PreparedCase, config: TrainingConfig) -> Image.Image:
    """A contact sheet of a validation case on the network's grid."""
    geometry = Geometry(prepared.shape, np.diag([*prepared.spacing_mm, 1.0]))
    numbers = np.array([0, *(BY_NAME[members(organ)[0]].label for organ in config.organs)], np.uint8)
    shown = {BY_NAME[members(o)[0]].label: members(o)[0] for o in config.output_organs}
    kept = np.isin(numbers, list(shown))
    truth = channel_table(config.organs)[prepared.array("labels")]

    def labelmap(channels: Array) -> Labelmap:
        return Labelmap((numbers * kept)[channels].astype(np.uint8), geometry, Stored(geometry), shown)

    volume = Volume(np.array(prepared.array("image")), geometry, Stored(geometry))
    return preview(volume, labelmap(score.predicted), labelmap(truth))


def draw_labels(prepared: PreparedCase) -> Image.Image:
    """A contact sheet of a prepared case: all its labels as contours on its image, or on a dark ground without one."""
    geometry = Geometry(prepared.shape, np.diag([*prepared.spacing_mm, 1.0]))
    stored = Stored(geometry)
    volume = Volume(np.array(prepared.array("image")), geometry, stored) if prepared.has_image else None
    organs = {organ.label: organ.name for organ in ORGANS}
    labels = np.array(prepared.array("labels"))
    return preview(volume, Labelmap(labels, geometry, stored, organs), style=SliceStyle(overlay="contour"))


def colour_of(organ: str) -> tuple[int, int, int]:
    """The organ's colour; of a group, its first organ's."""
    return BY_NAME[members(organ)[0]].colour


def curve(name: str, colour: tuple[int, int, int], x: Sequence[float], y: Sequence[float]) -> charts.Series:
    """y over x as a chart has it."""
    points = tuple(charts.DataPoint(value, name, place) for place, value in zip(x, y, strict=True))
    return charts.Series(name, hex_colour(colour), points)
