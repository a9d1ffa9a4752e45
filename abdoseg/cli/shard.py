"""Shards of a list of cases: `--shard I/N`, or `auto` within an array job of Slurm, PBS or SGE."""

from __future__ import annotations

import re
from collections.abc import Mapping

from abdoseg.errors import UsageError

# By scheduler: the variable of this task's number, and those of the first, the last, the count and the step, where it
# has them. Sources: sbatch(1), "OUTPUT ENVIRONMENT VARIABLES"; qsub(1) of Grid Engine; PBS Professional, qsub(1B).
SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP")
SGE = ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE")
PBS = ("PBS_ARRAY_INDEX", "PBS_ARRAYID")


def resolve_shard(text: str | None, environment: Mapping[str, str]) -> str | None:
    """The shard as "i/n", i from 1, of "i/n" itself, "auto" or "auto/n". None stays None.

    PBS does not tell how many tasks an array has: `auto/n` says it, with n consecutive numbers, whatever the first.
    Raises UsageError outside an array job.
    """
    if text is None or not re.fullmatch(r"auto(/\d+)?", text):
        return text
    for task, first, last, step in (SLURM, SGE):
        if environment.get(task, "undefined") != "undefined" and first in environment and last in environment:
            number, low, high = (_integer(environment, name) for name in (task, first, last))
            stride = _integer(environment, step) if environment.get(step) else 1
            return f"{(number - low) // stride + 1}/{(high - low) // stride + 1}"
    for task in PBS:
        if task in environment:
            count = int(text.partition("/")[2] or 0)
            if not count:
                raise UsageError("--shard auto: PBS does not say how many tasks the array has; give auto/N")
            return f"{_integer(environment, task) % count + 1}/{count}"
    raise UsageError(f"--shard {text}: this is no array job of Slurm, PBS or SGE; give I/N, such as 3/8")


def _integer(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as error:
        raise UsageError(f"--shard auto: {name} is {environment[name]!r}, which is no number; give I/N") from error
