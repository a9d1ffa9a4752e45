"""Flags that name datasets, and the table of what was understood of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk

if TYPE_CHECKING:
    from abdoseg.training.data.collect import DatasetRequest, TrainingData

data_options = options.together(
    click.option("--data", "roots", type=click.Path(path_type=Path), multiple=True, required=True, metavar="PATH",
                 help="A dataset: folder, zip, CSV of pairs, or what abdoseg prepare wrote. May be given again."),
    click.option("--labels", "schemes", multiple=True, metavar="SCHEME", default=("auto",), show_default=True,
                 help="Label numbers: auto, flare22, totalseg, btcv, amos, msd-liver, kits, abdoseg or a JSON file; "
                 "once for all data, or once for each."),
    click.option("--weight", "weights", multiple=True, type=click.FloatRange(min=0, min_open=True), default=(1.0,),
                 show_default=True, help="How often a dataset's cases are drawn; once for all data, or once for each."),
    click.option("--healthy-liver", "healthy_livers", multiple=True, type=click.Path(path_type=Path), metavar="PATH",
                 help="One of the --data whose livers hold no tumours: they count as annotated for them, and may get "
                 "synthetic ones. May be given again."),
    click.option("--cache", type=click.Path(path_type=Path), default="abdoseg-cache", show_default=True,
                 help="Where packed data is kept between runs."),
    click.option("--keep-going", is_flag=True, help="Leave out cases that cannot be read or do not fit together."),
    click.option("--resample-labels", "realign", is_flag=True, help="Accept labels on another grid than their image."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Datasets as the command line names them.

    schemes, weights: one for all roots, or one for each. healthy_livers: some of the roots.
    """

    roots: tuple[Path, ...]
    schemes: tuple[str, ...]
    weights: tuple[float, ...]
    healthy_livers: tuple[Path, ...]
    cache: Path
    keep_going: bool
    realign: bool

    def requests(self) -> list[DatasetRequest]:
        """A request a dataset. Raises UsageError when labels, weights or healthy livers do not go with them."""
        from abdoseg.training.data.collect import DatasetRequest

        count = len(self.roots)
        for values, flag in ((self.schemes, "--labels"), (self.weights, "--weight")):
            if len(values) not in (1, count):
                raise click.UsageError(f"{count} --data and {len(values)} {flag}: give one for all, or one for each")
        if not all(map(math.isfinite, self.weights)):
            raise click.UsageError("--weight is no finite number")
        schemes = self.schemes * (count if len(self.schemes) == 1 else 1)
        weights = self.weights * (count if len(self.weights) == 1 else 1)
        if unknown := [str(path) for path in self.healthy_livers if path not in self.roots]:
            raise click.UsageError(f"--healthy-liver {unknown[0]}: no such --data; name one of {_named(self.roots)}")
        return [
            DatasetRequest(root, labels, weight, root in self.healthy_livers)
            for root, labels, weight in zip(self.roots, schemes, weights, strict=True)
        ]


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def show_training_data(data: TrainingData, talk: Talk) -> None:
    """Says what was understood: datasets, organs with their volumes, spacing and HU, what was left out, what is odd."""
    from rich.table import Table

    from abdoseg.training.data.collect import census

    for line in data.datasets:
        talk.say(line)
    cases = data.cache.cases
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("organ", "annotated in", "found in", "median ml", "median HU"):
        table.add_column(name, justify="left" if name == "organ" else "right")
    for organ, (annotated, found, volume_ml) in census(cases).items():
        hu = sorted(case.facts["organ_hu"][organ] for case in cases if organ in case.facts.get("organ_hu", {}))
        middle = f"{hu[len(hu) // 2]:.0f}" if hu else ""
        table.add_row(organ, str(annotated), str(found), f"{volume_ml:.1f}", middle)
    talk.console().print(table)
    spacing = sorted(tuple(case.facts["spacing_mm"]) for case in cases if "spacing_mm" in case.facts)
    if spacing:
        ranges = [f"{min(s):g} to {max(s):g}" for s in zip(*spacing, strict=True)]
        talk.say(f"spacing {' x '.join(ranges)} mm; packed on {' x '.join(f'{s:g}' for s in cases[0].spacing_mm)} mm")
    hu_ranges = [case.facts["hu"] for case in cases if "hu" in case.facts]
    if hu_ranges:
        low, high = min(h[0] for h in hu_ranges), max(h[1] for h in hu_ranges)
        talk.say(f"HU of the middle 99 percent: {low:g} to {high:g}")
    alone = sum(not case.has_image for case in cases)
    if alone:
        talk.say(f"{alone} label maps without images: scans will be synthesized from them")
    for what, why in data.left_out:
        talk.warn(f"left out: {what}: {why}")
    for remark in data.remarks:
        talk.warn(remark)
