"""Pictures of the worst scores: contours of truth and prediction on three planes, false voxels tinted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.errors import AbdosegError
from abdoseg.evaluation.evaluate import Evaluation, read_pair
from abdoseg.evaluation.pairs import scan_files
from abdoseg.evaluation.score import Score
from abdoseg.image.components import box_of
from abdoseg.image.volume import Array, Geometry
from abdoseg.io import read_scan
from abdoseg.rendering.slices import ACROSS, Plane, SliceStyle, View, draw_outline, draw_slice, with_margin

PANEL_PX = 300
MARGIN_MM = 20.0
TRUTH, PREDICTION = (80, 220, 255), (255, 150, 40)  # apart for every kind of colour vision, and from grey
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
WORST = 8
RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """One row of the gallery."""

    score: Score
    pixels: RGB
    notes: str = ""


def worst_scores(scores: Sequence[Score], count: int = WORST) -> list[Score]:
    """Rows that were scored, worst Dice first: each organ's worst, then the worst of the rest; none without a
    prediction, where there is nothing to compare by eye."""
    rows = sorted(
        (score for score in scores if score.status in ("true_positive", "false_negative", "false_positive")),
        key=lambda score: (score.confusion.dice, score.nsd),
    )
    rows = [score for score in rows if score.confusion.dice < 1]
    firsts = {score.organ: score for score in reversed(rows)}
    rest = [score for score in rows if firsts[score.organ] is not score]
    chosen = [*firsts.values(), *rest[: max(0, count - len(firsts))]]
    return sorted(chosen, key=lambda score: score.confusion.dice)[:count]


def pictures(evaluation: Evaluation, images: Path | None = None) -> list[Picture]:
    """The pictures of the worst rows. images: a folder of scans, matched by case name, to lie under them."""
    rows = worst_scores(evaluation.scores)
    pairs = {pair.case: pair for pair in evaluation.pairing.pairs}
    label_files = [path for pair in pairs.values() for path in (pair.truth, pair.prediction) if path is not None]
    scans = scan_files(images, label_files) if images else {}
    drawn: dict[int, Picture] = {}
    for case in dict.fromkeys(row.case for row in rows):  # each case is read once
        truth, prediction, _ = read_pair(pairs[case], evaluation.reading)
        if prediction is None:
            continue
        ground, note = _ground(scans.get(case), truth.geometry)
        for number, row in enumerate(rows):
            if row.case == case:
                labels = evaluation.options.labels_of(row.organ)
                masks = np.isin(truth.labels, labels), np.isin(prediction.labels, labels)
                drawn[number] = Picture(row, draw(truth.geometry, *masks, ground), note)
    return [drawn[number] for number in sorted(drawn)]


def draw(
    geometry: Geometry, truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], voxels: Array | None = None
) -> RGB:
    """(H, W, 3) three planes side by side, each where the masks differ most, at true proportions."""
    wrong, either = truth ^ prediction, truth | prediction
    around = box_of(either)
    assert around is not None  # a pair that was scored and differs
    box = with_margin(around, geometry, MARGIN_MM)
    extent = [(stop - start) * step for (start, stop), step in zip(box, geometry.spacing_mm, strict=True)]
    scale = PANEL_PX / max(extent)
    panels = []
    for plane in PLANES:
        others = tuple(axis for axis in range(3) if axis != ACROSS[plane])
        index = int(np.argmax((wrong if wrong.any() else either).sum(axis=others)))
        view = View(geometry, plane, scale, box)
        panels.append(_panel(view, index, truth, prediction, voxels))
    height = max(panel.shape[0] for panel in panels)
    return np.concatenate([_padded(panel, height) for panel in panels], axis=1)


def _panel(
    view: View, index: int, truth: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], voxels: Array | None
) -> RGB:
    labels = np.zeros((1, 1, 1), np.uint8)
    empty: Mapping[int, str] = {}
    a, b = truth.view(np.uint8), prediction.view(np.uint8)
    picture = draw_slice(view, index, voxels, np.broadcast_to(labels, view.geometry.shape), empty, SliceStyle())
    for mask, colour in ((a & ~b & 1, TRUTH), (b & ~a & 1, PREDICTION)):
        cut = view.cut(mask, index)
        rows = np.arange(picture.shape[0]) * cut.shape[0] // picture.shape[0]
        columns = np.arange(picture.shape[1]) * cut.shape[1] // picture.shape[1]
        tint = 0.35 * cut[np.ix_(rows, columns)][:, :, None].astype(np.float32)
        picture = np.rint(picture + tint * (np.array(colour, np.float32) - picture)).astype(np.uint8)
    picture = draw_outline(view, index, a, picture, TRUTH, 2.0)
    return draw_outline(view, index, b, picture, PREDICTION, 2.0)


def _padded(panel: RGB, height: int) -> RGB:
    """Centred in `height`, with a gap on the right."""
    above = (height - panel.shape[0]) // 2
    below = height - panel.shape[0] - above
    return np.pad(panel, ((above, below), (0, 6), (0, 0)), constant_values=16)


def _ground(path: Path | None, geometry: Geometry) -> tuple[Array | None, str]:
    """The scan that lies under the labels, when it does."""
    if path is None:
        return None, ""
    try:
        scan = read_scan(path)
    except AbdosegError as error:
        return None, f"the scan is not shown: {error}"
    if not scan.geometry.matches(geometry, 1.0):
        return None, f"{path.name} lies on another grid and is not shown"
    return scan.voxels, ""


def alt_text(score: Score) -> str:
    """What a picture shows, in a sentence for those who do not see it."""
    organ = title_of(score.organ)
    if BY_NAME[score.organ].is_lesion and score.lesions:
        return f"{score.case}, {organ}: {score.lesions.tp} of {score.lesions.truth} found, {score.lesions.fp} false"
    return f"{score.case}, {organ}: truth and prediction outlined on an axial, a coronal and a sagittal slice"
