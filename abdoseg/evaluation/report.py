"""HTML report of an evaluation: summary, distributions, volumes, confusion, worst cases in pictures, all cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, nan
from pathlib import Path

from abdoseg.anatomy.organs import BY_NAME, title_of
from abdoseg.evaluation.evaluate import Evaluation
from abdoseg.evaluation.gallery import PREDICTION, RGB, TRUTH, alt_text, pictures
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.score import STATUS, Score
from abdoseg.evaluation.summary import FAILURE_DICE, OrganSummary, Summary
from abdoseg.evaluation.tables import confusion_table
from abdoseg.metrics.lesions import SIZES_MM
from abdoseg.rendering import charts
from abdoseg.rendering.html import Cell, Table, Value, hex_colour, render_page

BOXES = ("dice", "nsd", "hd95_mm", "assd_mm", "precision", "recall", "difference_percent")
LIMITS = {"dice": (0.0, 1.0), "nsd": (0.0, 1.0), "precision": (0.0, 1.0), "recall": (0.0, 1.0)}
SURFACES = {
    "border": "border voxels (as MONAI and Metrics Reloaded count)",
    "elements": "surface elements weighted by area (as DeepMind's surface-distance and FLARE count)",
}
BY_CASE = ("dice", "iou", "precision", "recall", "nsd", "hausdorff_mm", "hd95_mm", "assd_mm", "truth_ml",
           "prediction_ml", "difference_percent", "accuracy")  # fmt: skip
LESIONS = ("lesion_tp", "lesion_fn", "lesion_fp", "lesion_f1", "truth_burden_percent", "prediction_burden_percent")


def report_page(evaluation: Evaluation, images: Path | None = None) -> str:
    """The whole page. images: a folder of scans, to lie under the gallery's pictures."""
    overall, options = evaluation.overall, evaluation.options
    scatter, bland_altman = _volume_charts(evaluation)
    return render_page(
        "evaluation.html",
        "Evaluation",
        lead=f"{overall.cases} cases, {overall.organs} organs. Surfaces: {SURFACES[options.surface]}.",
        foot="Made by abdoseg eval.",
        figures=_figures(evaluation),
        warnings=evaluation.warnings,
        missing=bool(evaluation.pairing.missing),
        failure_dice=FAILURE_DICE,
        organ_table=_organ_table(evaluation.organs),
        lesion_table=_lesion_table(evaluation.organs),
        apart=", ".join(title_of(organ) for organ in overall.apart),
        boxes=_boxes(evaluation),
        keys=[(title_of(organ.organ), BY_NAME[organ.organ].colour) for organ in evaluation.organs],
        scatter=scatter,
        bland_altman=bland_altman,
        confusion=_confusion(evaluation),
        gallery=_gallery(evaluation, images),
        truth_colour=TRUTH,
        prediction_colour=PREDICTION,
        case_table=_case_table(evaluation.scores, BY_CASE),
        lesion_cases=_case_table([score for score in evaluation.scores if score.lesions], LESIONS),
        glossary=_glossary(evaluation),
    )


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    overall = evaluation.overall
    return [
        ("Dice", _text("dice", overall.dice)),
        ("Mean IoU", _text("iou", overall.mean_iou)),
        ("NSD", _text("nsd", overall.nsd)),
        (
            "HD95, mm, median" + (f" ({overall.infinite} inf)" if overall.infinite else ""),
            _text("hd95_mm", overall.hd95_mm),
        ),
        ("IoU at 0.5", _percent(overall.iou_at_half)),
        ("Failures", _percent(overall.failure_rate)),
        ("Pixel accuracy", _text("accuracy", overall.pixel_accuracy)),
    ]


