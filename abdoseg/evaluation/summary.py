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
from abdoseg.metrics.lesions import SIZES_MM
from abdoseg.metrics.overlap import Counts

Floats = npt.NDArray[np.float64]
FAILURE_DICE = 0.5
IOU_AT = 0.5
RESAMPLES = 2000
NAN = float("nan")


@dataclass(frozen=True)
class Summary:
    """One metric of one organ over cases.

    n: cases in which it is defined. infinite: how many of those are infinite; where there are some, mean, sd and
    interval are not defined. Quartiles and worst are over all. low, high: the 95 % bootstrap interval of the mean.
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
        """The mean for people; where values are infinite, the median and how many are."""
        text = METRICS[self.metric].text
        return f"{text(self.median)} median, {self.infinite} of {self.n} inf" if self.infinite else text(self.mean)

    @property
    def typical(self) -> float:
        """The number of `text`, to sort by."""
        return self.median if self.infinite else self.mean


@dataclass(frozen=True)
class LesionSummary:
    """Lesions one by one, of all cases whose truth can name them.

    organs: how many there are, with lesions or healthy. by_size: for each range of diameters in SIZES_MM, lesions found
    and lesions there. false_lesions, false_in_healthy: predicted where there is none. burden_error: mean absolute
    difference of the burdens in percentage points; NaN where no organ is seen.
    """

    organs: int
    healthy: int
    by_size: tuple[tuple[int, int], ...]
    false_lesions: int
    false_in_healthy: int
    burden_error: float

    @property
    def found(self) -> int:
        """Lesions found, of any size."""
        return sum(found for found, _ in self.by_size)

    @property
    def lesions(self) -> int:
        """Lesions of the truth."""
        return sum(there for _, there in self.by_size)

    def row(self) -> dict[str, float]:
        """Everything by name, for tables and JSON."""
        names = [f"below_{SIZES_MM[0]:g}_mm", "{:g}_to_{:g}_mm".format(*SIZES_MM), f"above_{SIZES_MM[1]:g}_mm"]
        sizes = zip(names, self.by_size, strict=True)
        return {
            "organs": self.organs,
            "healthy": self.healthy,
            "lesions": self.lesions,
            "found": self.found,
            **{f"{word}_{name}": n for name, pair in sizes for word, n in zip(("found", "lesions"), pair, strict=True)},
            "false_lesions": self.false_lesions,
            "false_lesions_an_organ": self.false_lesions / self.organs if self.organs else NAN,
            "false_lesions_a_healthy_organ": self.false_in_healthy / self.healthy if self.healthy else NAN,
            "burden_error": self.burden_error,
        }


@dataclass(frozen=True)
class OrganSummary:
    """One organ over cases: how often it failed (Dice below 0.5), its voxels of all cases pooled.

    cases: that have the organ in truth or prediction; of lesions those with lesions in the truth. lesions: None for
    organs.
    """

    organ: str
    cases: int
    failures: int
    pooled: Confusion
    metrics: tuple[Summary, ...]
    lesions: LesionSummary | None = None

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

    They are over those organs alone that every case has; apart: the others, such as a tumour in one of many cases.
    Distances are the organs' medians over cases, in which infinite ones count, averaged over organs.
    iou_at_half: the fraction of all rows with an IoU of at least 0.5. pixel_accuracy: the fraction of all voxels,
    background included, that have the right label; labels that are not scored count as background. infinite: rows
    without a finite distance.
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
    apart: tuple[str, ...] = ()


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
        found.append(
            OrganSummary(
                organ=organ,
                cases=sum(not row.is_healthy for row in rows),
                failures=sum(METRICS["dice"].value(row) < FAILURE_DICE for row in rows),
                pooled=pooled,
                metrics=tuple(_summary(organ, name, rows, seed) for name in METRICS),
                lesions=_lesions(organ, rows, cases),
            )
        )
    return tuple(found)


def overall(cases: Sequence[CaseScores], organs: Sequence[OrganSummary]) -> Overall:
    """All organs and cases in one row."""
    scores = [score for case in cases for score in case.scores if score.status != "true_negative"]
    everywhere = [organ for organ in organs if organ.cases == len(cases)]

    def mean(name: str) -> float:
        return _mean([organ.metric(name).mean for organ in everywhere])

    def median(name: str) -> float:
        return float(np.mean([organ.metric(name).median for organ in everywhere])) if everywhere else NAN

    return Overall(
        cases=len(cases),
        organs=len(everywhere),
        dice=mean("dice"),
        mean_iou=mean("iou"),
        jaccard=mean("iou"),
        iou_at_half=_mean([float(score.confusion.iou >= IOU_AT) for score in scores if not score.is_healthy]),
        precision=mean("precision"),
        recall=mean("recall"),
        accuracy=mean("accuracy"),
        pixel_accuracy=_pixel_accuracy(pooled_histogram(cases), [organ.organ for organ in organs]),
        hausdorff_mm=median("hausdorff_mm"),
        hd95_mm=median("hd95_mm"),
        assd_mm=median("assd_mm"),
        nsd=mean("nsd"),
        failure_rate=_mean([float(score.confusion.dice < FAILURE_DICE) for score in scores if not score.is_healthy]),
        infinite=sum(METRICS["hausdorff_mm"].value(score) == float("inf") for score in scores),
        apart=tuple(organ.organ for organ in organs if organ not in everywhere),
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
    infinite = int(np.count_nonzero(np.isinf(values)))
    finite = values if not infinite else values[:0]
    low, high = bootstrap_interval(finite, seed)
    badness = {"higher": -values, "lower": values, "zero": np.abs(values), "": np.zeros(len(values))}[metric.better]
    worst = int(np.argmax(badness))
    return Summary(
        organ=organ,
        metric=name,
        n=len(values),
        infinite=infinite,
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


def _lesions(organ: str, rows: Sequence[Score], cases: Sequence[CaseScores]) -> LesionSummary | None:
    """The lesions of the rows, of a kind that the truths of some cases can name; None for an organ."""
    if not BY_NAME[organ].is_lesion:
        return None
    organs = sum(organ in case.lesions for case in cases)
    found = [row.lesions for row in rows if row.lesions is not None]
    errors = [abs(METRICS["burden_error"].value(row)) for row in rows]
    known = [error for error in errors if not np.isnan(error)]
    seen = organs - len(rows) + len(known)  # cases without a row have none in truth and none in prediction
    return LesionSummary(
        organs=organs,
        healthy=organs - sum(row.confusion.truth > 0 for row in rows),
        by_size=tuple(
            (sum(one.by_size[n][0] for one in found), sum(one.by_size[n][1] for one in found))
            for n in range(len(SIZES_MM) + 1)
        ),
        false_lesions=sum(one.fp for one in found),
        false_in_healthy=sum(row.lesions.fp for row in rows if row.lesions and row.is_healthy),
        burden_error=sum(known) / seen if seen > 0 else NAN,
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
