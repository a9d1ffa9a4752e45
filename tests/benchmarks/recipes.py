"""Every recipe for an equal time on the same split, by the product's own command; then a table of what each reached.

    python tests/benchmarks/recipes.py ../shared/data/FLARE22 -o recipes/ --time-budget 10m

The recipes run one after the other, alone on the machine. A run that is finished is not repeated, one that was
interrupted goes on; so the command may be given again. Dice is the mean over the validation cases from each run's
scores.csv, on the grid of the recipe; seconds a million voxels are those of the run's steps and validations.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

from abdoseg.anatomy.organs import MAIN
from abdoseg.model.plan import members
from abdoseg.training.recipes import RECIPES, from_json


def train(recipe: str, data: list[str], run: Path, arguments: argparse.Namespace) -> None:
    """Trains into `run`, or goes on there; ends the benchmark when that fails."""
    command = [sys.executable, "-m", "abdoseg", "train", "--recipe", recipe, "-o", str(run),
               "--device", arguments.device, "--time-budget", arguments.time_budget,
               "--cache", str(arguments.output / "cache"), "--val-cases", arguments.val_cases]  # fmt: skip
    for root in data:
        command += ["--data", root]
    if (run / "checkpoint.safetensors").exists():
        command.append("--resume")
    print(" ".join(command), file=sys.stderr)
    if status := subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{recipe}: abdoseg train ended with status {status}")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def reached(run: Path) -> dict[str, float]:
    """By organ, the mean Dice of a finished run; of a group, for each of its organs."""
    found = defaultdict(list)
    for row in rows(run / "scores.csv"):
        for organ in members(row["organ"]):
            found[organ].append(float(row["dice"]))
    return {organ: mean(values) for organ, values in found.items()}


def table(runs: list[Path]) -> str:
    """Markdown, a recipe a line."""
    lines = [f"| recipe | steps | {' | '.join(MAIN)} | mean | s a million voxels |", f"|---|{'---|' * (len(MAIN) + 3)}"]
    for run in runs:
        recipe, last = from_json((run / "recipe.json").read_text()), rows(run / "log.csv")[-1]
        seen = (math.prod(recipe.zoom_and_patch(step)[1]) for step in range(int(last["step"])))
        megavoxels = recipe.batch * sum(seen) / 1e6
        dice = reached(run)
        cells = [f"{dice[organ]:.3f}" if organ in dice else "" for organ in MAIN]
        average = f"{mean(dice[organ] for organ in MAIN if organ in dice):.3f}" if set(dice) & set(MAIN) else ""
        seconds = float(last["seconds"]) / megavoxels
        lines.append(f"| `{run.name}` | {last['step']} | {' | '.join(cells)} | {average} | {seconds:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="datasets, as abdoseg train --data takes them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs, one a recipe")
    parser.add_argument("--time-budget", default="10m", help="of each recipe (default 10m)")
    parser.add_argument("--val-cases", default="btcv_0021,btcv_0027,btcv_0031,btcv_0039")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="these only, commas between")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    runs = [arguments.output / recipe for recipe in arguments.recipes.split(",")]
    for run in runs:
        if not (run / "scores.csv").exists():
            train(run.name, arguments.data, run, arguments)
    print(table(runs))


if __name__ == "__main__":
    main()