def _organ_table(organs: Sequence[OrganSummary]) -> Table:
    headers = ["Organ", "Cases", "Failures", "Dice", "95 % interval", "sd", "Median", "Quartiles", "Worst", "IoU",
               "NSD", "HD95, mm", "ASSD, mm", "Volume, %", "Pooled Dice"]  # fmt: skip
    rows: list[list[Value]] = []
    for organ in organs:
        dice = organ.metric("dice")
        quartiles = f"{_text('dice', dice.lower_quartile)} – {_text('dice', dice.upper_quartile)}"
        failures = f"{organ.failures} ({_percent(organ.failure_rate)})"
        rows.append([
            _organ(organ.organ), organ.cases, Cell(failures, organ.failure_rate, "bad" if organ.failures else ""),
            _cell("dice", dice.mean), _interval(dice), Cell(_text("dice", dice.sd), dice.sd),
            _cell("dice", dice.median), quartiles,
            Cell(f"{_text('dice', dice.worst)} {dice.worst_case}", dice.worst, _tone(dice.worst)),
            _cell("iou", organ.metric("iou").mean), _cell("nsd", organ.metric("nsd").mean),
            *(Cell(distance.text, distance.typical) for distance in (organ.metric("hd95_mm"), organ.metric("assd_mm"))),
            _cell("difference_percent", organ.metric("difference_percent").mean), _cell("dice", organ.pooled.dice),
        ])  # fmt: skip
    return headers, rows


def _lesion_table(organs: Sequence[OrganSummary]) -> Table:
    """Lesions found by their longest axial diameter, false ones, and how far the burden is off; no rows without any."""
    small, large = SIZES_MM
    headers = ["Lesions", "Cases", "Healthy", f"Found, below {small:g} mm", f"{small:g} to {large:g} mm",
               f"Above {large:g} mm", "False, a case", "False, a healthy case", "Burden off by, points"]  # fmt: skip
    rows: list[list[Value]] = []
    for organ in organs:
        if (found := organ.lesions) is not None:
            row = found.row()
            rates = [row[name] for name in ("false_lesions_an_organ", "false_lesions_a_healthy_organ", "burden_error")]
            rows.append([
                _organ(organ.organ), found.organs, found.healthy, *(f"{n} of {there}" for n, there in found.by_size),
                *(_cell("burden_error", rate) for rate in rates),
            ])  # fmt: skip
    return headers, rows


def _boxes(evaluation: Evaluation) -> list[str]:
    shown = ((name, _series(evaluation, _plotted(name))) for name in BOXES)
    return [charts.box_plot(series, METRICS[name].title, LIMITS.get(name)) for name, series in shown if series]


def _volume_charts(evaluation: Evaluation) -> tuple[str, str]:
    """The scatter plot and the Bland-Altman plot."""

    def volumes(score: Score) -> charts.DataPoint:
        if score.status == "no_prediction":
            return charts.DataPoint(nan, score.case)
        return charts.DataPoint(score.prediction_ml, score.case, score.truth_ml)

    def differences(score: Score) -> charts.DataPoint:
        if score.status == "no_prediction":
            return charts.DataPoint(nan, score.case)
        mean = (score.prediction_ml + score.truth_ml) / 2
        return charts.DataPoint(score.prediction_ml - score.truth_ml, score.case, mean)

    return (
        charts.scatter(_series(evaluation, volumes), "Truth, ml", "Prediction, ml"),
        charts.bland_altman(_series(evaluation, differences), "Mean of both, ml", "Prediction − truth, ml"),
    )


def _plotted(name: str) -> Callable[[Score], charts.DataPoint]:
    return lambda score: charts.DataPoint(METRICS[name].value(score), score.case)


def _series(evaluation: Evaluation, point: Callable[[Score], charts.DataPoint]) -> list[charts.Series]:
    """One series an organ, of the points that are defined."""
    found = []
    for organ in evaluation.organs:
        rows = [score for score in evaluation.scores if score.organ == organ.organ and score.status != "true_negative"]
        points = tuple(one for one in map(point, rows) if one.y == one.y)
        if points:
            colour = hex_colour(BY_NAME[organ.organ].colour)
            found.append(charts.Series(title_of(organ.organ), colour, points))
    return found


