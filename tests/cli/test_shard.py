"""Shards of array jobs, by the variables that schedulers set."""

import pytest

from abdoseg.cli.shard import resolve_shard
from abdoseg.errors import UsageError


def slurm(number, first, last, step=1):
    names = ("ID", "MIN", "MAX", "STEP")
    return {f"SLURM_ARRAY_TASK_{name}": str(n) for name, n in zip(names, (number, first, last, step), strict=True)}


@pytest.mark.parametrize(
    ("environment", "shards"),
    [
        ([slurm(n, 0, 3) for n in range(4)], ["1/4", "2/4", "3/4", "4/4"]),
        ([slurm(n, 1, 4) for n in range(1, 5)], ["1/4", "2/4", "3/4", "4/4"]),
        ([slurm(n, 10, 20, 5) for n in (10, 15, 20)], ["1/3", "2/3", "3/3"]),
        ([{"SGE_TASK_ID": str(n), "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "2"} for n in (1, 2)], ["1/2", "2/2"]),
    ],
)
def test_every_task_of_an_array_has_its_shard_whatever_its_first_number(environment, shards):
    assert [resolve_shard("auto", one) for one in environment] == shards


@pytest.mark.parametrize("name", ["PBS_ARRAY_INDEX", "PBS_ARRAYID"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_number_of_tasks_is_given_for_pbs(name, first):
    shards = [resolve_shard("auto/3", {name: str(n)}) for n in range(first, first + 3)]
    assert sorted(shards) == ["1/3", "2/3", "3/3"]
    with pytest.raises(UsageError, match="give auto/N"):
        resolve_shard("auto", {name: "1"})


def test_outside_an_array_and_with_nonsense_it_is_refused():
    for environment in ({}, {"SGE_TASK_ID": "undefined", "SGE_TASK_FIRST": "undefined"}):
        with pytest.raises(UsageError, match="no array job"):
            resolve_shard("auto", environment)
    with pytest.raises(UsageError, match="no number"):
        resolve_shard("auto", slurm("x", 0, 3))


def test_a_shard_in_numbers_is_left_as_it_is():
    assert resolve_shard("3/8", slurm(0, 0, 3)) == "3/8"
    assert resolve_shard(None, slurm(0, 0, 3)) is None
