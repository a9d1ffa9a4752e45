"""Pictures of a run, drawn with Pillow: curves of loss and Dice, and validation cases with their contours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.image.volume import Array, Geometry, Labelmap, Stored, Volume
from abdoseg.model.plan import members
from abdoseg.rendering import preview
from abdoseg.runtime.files import writing
from abdoseg.training.augment.sampler import channel_table
from abdoseg.training.checkpoint import Progress
from abdoseg.training.data.cache import Cache, PreparedCase
from abdoseg.training.history import Epoch
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.validation import CaseScore

SIZE = (1280, 560)
MARGIN = (64, 36, 30, 48)  # left, top, right, bottom of each panel
PAPER, INK, PALE = (255, 255, 255), (40, 44, 52), (222, 226, 232)
SHOWN = 4  # validation cases
Curve = tuple[str, tuple[int, int, int], list[float]]


class Curves:
    """Rewrites curves.png after each epoch: loss on the left, Dice by organ on the right."""

    def __init__(self, run: Path, config: TrainingConfig) -> None:
        self.run, self.config = run, config

    def stepped(self, progress: Progress, fraction: float, loss: float) -> None:
        """Nothing to draw within an epoch."""

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """Draws all epochs so far."""
        organs = self.config.output_organs
        dice = [(o, colour_of(o), [epoch.dice.get(o, math.nan) for epoch in epochs]) for o in organs]
        image = Image.new("RGB", SIZE, PAPER)
        steps = [epoch.step for epoch in epochs]
        loss: list[Curve] = [("loss", INK, [epoch.loss for epoch in epochs])]
        draw_panel(image, (0, 0, SIZE[0] // 2, SIZE[1]), "training loss", steps, loss, None)
        draw_panel(image, (SIZE[0] // 2, 0, *SIZE), "Dice, validation cases", steps, dice, (0.0, 1.0))
        with writing(self.run / "curves.png", overwrite=True) as path:
            image.save(path)


class Slices:
    """Rewrites validation/CASE.png whenever the weights are the best so far; the truth is outlined in white."""

    def __init__(self, run: Path, config: TrainingConfig, cache: Cache) -> None:
        self.run, self.config, self.cache = run, config, cache

    def stepped(self, progress: Progress, fraction: float, loss: float) -> None:
        """Nothing to draw within an epoch."""

    def epoch_done(self, epochs: Sequence[Epoch]) -> None:
        """Draws the first validation cases."""
        if epochs[-1].best:
            for score in epochs[-1].scores[:SHOWN]:
                with writing(self.run / "validation" / f"{score.case}.png", overwrite=True) as path:
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


def colour_of(organ: str) -> tuple[int, int, int]:
    """The organ's colour; of a group, its first organ's."""
    return BY_NAME[members(organ)[0]].colour


def draw_panel(
    image: Image.Image,
    box: tuple[int, int, int, int],
    title: str,
    steps: Sequence[float],
    curves: Sequence[Curve],
    bounds: tuple[float, float] | None,
    across: str = "step",
) -> None:
    """Draws curves over steps into `box` (left, top, right, bottom). bounds: of the vertical axis, None fits it."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    left, top, right, bottom = box[0] + MARGIN[0], box[1] + MARGIN[1], box[2] - MARGIN[2], box[3] - MARGIN[3]
    values = [v for _, _, row in curves for v in row if math.isfinite(v)]
    low, high = bounds or (min([0.0, *values]), max(values, default=1.0) or 1.0)
    last = max(1.0, *steps) if steps else 1.0
    draw.text((left, box[1] + 10), title, INK, font)
    for n in range(6):
        value = low + (high - low) * n / 5
        y = bottom - (bottom - top) * n / 5
        draw.line([(left, y), (right, y)], PALE)
        draw.text((left - 8, y), f"{value:.2f}", INK, font, anchor="rm")
        draw.text((left + (right - left) * n / 5, bottom + 8), f"{last * n / 5:.0f}", INK, font, anchor="mt")
    draw.text((right, bottom + 26), across, INK, font, anchor="rt")
    for row, (name, colour, numbers) in enumerate(curves):
        points = [
            (left + (right - left) * step / last, bottom - (bottom - top) * (value - low) / (high - low))
            for step, value in zip(steps, numbers, strict=True)
            if math.isfinite(value)
        ]
        if len(points) > 1:
            draw.line(points, colour, width=2, joint="curve")
        for x, y in points if len(points) < 60 else points[-1:]:
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], colour)
        if len(curves) > 1:
            final = f" {numbers[-1]:.3f}" if numbers and math.isfinite(numbers[-1]) else ""
            at = (right - 150, bottom - 18 * (len(curves) - row) - 4)
            draw.rectangle([at[0], at[1] + 3, at[0] + 10, at[1] + 13], colour)
            draw.text((at[0] + 16, at[1]), f"{name}{final}", INK, font)
