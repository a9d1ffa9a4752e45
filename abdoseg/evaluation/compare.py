"""Comparison of models on the same cases: paired differences, bootstrap intervals, Wilcoxon's test, Holm's rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from abdoseg.evaluation.evaluate import Evaluation
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.score import Score
from abdoseg.evaluation.summary import bootstrap_interval

COMPARED = ("dice", "nsd", "hd95_mm")
FEWEST = 6  # pairs; with fewer no two-sided Wilcoxon test can fall below 0.05
Floats = npt.NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """One model against the first, on one metric of one organ, case by case.

    cases: pairs in which both are defined. infinite: pairs that are infinite for either; they count in the test, as
    ranks, and not in the means. mean: model less first, with its 95 % bootstrap interval low to high. wins, losses:
    cases where the model is better, or worse. p: Wilcoxon's signed-rank test, two-sided; p_holm: the same after
    Holm's correction for all organs of the metric; NaN with fewer than six pairs.
    """

    organ: str
    metric: str
    model: str
    first: str
    cases: int
    infinite: int
    model_mean: float
    first_mean: float
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    p: float
    p_holm: float = NAN


def differences(models: Mapping[str, Evaluation], metrics: Sequence[str] = COMPARED) -> list[Difference]:
    """Every model but the first against the first, on every organ that any of them was scored on.

    Sources: Wilcoxon 1945, doi:10.2307/3001968, zeros by Pratt's rule; Holm 1979.
    """
    names = list(models)
    tables = {name: {(score.case, score.organ): score for score in models[name].scores} for name in names}
    organs = list(dict.fromkeys(organ for table in tables.values() for _, organ in table))
    found: list[Difference] = []
    for name in names[1:]:
        for metric in metrics:
            rows = [_difference(tables[names[0]], tables[name], organ, metric) for organ in organs]
            kept = [replace(row, model=name, first=names[0]) for row in rows if row.cases]
            corrected = holm([row.p for row in kept])
            found += [replace(row, p_holm=p) for row, p in zip(kept, corrected, strict=True)]
    return found


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for being several, by Holm's step-down rule. NaN stay NaN and are not counted."""
    order = [index for index in np.argsort(values, kind="stable") if not np.isnan(values[index])]
    corrected, highest = [NAN] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, values[index] * (len(order) - rank)))
        corrected[index] = highest
    return corrected


def _difference(
    first: Mapping[tuple[str, str], Score], model: Mapping[tuple[str, str], Score], organ: str, metric: str
) -> Difference:
    value = METRICS[metric].value
    keys = [key for key in first if key[1] == organ and key in model]
    pairs = np.array([(value(first[key]), value(model[key])) for key in keys]).reshape(-1, 2)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    finite = pairs[np.isfinite(pairs).all(axis=1)]
    change = finite[:, 1] - finite[:, 0]
    low, high = bootstrap_interval(change)
    sign = 1 if METRICS[metric].better == "higher" else -1
    better = np.sign(_changes(pairs)) * sign
    first_mean, model_mean = finite.mean(axis=0) if len(finite) else (NAN, NAN)
    return Difference(
        organ=organ,
        metric=metric,
        model="",
        first="",
        cases=len(pairs),
        infinite=len(pairs) - len(finite),
        model_mean=float(model_mean),
        first_mean=float(first_mean),
        mean=float(change.mean()) if len(change) else NAN,
        low=low,
        high=high,
        wins=int((better > 0).sum()),
        losses=int((better < 0).sum()),
        p=_wilcoxon(_changes(pairs)),
    )


def _changes(pairs: Floats) -> Floats:
    """Model less first; 0 where both are infinite, a number beyond all others where one is."""
    same = pairs[:, 0] == pairs[:, 1]
    with np.errstate(invalid="ignore"):
        change = np.where(same, 0.0, pairs[:, 1] - pairs[:, 0])
    beyond = 2 * np.abs(change[np.isfinite(change)]).max(initial=1.0)
    return np.clip(change, -beyond, beyond)


def _wilcoxon(change: Floats) -> float:
    if len(change) < FEWEST:
        return NAN
    if not change.any():
        return 1.0
    return float(stats.wilcoxon(change, zero_method="pratt", method="auto").pvalue)
