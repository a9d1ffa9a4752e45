"""abdoseg compare: models side by side, as files and as JSON."""

import csv
import json

import pytest
from click.testing import CliRunner
from phantom_labels import cohort

from abdoseg.cli.compare import compare
from abdoseg.errors import MissingPredictionError, UsageError


def run(*arguments):
    result = CliRunner().invoke(compare, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for name, shifts in (("a", [1, 2, 3, 2, 1, 3]), ("b", [0, 1, 1, 0, 0, 1]), ("c", [1, 2, 3, 2, 1, 3])):
        pred, truth = cohort(folder / name, shifts)
        found.append(pred.rename(folder / f"run{name.upper()}"))
    return [*found, truth]


def test_models_stand_side_by_side(runs):
    result = run(*runs)
    assert result.exit_code == 0
    for word in ("runA", "runB", "runC", "Differences to runA", "p, Holm", "liver", "spleen"):
        assert word in result.stdout


def test_files_hold_scores_and_differences(runs, tmp_path):
    out = tmp_path / "compare.csv"
    run(*runs, "-o", out, "-q")
    with out.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["organ"], row["metric"]) == ("liver", "dice")]
    assert [(row["model"], row["first"], row["wins"], row["losses"]) for row in rows] == [
        ("runB", "runA", "6", "0"),
        ("runC", "runA", "0", "0"),
    ]
    assert float(rows[0]["p"]) == pytest.approx(2 / 2**6)
    with (tmp_path / "compare_scores.csv").open(newline="") as file:
        scores = list(csv.DictReader(file))
    assert len(scores) == 3 * 6 * 4
    assert list(scores[0])[:3] == ["run", "case", "organ"]


def test_json_holds_both(runs):
    found = json.loads(run(*runs, "--json", "-q").stdout)
    assert list(found["runs"]) == ["runA", "runB", "runC"]
    assert {row["metric"] for row in found["differences"]} == {"dice", "nsd", "hd95_mm"}


def test_runs_of_one_name_are_kept_apart_by_their_parents(tmp_path):
    first, truth = cohort(tmp_path / "x", [0])
    second, _ = cohort(tmp_path / "y", [1])
    assert list(json.loads(run(first, second, truth, "--json", "-q").stdout)["runs"]) == ["x/pred", "y/pred"]


def test_one_run_is_not_a_comparison(tmp_path):
    with pytest.raises(UsageError, match="at least two runs"):
        run(*cohort(tmp_path, [0]))


def test_the_same_run_twice_is_refused(tmp_path):
    pred, truth = cohort(tmp_path, [0])
    with pytest.raises(UsageError, match="given twice"):
        run(pred, pred, truth)


def test_a_run_that_lacks_a_case_fails_after_the_tables(tmp_path):
    first, truth = cohort(tmp_path / "x", [0, 0])
    second, _ = cohort(tmp_path / "y", [0, None])
    with pytest.raises(MissingPredictionError, match="y/pred"):
        run(first, second, truth, "-q")