def _confusion(evaluation: Evaluation) -> Table:
    pooled = confusion_table(evaluation)
    names, voxels = pooled["names"], pooled["voxels"]
    columns = [number for number in range(len(names)) if number == 0 or any(counts[number] for counts in voxels)]
    scored = {organ.organ for organ in evaluation.organs}
    rows: list[list[Value]] = []
    for name, counts in zip(names, voxels, strict=True):
        if name in scored and any(counts):
            percents = [(100 * counts[column] / sum(counts), names[column] == name) for column in columns]
            rows.append(
                [_organ(name), *[Cell(f"{percent:.2f}", percent, _confused(percent, hit)) for percent, hit in percents]]
            )
    return ["Truth", *[title_of(names[column]) for column in columns]], rows


def _gallery(evaluation: Evaluation, images: Path | None) -> list[tuple[RGB, str, str]]:
    """Pictures of the worst cases, what each shows, and a caption."""
    figures = []
    for picture in pictures(evaluation, images):
        score = picture.score
        notes = ["" if score.status == "true_positive" else STATUS[score.status], picture.notes]
        caption = (
            f"{score.case}, {title_of(score.organ)}: Dice {_text('dice', score.confusion.dice)}, "
            f"HD95 {_text('hd95_mm', score.hd95_mm)} mm, {score.truth_ml:.1f} ml in truth, "
            f"{score.prediction_ml:.1f} ml predicted." + "".join(_sentence(text) for text in notes)
        )
        figures.append((picture.pixels, alt_text(score), caption))
    return figures


def _case_table(scores: Sequence[Score], columns: Sequence[str]) -> Table:
    headers = ["Case", "Organ", "Status", *[METRICS[name].title for name in columns]]
    rows: list[list[Value]] = []
    for score in scores:
        tone = {"true_positive": "", "true_negative": "soft"}.get(score.status, "bad")
        status = Cell(score.status.replace("_", " "), score.status, tone)
        numbers = [_cell(name, METRICS[name].value(score)) for name in columns]
        rows.append([score.case, _organ(score.organ), status, *numbers])
    return headers, rows


def _glossary(evaluation: Evaluation) -> list[tuple[str, str]]:
    tolerances = ", ".join(
        f"{title_of(organ.organ)} {evaluation.options.tolerance_mm(organ.organ):g} mm" for organ in evaluation.organs
    )
    items = [(metric.title, metric.meaning) for metric in METRICS.values()]
    items += [
        ("Mean IoU", "The IoU's mean over cases, then over organs."),
        ("IoU at 0.5", "The fraction of all cases' organs with an IoU of at least 0.5."),
        ("Pixel accuracy", "The fraction of all voxels, background included, that have the right label."),
    ]
    items += [("Tolerances of the NSD", f"{tolerances}."), ("Failure", f"A Dice below {FAILURE_DICE}.")]
    items += [(f"Status: {status}", _sentence(text)) for status, text in STATUS.items()]
    if not evaluation.options.lesions_apart:
        items.append(
            ("Lesions", "A tumour is part of the organ it lies in, on both sides, and is scored by itself too.")
        )
    return items


def _cell(name: str, value: float) -> Cell:
    tone = _tone(value) if name in ("dice", "iou", "nsd") else ""
    return Cell(_text(name, value), value, tone)


def _interval(summary: Summary) -> str:
    if not isfinite(summary.low):
        return "–"
    return f"{_text(summary.metric, summary.low)} – {_text(summary.metric, summary.high)}"


def _text(name: str, value: float) -> str:
    return METRICS[name].text(value)


def _percent(fraction: float) -> str:
    return "–" if fraction != fraction else f"{100 * fraction:.0f} %"


def _tone(value: float) -> str:
    return "bad" if value < FAILURE_DICE else ""


def _confused(percent: float, right: bool) -> str:
    if right:
        return "good" if percent >= 50 else "bad"
    return "warn" if percent >= 5 else "soft" if percent < 0.005 else ""


def _organ(organ: str) -> Cell:
    return Cell(title_of(organ), organ, colour=BY_NAME[organ].colour)


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""
