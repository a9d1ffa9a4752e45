"""Summary statistics over cases: mean, standard deviation, bootstrap interval, quartiles, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.score import CaseScores, Score
from abdoseg.metrics import Confusion
from abdoseg.metrics.overlap import Counts

Floats = npt.NDArray[np.float64]
FAILURE_DICE = 0.5
IOU_AT = 0.5
RESAMPLES = 2000
NAN = float("nan")


@dataclass(frozen=True)
class Summary:
    """One metric of one organ over cases.

    n: cases in which it is defined. infinite: how many of those are infinite; mean, sd and interval are over the
    others, quartiles and worst over all. low, high: the 95 % bootstrap interval of the mean.
    """

    organ: str
    metric: str
    n: int = 0
    infinite: int = 0
    mean: float = NAN
    sd: float = NAN
    low: float = NAN
    high: float = NAN
    median: float = NAN
    lower_quartile: float = NAN
    upper_quartile: float = NAN
    worst: float = NAN
    worst_case: str = ""

    @property
    def text(self) -> str:
        """The mean for people, and how many infinite values it leaves out."""
        return METRICS[self.metric].text(self.mean) + (f" (+{self.infinite} inf)" if self.infinite else "")


@dataclass(frozen=True)
class OrganSummary:
    """One organ over cases: how often it failed (Dice below 0.5), its voxels of all cases pooled."""

    organ: str
    cases: int
    failures: int
    pooled: Confusion
    metrics: tuple[Summary, ...]

    @property
    def failure_rate(self) -> float:
        """The fraction of cases, of those where the organ is in truth or prediction."""
        return self.failures / self.cases if self.cases else NAN

    def metric(self, name: str) -> Summary:
        """The summary of one metric. Raises KeyError."""
        return next(summary for summary in self.metrics if summary.metric == name)


@dataclass(frozen=True)
class Overall:
    """All organs and cases. Means are over organs of their means over cases, so that each organ counts alike.

    iou_at_half: the fraction of all rows with an IoU of at least 0.5. pixel_accuracy: the fraction of all voxels,
    background included, that have the right label; labels that are not scored count as background. infinite: rows
    without a finite distance; they are in none of the distances' means.
    """

    cases: int
    organs: int
    dice: float
    mean_iou: float
    jaccard: float
    iou_at_half: float
    precision: float
    recall: float
    accuracy: float
    pixel_accuracy: float
    hausdorff_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float
    failure_rate: float
    infinite: int


def summarise(cases: Sequence[CaseScores], seed: int = 0) -> tuple[OrganSummary, ...]:
    """Every organ's summary, in the order of the first case that has it. Cases in which an organ is absent from truth
    and prediction alike count in nothing."""
    scores = [score for case in cases for score in case.scores if score.status != "true_negative"]
    found = []
    for organ in dict.fromkeys(score.organ for case in cases for score in case.scores):
        rows = [score for score in scores if score.organ == organ]
        if not rows:
            continue
        pooled = sum((row.confusion for row in rows), Confusion(0, 0, 0, 0))
        failures = sum(row.confusion.dice < FAILURE_DICE for row in rows)
        metrics = tuple(_summary(organ, name, rows, seed) for name in METRICS)
        found.append(OrganSummary(organ, len(rows), failures, pooled, metrics))
    return tuple(found)


def overall(cases: Sequence[CaseScores], organs: Sequence[OrganSummary]) -> Overall:
    """All organs and cases in one row."""
    scores = [score for case in cases for score in case.scores if score.status != "true_negative"]

    def mean(name: str) -> float:
        return _mean([organ.metric(name).mean for organ in organs])

    return Overall(
        cases=len(cases),
        organs=len(organs),
        dice=mean("dice"),
        mean_iou=mean("iou"),
        jaccard=mean("iou"),
        iou_at_half=_mean([float(score.confusion.iou >= IOU_AT) for score in scores]),
        precision=mean("precision"),
        recall=mean("recall"),
        accuracy=mean("accuracy"),
        pixel_accuracy=_pixel_accuracy(pooled_histogram(cases), [organ.organ for organ in organs]),
        hausdorff_mm=mean("hausdorff_mm"),
        hd95_mm=mean("hd95_mm"),
        assd_mm=mean("assd_mm"),
        nsd=mean("nsd"),
        failure_rate=_mean([float(score.confusion.dice < FAILURE_DICE) for score in scores]),
        infinite=sum(score.hausdorff_mm == float("inf") for score in scores),
    )


def pooled_histogram(cases: Sequence[CaseScores]) -> Counts:
    """The joint histograms of all cases, added up."""
    return np.asarray(np.sum([case.histogram for case in cases], axis=0), dtype=np.int64)


def bootstrap_interval(values: Floats, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, from 2000 resamples of the values. NaN for fewer than two.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if len(values) < 2:
        return NAN, NAN
    draws = np.random.default_rng(seed).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _summary(organ: str, name: str, rows: Sequence[Score], seed: int) -> Summary:
    metric = METRICS[name]
    defined = [(metric.value(row), row.case) for row in rows]
    defined = [(value, case) for value, case in defined if not np.isnan(value)]
    if not defined:
        return Summary(organ=organ, metric=name)
    values = np.array([value for value, _ in defined])
    finite = values[np.isfinite(values)]
    low, high = bootstrap_interval(finite, seed)
    badness = {"higher": -values, "lower": values, "zero": np.abs(values), "": np.zeros(len(values))}[metric.better]
    worst = int(np.argmax(badness))
    return Summary(
        organ=organ,
        metric=name,
        n=len(values),
        infinite=len(values) - len(finite),
        mean=_mean(finite),
        sd=float(finite.std(ddof=1)) if len(finite) > 1 else NAN,
        low=low,
        high=high,
        median=_quantile(values, 0.5),
        lower_quartile=_quantile(values, 0.25),
        upper_quartile=_quantile(values, 0.75),
        worst=float(values[worst]) if metric.better else NAN,
        worst_case=defined[worst][1] if metric.better else "",
    )


def _pixel_accuracy(histogram: Counts, organs: Sequence[str]) -> float:
    """The fraction of voxels with the right label, where all labels that are not scored are background."""
    scored = [BY_NAME[organ].label for organ in organs]
    rest = [label for label in range(len(histogram)) if label not in scored]
    right = int(histogram[scored, scored].sum()) + int(histogram[np.ix_(rest, rest)].sum())
    return right / int(histogram.sum()) if histogram.any() else NAN


def _quantile(values: Floats, fraction: float) -> float:
    """By linear interpolation; infinite as soon as an infinite neighbour takes part, where numpy's would be NaN."""
    place = fraction * (len(values) - 1)
    ordered = np.sort(values)
    below, above = float(ordered[int(np.floor(place))]), float(ordered[int(np.ceil(place))])
    if below == above or np.isinf(above):
        return above
    return below + (above - below) * float(place - np.floor(place))


def _mean(values: Sequence[float] | Floats) -> float:
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    return float(kept.mean()) if len(kept) else NAN
