"""Evaluation of label files: pairs are read, resampled onto one grid, scored in threads and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from abdoseg.anatomy.label_schemes import Scheme
from abdoseg.anatomy.organs import BY_NAME, MAIN, ORGANS
from abdoseg.errors import GeometryError, ScanError, UsageError
from abdoseg.evaluation.checks import check_identities, repeated_values, swapped_labels
from abdoseg.evaluation.grids import Method, grid_difference, resample_onto
from abdoseg.evaluation.pairs import Pair, Pairing, first_names
from abdoseg.evaluation.score import CaseScores, EvaluationOptions, Score
from abdoseg.evaluation.score_case import score_case
from abdoseg.evaluation.summary import OrganSummary, Overall, overall, pooled_histogram, summarise
from abdoseg.image.volume import Labelmap
from abdoseg.io import read_labels
from abdoseg.io.dicom.label_objects import is_label_object
from abdoseg.io.record import stated_scheme
from abdoseg.metrics.overlap import Counts
from abdoseg.runtime.progress import Track, silent
from abdoseg.runtime.threads import cores

CASES_AT_ONCE = 2  # one is read while another is scored; more would only fill the memory


@dataclass(frozen=True)
class ReadOptions:
    """How files are read: label schemes, the tolerance of grids, and the method of resampling if any.

    A scheme of None is what the file's CASE.json or its own header states, or ours.
    """

    truth_scheme: str | Scheme | None = None
    prediction_scheme: str | Scheme | None = None
    grid_tolerance_mm: float = 0.1
    resample: Method | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result: cases, summaries, and every warning that a reader should see before the numbers."""

    pairing: Pairing
    options: EvaluationOptions
    reading: ReadOptions
    cases: tuple[CaseScores, ...]
    organs: tuple[OrganSummary, ...]
    overall: Overall
    warnings: tuple[str, ...] = field(default=())

    @property
    def scores(self) -> list[Score]:
        """Every row, by case and organ."""
        return [score for case in self.cases for score in case.scores]

    @property
    def unknown(self) -> dict[str, dict[int, list[str]]]:
        """Label numbers that the scheme of their side has no name for, and the cases whose files hold them."""
        found: dict[str, dict[int, list[str]]] = {"truth": {}, "prediction": {}}
        for case in self.cases:
            for labels, numbers in zip(found.values(), case.unknown, strict=True):
                for number in numbers:
                    labels.setdefault(number, []).append(case.case)
        return {side: dict(sorted(labels.items())) for side, labels in found.items()}

    @property
    def histogram(self) -> Counts:
        """The joint histogram of all cases pooled."""
        return pooled_histogram(self.cases)


def scheme_for(path: Path, given: str | Scheme | None) -> str | Scheme:
    """The scheme of a label file: the one given, or that its CASE.json or its own header states, or ours."""
    stated = None if given else stated_scheme(path)
    return given or (stated[1] if stated else "abdoseg")


class _GridsDiffer(GeometryError):
    """One case's grids differ; gathered, so that all are named at once."""


def evaluate(
    pairing: Pairing,
    options: EvaluationOptions | None = None,
    reading: ReadOptions | None = None,
    *,
    organs: Sequence[str] | None = None,
    threads: int | None = None,
    track: Track = silent,
) -> Evaluation:
    """Scores every pair. The truth gives the list: a case without a prediction counts as nothing found.

    Args:
        pairing: the files, as `find_pairs` finds them.
        options: how cases are scored.
        reading: how files are read.
        organs: which; by default the four main ones and all others that at least one prediction and one truth hold.
        threads: at most; by default as many as there are cores.
        track: shows the progress.

    Raises:
        GeometryError: grids differ and no resampling was chosen; all such cases are named.
        ScanError: files cannot be read; all are named.
        UsageError: there is no such organ.
    """
    if unknown := [organ for organ in organs or () if organ not in BY_NAME]:
        raise UsageError(f"there is no organ {unknown[0]!r}; choose from {', '.join(BY_NAME)}, or all")
    options, reading = options or EvaluationOptions(), reading or ReadOptions()
    threads = threads or cores()
    readers = min(threads, CASES_AT_ONCE)
    with ThreadPoolExecutor(threads) as organ_pool, ThreadPoolExecutor(readers) as case_pool:
        jobs = [case_pool.submit(_case, pair, options, reading, organ_pool) for pair in pairing.pairs]
        scored: list[CaseScores] = []
        differing: list[str] = []
        unreadable: list[str] = []
        try:
            for job in track(jobs, "scoring"):
                try:
                    scored.append(job.result())
                except _GridsDiffer as error:
                    differing.append(str(error))
                except ScanError as error:
                    unreadable.append(str(error))
        finally:
            for job in jobs:
                job.cancel()
    if unreadable:
        raise ScanError(f"{len(unreadable)} of {len(pairing.pairs)} cases cannot be read:{_lines(unreadable)}")
    if differing:
        raise GeometryError(
            f"{len(differing)} of {len(pairing.pairs)} predictions do not lie on their truth's grid:{_lines(differing)}"
            "\nwrite predictions on the scan's own grid, or pass --resample nearest or --resample linear"
        )
    chosen, left_out = _choose(scored, organs)
    cases = tuple(
        replace(case, scores=tuple(score for score in case.scores if score.organ in chosen)) for case in scored
    )
    for case in cases:
        for score in case.scores:
            check_identities(score)
    summaries = summarise(cases)
    evaluation = Evaluation(pairing, options, reading, cases, summaries, overall(cases, summaries))
    return replace(evaluation, warnings=tuple(_warnings(evaluation, left_out)))


