"""Consistency checks of scores: identities between metrics, values that repeat, organs under another's name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import isnan

import numpy as np

from abdoseg.anatomy.organs import ORGANS, host_of
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.pairs import first_names
from abdoseg.evaluation.score import CaseScores, Score

ROUNDING = 1e-9
CONSTANT_FROM = 3  # cases; fewer may well agree by chance
CONSTANT = ("dice", "iou", "nsd", "hd95_mm", "prediction_ml")


class InconsistentScore(Exception):
    """A row contradicts itself: a bug in this program, never the input's fault."""


def check_identities(score: Score) -> None:
    """Raises InconsistentScore when the identities between a row's numbers do not hold."""
    value = {name: metric.value(score) for name, metric in METRICS.items()}
    claims = {
        "J = D / (2 - D)": _equal(value["iou"], value["dice"] / (2 - value["dice"])),
        "J at most precision": _at_most(value["iou"], value["precision"]),
        "J at most recall": _at_most(value["iou"], value["recall"]),
        "J at most Dice": _at_most(value["iou"], value["dice"]),
        "HD95 at most HD": _at_most(value["hd95_mm"], value["hausdorff_mm"]),
        "ASSD at most HD": _at_most(value["assd_mm"], value["hausdorff_mm"]),
        "0 at most every distance": all(_at_most(0, value[name]) for name in ("hd95_mm", "assd_mm", "hausdorff_mm")),
        "every fraction within 0 and 1": all(
            _at_most(0, value[name]) and _at_most(value[name], 1)
            for name in ("dice", "iou", "precision", "recall", "accuracy", "nsd", "lesion_f1")
        ),
    }
    broken = [claim for claim, holds in claims.items() if not holds]
    if broken:
        raise InconsistentScore(f"{score.case}, {score.organ}: {'; '.join(broken)} does not hold in {value}")


def repeated_values(scores: Sequence[Score]) -> list[str]:
    """Sentences on values that are the same in every case, or in several organs of a case: real ones never are."""
    warnings = []
    for organ in dict.fromkeys(score.organ for score in scores):
        rows = [score for score in scores if score.organ == organ and score.status != "true_negative"]
        constant = []
        for name in CONSTANT:
            values = {METRICS[name].value(score) for score in rows}
            if len(rows) >= CONSTANT_FROM and len(values) == 1 and not isnan(next(iter(values))):
                constant.append(f"{METRICS[name].title} is {METRICS[name].text(values.pop())}")
        if constant:
            warnings.append(f"{organ}: {', '.join(constant)} in all {len(rows)} cases; check the pipeline")
    for case in dict.fromkeys(score.case for score in scores):
        rows = [score for score in scores if score.case == case and score.status == "true_positive"]
        for dice in {score.confusion.dice for score in rows if score.confusion.dice < 1}:
            same = [score.organ for score in rows if score.confusion.dice == dice]
            if len(same) > 1:
                warnings.append(f"{case}: Dice is {dice:.4f} for {' and '.join(same)}; check the labels")
    return warnings


def swapped_labels(cases: Sequence[CaseScores]) -> list[str]:
    """Sentences on organs that predictions hold under another's name, by a Dice above a half.

    Left and right were changed, or a side's labels are of another scheme. A lesion that fills its organ is neither.
    """
    in_one = [{organ.name, host_of(organ.name)} for organ in ORGANS if organ.is_lesion]
    found: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        table = case.histogram
        dice = 2 * table / np.maximum(1, table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True))
        for true, called in permutations(ORGANS, 2):
            if {true.name, called.name} not in in_one and dice[true.label, called.label] > 0.5:
                found.setdefault((true.name, called.name), []).append(case.case)
    return [
        f"{true} of the truth is {called} in the prediction (in {first_names(names)}): sides are swapped, or "
        "--gt-labels or --pred-labels names another scheme than the files have"
        for (true, called), names in found.items()
    ]


def _equal(a: float, b: float) -> bool:
    return (isnan(a) and isnan(b)) or abs(a - b) <= ROUNDING


def _at_most(a: float, b: float) -> bool:
    return isnan(a) or isnan(b) or a <= b + ROUNDING
