"""The official FLARE22 evaluation script reproduced, quirks included, with the reasons where our scores differ.

What FLARE22_DSC_NSD_Eval.py does, kept here as it is: it walks the predictions, so that a missing one is left out;
it compares arrays, whatever their affines; an organ in neither is 1, one in the prediction alone 0; of aorta, vena
cava and oesophagus it looks only at the truth's slices, along the third array axis, without the last of them; the
spacing is that of the truth's header; surfaces are DeepMind's elements; values are rounded to four digits; labels are
cast to eight bits, so that 257 counts as 1. (Negative labels and fractions, which it would cast too, are refused here.)
Source: github.com/JunMa11/FLARE, FLARE22/Evaluation/FLARE22_DSC_NSD_Eval.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.label_schemes import Scheme, find_scheme
from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.evaluation.evaluate import Evaluation, ReadOptions, scheme_for
from abdoseg.evaluation.score import CaseScores, EvaluationOptions, Score
from abdoseg.image.volume import Labelmap
from abdoseg.io.labels import read_labels
from abdoseg.metrics import dice, surface_distances

# The script's name of each organ, ours, and its tolerance in mm, in the script's order.
OFFICIAL: tuple[tuple[str, str, float], ...] = (
    ("Liver", "liver", 5),
    ("RK", "kidney_right", 3),
    ("Spleen", "spleen", 3),
    ("Pancreas", "pancreas", 5),
    ("Aorta", "aorta", 2),
    ("IVC", "inferior_vena_cava", 2),
    ("RAG", "adrenal_gland_right", 2),
    ("LAG", "adrenal_gland_left", 2),
    ("Gallbladder", "gallbladder", 2),
    ("Esophagus", "esophagus", 3),
    ("Stomach", "stomach", 5),
    ("Duodenum", "duodenum", 7),
    ("LK", "kidney_left", 3),
)
SLICES_OF_TRUTH = ("aorta", "inferior_vena_cava", "esophagus")

Numbers = dict[str, dict[str, tuple[float, float]]]  # DSC and NSD by case and organ


@dataclass(frozen=True)
class OfficialScore:
    """What the script says of one organ of one case, and why ours says something else ("" when it does not)."""

    case: str
    organ: str
    dsc: float
    nsd: float
    ours_dice: float
    ours_nsd: float
    why: str


def official_numbers(evaluation: Evaluation) -> Numbers:
    """Every case that has a prediction, as the script scores it."""
    pairs = zip(evaluation.pairing.pairs, evaluation.cases, strict=True)
    return {
        pair.case: official_case(pair.truth, pair.prediction, evaluation.reading, case.unknown)
        for pair, case in pairs
        if pair.prediction is not None
    }


def official_scores(evaluation: Evaluation, numbers: Numbers) -> list[OfficialScore]:
    """The script's rows beside ours, as far as it has them and ours were scored."""
    return [
        OfficialScore(case.case, score.organ, *values, score.confusion.dice, score.nsd, why)
        for case in evaluation.cases
        for score in case.scores
        if (values := numbers.get(case.case, {}).get(score.organ))
        for why in [_why(case, score, evaluation.options, *values)]
    ]


def official_case(
    truth_path: Path,
    prediction_path: Path,
    reading: ReadOptions,
    unknown: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> dict[str, tuple[float, float]]:
    """DSC and NSD of all thirteen organs of a case, as the script computes and rounds them.

    unknown: of each file, the numbers that its scheme has no name for; what is left of them in eight bits may have one.
    """
    truth = read_labels(
        truth_path, _in_eight_bits(scheme_for(truth_path, reading.truth_scheme), unknown[0]), warn=False
    )
    prediction = read_labels(
        prediction_path, _in_eight_bits(scheme_for(prediction_path, reading.prediction_scheme), unknown[1]), warn=False
    )
    a, b = _stored(truth), _stored(prediction)
    header = truth.stored.header
    zooms = truth.stored.geometry.spacing_mm if header is None else header["pixdim"][1:4].astype(np.float64)
    found = {}
    for _, organ, tolerance_mm in OFFICIAL:
        label = BY_NAME[organ].label
        dsc, nsd = _organ(a == label, b == label, zooms, tolerance_mm, organ in SLICES_OF_TRUTH)
        found[organ] = round(dsc, 4), round(nsd, 4)
    return found


def official_table(evaluation: Evaluation, numbers: Numbers) -> list[dict[str, Any]]:
    """The script's own CSV: one row a prediction file, all DSC and then all NSD."""
    rows = []
    for pair in evaluation.pairing.pairs:
        if pair.prediction is not None:
            organs = numbers[pair.case]
            row: dict[str, Any] = {"Name": pair.prediction.name}
            row |= {f"{name}_DSC": organs[organ][0] for name, organ, _ in OFFICIAL}
            rows.append(row | {f"{name}_NSD": organs[organ][1] for name, organ, _ in OFFICIAL})
    return rows


def _organ(
    truth: npt.NDArray[np.bool_],
    prediction: npt.NDArray[np.bool_],
    zooms: npt.NDArray[np.float64],
    tolerance_mm: float,
    slices_of_truth: bool,
) -> tuple[float, float]:
    if not truth.any():
        return (0.0, 0.0) if prediction.any() else (1.0, 1.0)
    if truth.shape != prediction.shape:
        return nan, nan  # the script ends here with an error
    if slices_of_truth:
        slices = np.flatnonzero(truth.any(axis=(0, 1)))
        truth, prediction = truth[:, :, slices[0] : slices[-1]], prediction[:, :, slices[0] : slices[-1]]
    distances = surface_distances(truth, prediction, zooms, "elements", double=True)
    return dice(truth, prediction), distances.nsd(tolerance_mm, rounding=0.0)


def _in_eight_bits(scheme: str | Scheme, unknown: Sequence[int]) -> Scheme:
    names = find_scheme(scheme)
    return {**names, **{number: names[number % 256] for number in unknown if number % 256 in names}}


def _stored(labelmap: Labelmap) -> npt.NDArray[np.uint8]:
    return labelmap.stored.from_canonical(labelmap.labels)


def _why(case: CaseScores, score: Score, options: EvaluationOptions, dsc: float, nsd: float) -> str:
    if _same(score.confusion.dice, dsc) and _same(score.nsd, nsd):
        return ""
    inside = [
        row.organ for row in case.scores if row.lesions and row.status != "true_negative" and not options.lesions_apart
    ]
    reasons = {
        "in neither: 1 in the script, not defined here": score.status == "true_negative",
        "the script leaves out slices beyond the truth's, and its last": score.organ in SLICES_OF_TRUTH,
        "surface elements against border voxels": score.surface == "border" and score.status == "true_positive",
        "lesions are part of it here, not in the script": score.organ in map(host_of, inside),
        "labels above 255 wrap in the script": any(number > 255 for numbers in case.unknown for number in numbers),
        "tolerances differ": score.nsd_tolerance_mm != _tolerance(score.organ),
    }
    return (
        "; ".join(text for text, holds in reasons.items() if holds) or "the script compares arrays as stored, rounded"
    )


def _tolerance(organ: str) -> float:
    return next(tolerance for _, name, tolerance in OFFICIAL if name == organ)


def _same(a: float, b: float) -> bool:
    return (isnan(a) and isnan(b)) or abs(a - b) <= 0.00005 + 1e-9