def _lines(messages: Sequence[str]) -> str:
    """The first eight, a line each, and how many more there are."""
    return "".join(f"\n  {message}" for message in messages[:8]) + (
        f"\n  and {len(messages) - 8} more" if len(messages) > 8 else ""
    )


def read_pair(pair: Pair, reading: ReadOptions) -> tuple[Labelmap, Labelmap | None, tuple[str, ...]]:
    """Truth and prediction of a pair on the truth's grid, and what was done to bring them there.

    A DICOM SEG or RTSTRUCT is drawn on the grid of the other. Raises GeometryError when the grids differ and no method
    was named.
    """
    if pair.prediction is None:
        return read_labels(pair.truth, scheme_for(pair.truth, reading.truth_scheme), warn=False), None, ()
    if is_label_object(pair.truth) and not is_label_object(pair.prediction):
        prediction = read_labels(pair.prediction, scheme_for(pair.prediction, reading.prediction_scheme), warn=False)
        truth = read_labels(
            pair.truth, scheme_for(pair.truth, reading.truth_scheme), warn=False, grid=prediction.stored
        )
    else:
        truth = read_labels(pair.truth, scheme_for(pair.truth, reading.truth_scheme), warn=False)
        prediction = read_labels(
            pair.prediction, scheme_for(pair.prediction, reading.prediction_scheme), warn=False, grid=truth.stored
        )
    differs = grid_difference(truth.geometry, prediction.geometry, reading.grid_tolerance_mm)
    if differs is None:
        return truth, prediction, ()
    if reading.resample is None:
        raise _GridsDiffer(f"{pair.case}: {differs}")
    return truth, resample_onto(prediction, truth, reading.resample), (f"resampled ({reading.resample}): {differs}",)


def _case(pair: Pair, options: EvaluationOptions, reading: ReadOptions, pool: Executor) -> CaseScores:
    truth, prediction, notes = read_pair(pair, reading)
    result = score_case(pair.case, truth, prediction, options, pool)
    if prediction is not None:
        strange = _unnameable(truth, result.histogram)
        if strange:
            notes += (f"predicted, but the truth's labels have no number for them: {', '.join(strange)}",)
    return replace(result, notes=(*notes, *result.notes))


def _unnameable(truth: Labelmap, histogram: Counts) -> list[str]:
    """Organs that the prediction holds and that the truth could not hold: they are not compared."""
    names = set(truth.organs.values())
    return [organ.name for organ in ORGANS if histogram[:, organ.label].any() and organ.name not in names]


def _choose(cases: Sequence[CaseScores], organs: Sequence[str] | None) -> tuple[set[str], list[str]]:
    """The organs to report, and sentences on those that are left out, since only truths or predictions hold them."""
    present = {score.organ for case in cases for score in case.scores if score.status != "true_negative"}
    if organs is not None:
        return set(organs), []
    predicted = {score.organ for case in cases for score in case.scores if score.confusion.prediction}
    true = {score.organ for case in cases for score in case.scores if score.confusion.truth}
    lesions = {organ.name for organ in ORGANS if organ.is_lesion}
    chosen = present & (set(MAIN) | (predicted & true) | lesions) or set(MAIN)
    ordered = [organ.name for organ in ORGANS if organ.name in present - chosen]
    missed, alone = ([organ for organ in ordered if (organ in true) is held] for held in (True, False))
    notes = []
    if missed:
        notes.append(
            f"in the truth and in no prediction, not scored: {', '.join(missed)}; --organs all counts them as missed"
        )
    if alone:
        notes.append(f"predicted and in no truth, not scored: {', '.join(alone)}; --organs all counts them as wrong")
    return chosen, notes


def _warnings(evaluation: Evaluation, left_out: Sequence[str]) -> Iterable[str]:
    pairing, cases = evaluation.pairing, evaluation.cases
    if pairing.missing:
        yield (
            f"{len(pairing.missing)} of {len(pairing.pairs)} cases have no prediction and count as nothing found: "
            + (", ".join(pairing.missing))
        )
    if pairing.extra:
        yield "predictions without a truth, not scored: " + ", ".join(path.name for path in pairing.extra)
    yield from left_out
    if all(score.status == "true_negative" for case in cases for score in case.scores):
        yield "no organ was compared: neither the truths nor the predictions hold one"
    for side, flag in (("truth", "--gt-labels"), ("prediction", "--pred-labels")):
        alike: dict[tuple[str, ...], list[str]] = {}  # numbers by the cases that hold them
        for number, names in evaluation.unknown[side].items():
            alike.setdefault(tuple(names), []).append(str(number))
        for cases_alike, numbers in alike.items():
            where = f"{first_names(numbers)} (in {first_names(cases_alike)})"
            yield f"labels of {side}s that {flag} has no name for, counted as background: {where}"
    for case in cases:
        for note in case.notes:
            yield f"{case.case}: {note}"
    yield from swapped_labels(cases)
    yield from repeated_values([score for case in cases for score in case.scores])
