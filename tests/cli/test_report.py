"""abdoseg report on the command line."""

import sys
from pathlib import Path

from click.testing import CliRunner

from abdoseg.cli import commands
from abdoseg.errors import OutputError

sys.path.insert(0, str(Path(__file__).parents[1] / "cohort"))
from results import write_results


def report(*words):
    return CliRunner().invoke(commands, ["report", *map(str, words)], standalone_mode=False)


def test_the_two_files_are_reported_on_stdout_and_what_is_in_them_on_stderr(tmp_path):
    write_results(tmp_path, 5, failures=1)
    result = report(tmp_path)
    assert result.stdout.splitlines() == [str(tmp_path / "cohort.csv"), str(tmp_path / "index.html")]
    assert result.stderr.splitlines()[0].endswith(": 4 of 5 cases are done, 1 failed, 3 to review")
    assert len(result.stderr.splitlines()) == 3
    assert report(tmp_path, "-q").stderr == ""


def test_a_folder_without_results_is_an_error(tmp_path):
    assert isinstance(report(tmp_path).exception, OutputError)
