"""Tables of an evaluation for CSV and JSON: one row a case and organ, one row an organ and metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.evaluation.evaluate import Evaluation
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.score import STATUS, Score
from abdoseg.evaluation.summary import FAILURE_DICE, Overall, Summary
from abdoseg.runtime.files import write_csv, writing

Row = dict[str, Any]
AS_RECORDED = "as recorded, or abdoseg"


def score_row(score: Score) -> Row:
    """One case and organ: names, counts, then every metric in the order of METRICS."""
    counts = score.confusion
    row: Row = {"case": score.case, "organ": score.organ, "status": score.status}
    row |= {name: metric.value(score) for name, metric in METRICS.items()}
    row |= {"nsd_tolerance_mm": score.nsd_tolerance_mm, "surface": score.surface}
    return row | {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn}


def summary_rows(evaluation: Evaluation) -> list[Row]:
    """One row an organ and metric, each with the organ's failures and pooled overlap; and one for each label that its
    side's scheme has no name for, with the number of files that hold it."""
    rows = []
    for organ in evaluation.organs:
        shared = {"cases": organ.cases, "failures": organ.failures, "failure_rate": organ.failure_rate}
        pooled = {"pooled_dice": organ.pooled.dice, "pooled_iou": organ.pooled.iou}
        rows += [asdict(summary) | shared | pooled for summary in organ.metrics if summary.n]
    columns = rows[0] if rows else {"organ": "", "metric": "", "n": 0}
    for side, labels in evaluation.unknown.items():
        for number, cases in labels.items():
            named = {"organ": f"label {number}", "metric": f"unknown_in_{side}", "n": len(cases)}
            rows.append(dict.fromkeys(columns, "") | named)
    return rows


def lesion_rows(evaluation: Evaluation) -> list[Row]:
    """One row a kind of lesion that was scored: lesions found by diameter, false ones, the burden's error."""
    return [{"organ": organ.organ} | organ.lesions.row() for organ in evaluation.organs if organ.lesions]


def as_json(evaluation: Evaluation) -> Row:
    """Everything, ready for json.dumps: NaN is null, infinity the string "inf"."""
    options, reading = evaluation.options, evaluation.reading
    present = {organ.organ for organ in evaluation.organs}
    everything = json_values(
        {
            "settings": {
                "surface": options.surface,
                "nsd_tolerance_mm": {organ: options.tolerance_mm(organ) for organ in BY_NAME if organ in present},
                "lesions_apart": options.lesions_apart,
                "lesion_overlap": options.min_overlap,
                "truth_labels": reading.truth_scheme or AS_RECORDED,
                "prediction_labels": reading.prediction_scheme or AS_RECORDED,
                "grid_tolerance_mm": reading.grid_tolerance_mm,
                "resample": reading.resample,
            },
            "missing": evaluation.pairing.missing,
            "extra": [path.name for path in evaluation.pairing.extra],
            "unknown_labels": evaluation.unknown,
            "warnings": evaluation.warnings,
            "overall": _overall_row(evaluation.overall),
            "organs": {
                organ.organ: {
                    "cases": organ.cases,
                    "failures": organ.failures,
                    "failure_rate": organ.failure_rate,
                    "pooled": asdict(organ.pooled) | {"dice": organ.pooled.dice, "iou": organ.pooled.iou},
                    "metrics": {summary.metric: _statistics(summary) for summary in organ.metrics if summary.n},
                    "lesions": organ.lesions and organ.lesions.row(),
                }
                for organ in evaluation.organs
            },
            "confusion": confusion_table(evaluation),
            "cases": [score_row(score) for score in evaluation.scores],
            "meaning": {name: metric.meaning for name, metric in METRICS.items()}
            | {"status": dict(STATUS), "failure": f"Dice below {FAILURE_DICE}"},
        }
    )
    return dict(everything)


def confusion_table(evaluation: Evaluation) -> Row:
    """Voxels of all cases pooled, by label: `names`, and `voxels` with truths as rows and predictions as columns."""
    total = evaluation.histogram
    used = [0] + [organ.label for organ in BY_NAME.values() if total[organ.label].any() or total[:, organ.label].any()]
    names = {organ.label: organ.name for organ in BY_NAME.values()} | {0: "background"}
    return {
        "names": [names[label] for label in used],
        "voxels": [[int(total[row, column]) for column in used] for row in used],
    }


def write_rows(
    rows: Iterable[Mapping[str, Any]], path: Path, overwrite: bool = False, header: Iterable[str] = ()
) -> None:
    """The rows as CSV: nothing for what is not defined, `inf` for infinity. Raises OutputError.

    header: of a table without rows.
    """
    rows = list(rows)
    with writing(path, overwrite) as temporary:
        write_csv(temporary, rows[0] if rows else header, ([_text(value) for value in row.values()] for row in rows))


def beside(path: Path, word: str) -> Path:
    """Where a further table goes that belongs to a CSV: scores.csv, scores_summary.csv."""
    return path.with_name(f"{path.stem}_{word}{path.suffix or '.csv'}")


def _overall_row(overall: Overall) -> Row:
    """Its fields, `iou_at_half` by the name that users know."""
    row = {field.name: getattr(overall, field.name) for field in fields(overall)}
    return {"iou_at_0.5" if name == "iou_at_half" else name: value for name, value in row.items()}


def _statistics(summary: Summary) -> Row:
    return {name: value for name, value in asdict(summary).items() if name not in ("organ", "metric")}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return "" if value is None else str(value)


def json_values(value: Any) -> Any:
    """A value as json.dumps takes it strictly: NaN is None, infinity the string "inf"."""
    if isinstance(value, Mapping):
        return {str(key): json_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
