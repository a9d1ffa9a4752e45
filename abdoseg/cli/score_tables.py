"""The tables that `eval` and `compare` print: cases, organs, runs beside each other."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from abdoseg.evaluation import Evaluation
from abdoseg.evaluation.compare import Difference
from abdoseg.evaluation.flare import OfficialScore
from abdoseg.evaluation.metric_table import METRICS
from abdoseg.metrics.lesions import SIZES_MM

WIDE = 160  # columns of a table that is not read on a terminal
CASES_SHOWN = 12  # more cases than this are left to --output and --report
BY_CASE = ("dice", "iou", "precision", "recall", "nsd", "hausdorff_mm", "hd95_mm", "assd_mm",
           "truth_ml", "prediction_ml", "difference_percent")  # fmt: skip
COMPARED = ("dice", "nsd", "hd95_mm", "assd_mm")


def print_tables(tables: Sequence[Table]) -> None:
    """Tables on stdout: as wide as the terminal, or wide enough for a file; never so narrow that numbers are cut.

    Names are printed as they are: brackets and colons in them are no markup.
    """
    console = Console(width=None if sys.stdout.isatty() else WIDE, markup=False, emoji=False)
    unlimited = console.options.update(max_width=10 * WIDE)
    console.width = max([console.width, *(Measurement.get(console, unlimited, table).minimum for table in tables)])
    for table in tables:
        console.print(table)


def evaluation_tables(evaluation: Evaluation, official: Sequence[OfficialScore]) -> list[Table]:
    """Cases where they are few, organs where there are several cases, the script's numbers where they are wanted."""
    tables = []
    if len(evaluation.cases) <= CASES_SHOWN:
        tables.append(_by_case(evaluation))
    if len(evaluation.cases) > 1:
        tables.append(_by_organ(evaluation))
    tables += [lesion_table(evaluation)] if any(organ.lesions for organ in evaluation.organs) else []
    return tables + ([_beside_official(official)] if official else [])


def _by_case(evaluation: Evaluation) -> Table:
    table = Table(title="By case and organ")
    for name in ("case", "organ"):
        table.add_column(name, no_wrap=True)
    for name in BY_CASE:
        table.add_column(METRICS[name].title, justify="right")
    for score in evaluation.scores:
        style = {"true_positive": "", "true_negative": "dim"}.get(score.status, "bold red")
        numbers = [METRICS[name].text(METRICS[name].value(score)) for name in BY_CASE]
        table.add_row(score.case, score.organ, *numbers, style=style)
    return table


def _by_organ(evaluation: Evaluation) -> Table:
    overall = evaluation.overall
    table = Table(
        title=f"{overall.cases} cases",
        caption=f"mean Dice {METRICS['dice'].text(overall.dice)}, mean IoU {METRICS['iou'].text(overall.mean_iou)}, "
        f"NSD {METRICS['nsd'].text(overall.nsd)}, pixel accuracy {overall.pixel_accuracy:.5f}{_apart(overall.apart)}",
    )
    table.add_column("organ", no_wrap=True)
    for name in ("cases", "Dice mean", "95 % interval", "sd", "median", "worst", "IoU", "NSD", "HD95, mm", "ASSD, mm",
                 "failed"):  # fmt: skip
        table.add_column(name, justify="right")
    for organ in evaluation.organs:
        dice = organ.metric("dice")
        means = [organ.metric(name).text for name in ("iou", "nsd", "hd95_mm", "assd_mm")]
        texts = [METRICS["dice"].text(value) for value in (dice.mean, dice.low, dice.high, dice.sd, dice.median)]
        table.add_row(
            organ.organ, str(organ.cases), texts[0], f"{texts[1]} to {texts[2]}", texts[3], texts[4],
            f"{dice.worst:.4f} {dice.worst_case}", *means, str(organ.failures),
        )  # fmt: skip
    return table


def _apart(organs: Sequence[str]) -> str:
    """Which organs the means leave out."""
    return f"; without {', '.join(organs)}, which not all cases have" if organs else ""


def lesion_table(evaluation: Evaluation) -> Table:
    """Lesions found by their longest axial diameter, false ones, and how far the burden is off."""
    table = Table(title="Lesions")
    table.add_column("lesions", no_wrap=True)
    small, large = SIZES_MM
    for name in ("cases", "healthy", f"found, below {small:g} mm", f"{small:g} to {large:g} mm", f"above {large:g} mm",
                 "false, a case", "false, a healthy case", "burden off by, points"):  # fmt: skip
        table.add_column(name, justify="right")
    for organ in evaluation.organs:
        if (found := organ.lesions) is not None:
            row = found.row()
            rates = [row[name] for name in ("false_lesions_an_organ", "false_lesions_a_healthy_organ", "burden_error")]
            table.add_row(
                organ.organ, str(found.organs), str(found.healthy), *(f"{n} of {there}" for n, there in found.by_size),
                *(METRICS["burden_error"].text(rate) for rate in rates),
            )  # fmt: skip
    return table


def _beside_official(official: Sequence[OfficialScore]) -> Table:
    table = Table(title="Beside the official FLARE22 script")
    for name in ("case", "organ", "DSC, script", "Dice, ours", "NSD, script", "NSD, ours", "why they differ"):
        table.add_column(name, justify="left" if name in ("case", "organ", "why they differ") else "right")
    for row in official:
        numbers = [f"{value:.4f}" for value in (row.dsc, row.ours_dice, row.nsd, row.ours_nsd)]
        table.add_row(row.case, row.organ, *numbers, row.why)
    return table


def means_table(models: Mapping[str, Evaluation]) -> Table:
    """Every run's means, organ by organ."""
    table = Table(title="Means over cases")
    table.add_column("organ")
    table.add_column("run")
    for name in (*(METRICS[name].title for name in COMPARED), "failures", "cases"):
        table.add_column(name, justify="right")
    organs = dict.fromkeys(organ.organ for model in models.values() for organ in model.organs)
    for organ in organs:
        for name, model in models.items():
            for summary in model.organs:
                if summary.organ == organ:
                    means = [summary.metric(metric).text for metric in COMPARED]
                    table.add_row(organ, name, *means, str(summary.failures), str(summary.cases))
        table.add_section()
    return table


def differences_table(found: Sequence[Difference]) -> Table:
    """Every run against the first; bold where the difference is more than chance."""
    table = Table(title=f"Differences to {found[0].first}" if found else "Differences")
    for name in ("run", "organ", "metric"):
        table.add_column(name)
    for name in ("pairs", "difference", "95 % interval", "better", "worse", "p", "p, Holm"):
        table.add_column(name, justify="right")
    for row in found:
        text = METRICS[row.metric].text
        table.add_row(
            row.model,
            row.organ,
            METRICS[row.metric].title,
            f"{row.cases} ({row.infinite} inf)" if row.infinite else str(row.cases),
            text(row.mean),
            f"{text(row.low)} to {text(row.high)}",
            str(row.wins),
            str(row.losses),
            _p(row.p),
            _p(row.p_holm),
            style="bold" if row.p_holm < 0.05 else "",
        )
    return table


def _p(value: float) -> str:
    return "–" if value != value else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
