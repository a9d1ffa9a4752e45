"""Flags that `eval` and `compare` share: how label files are read, what is counted, where results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from abdoseg.anatomy.label_schemes import Scheme, find_scheme
from abdoseg.anatomy.organs import BY_NAME
from abdoseg.cli import options, param_types
from abdoseg.cli.console import Talk
from abdoseg.errors import AbdosegError

if TYPE_CHECKING:
    from abdoseg.evaluation import Evaluation

SCHEME_HELP = "abdoseg, flare22, totalseg, btcv, amos, msd-liver, ..., or a JSON file of number to organ name."


def scheme(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name or JSON file of a label scheme, which must be there and hold one; None as it is."""
    try:
        if value is not None:
            find_scheme(value)
    except AbdosegError as error:
        raise click.BadParameter(str(error)) from error
    return value


def tolerances(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, float]:
    """Tolerances in mm by organ, from `2` for all or `liver=5` for one; a later one replaces an earlier."""
    found: dict[str, float] = {}
    for value in values:
        organ, _, number = value.rpartition("=")
        if organ and organ not in BY_NAME:
            raise click.BadParameter(f"there is no organ {organ!r}; choose from {', '.join(BY_NAME)}")
        try:
            millimetres = float(number)
        except ValueError:
            millimetres = -1.0
        if not 0 <= millimetres < 1000:
            raise click.BadParameter(f"{number!r} is no tolerance in mm; write 3 or liver=5")
        found |= {organ: millimetres} if organ else dict.fromkeys(BY_NAME, millimetres)
    return found


scoring_options = options.together(
    click.option("--pred-labels", callback=scheme, metavar="SCHEME",
                 shell_complete=param_types.complete_scheme,
                 help=f"Label numbers of the predictions: {SCHEME_HELP}  [default: as CASE.json or the header says, "
                 "or abdoseg]"),
    click.option("--gt-labels", callback=scheme, metavar="SCHEME",
                 shell_complete=param_types.complete_scheme,
                 help="Label numbers of the truths, likewise."),
    click.option("--organs", metavar="NAME,...|all", shell_complete=param_types.complete_organs,
                 help="Which organs.  [default: the four main ones, tumours, and what both sides hold]"),
    click.option("--surface", type=click.Choice(["border", "elements"]), default="border", show_default=True,
                 help="What a surface is: border voxels, as MONAI has it; or DeepMind's surface elements, as FLARE."),
    click.option("--tolerance", "tolerances", callback=tolerances, multiple=True, metavar="[ORGAN=]MM",
                 help="Of the NSD; may be repeated.  [default: those of FLARE22: liver 5, kidneys and spleen 3, ...]"),
    click.option("--lesions-apart", is_flag=True,
                 help="Score the liver without its tumours; otherwise they are part of it."),
    click.option("--lesion-overlap", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
                 help="A lesion is found when more than this fraction of it is covered; 0: one voxel is enough."),
    click.option("--grid-tolerance", type=click.FloatRange(min=0), default=0.1, show_default=True, metavar="MM",
                 help="How far the corners of two grids may be apart."),
    click.option("--resample", type=click.Choice(["nearest", "linear"]),
                 help="Bring predictions onto the truth's grid by this method; without it, other grids are an error."),
    options.as_json,
    options.threads,
    options.overwrite,
    options.quiet,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScoringFlags:
    """Scoring as the command line has it."""

    pred_labels: str | Scheme | None
    gt_labels: str | Scheme | None
    organs: str | None
    surface: Literal["border", "elements"]
    tolerances: dict[str, float]
    lesions_apart: bool
    lesion_overlap: float
    grid_tolerance: float
    resample: Literal["nearest", "linear"] | None
    output: Path | None
    as_json: bool
    threads: int | None
    overwrite: bool
    quiet: bool

    def evaluate(self, prediction: Path, truth: Path, talk: Talk) -> Evaluation:
        """Scores one file or folder against another."""
        from abdoseg.evaluation import EvaluationOptions, ReadOptions, evaluate, find_pairs

        return evaluate(
            find_pairs(prediction, truth),
            EvaluationOptions(self.surface, self.tolerances, self.lesions_apart, self.lesion_overlap),
            ReadOptions(self.gt_labels, self.pred_labels, self.grid_tolerance, self.resample),
            organs=self._organ_names(),
            threads=self.threads,
            track=talk.track,
        )

    def _organ_names(self) -> list[str] | None:
        """The organs to score; None for the default."""
        if self.organs is None:
            return None
        return list(BY_NAME) if self.organs == "all" else [name.strip() for name in self.organs.split(",")]
