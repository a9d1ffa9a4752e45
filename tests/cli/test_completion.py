"""Shell completion: the scripts in man/completions are click's own, and commands, flags and values are completed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from abdoseg.cli.completion import main, scripts, write_scripts

FOLDER = Path(__file__).parents[2] / "man" / "completions"


def completed(*words):
    """What bash is offered for the last word."""
    line = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_ABDOSEG_COMPLETE": "bash_complete"}
    code = "from abdoseg.cli import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | line, capture_output=True, text=True, check=True
    )
    return [answer.split(",", 1)[1] for answer in found.stdout.splitlines()]


def test_the_scripts_are_in_step_with_the_command(tmp_path):
    write_scripts(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == scripts()
    kept = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert kept == made, "run `python -m abdoseg.cli.completion man/completions`"


def test_what_is_no_folder_makes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [CliRunner().invoke(main, words).exit_code for words in (["--help"], [], ["--man"])] == [0, 2, 2]
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(main, [str(tmp_path / "new")]).exit_code == 0
    assert len(list((tmp_path / "new").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("abdoseg", "seg"), ["segment"]),
        (("abdoseg", "segment", "--overw"), ["--overwrite"]),
        (("abdoseg", "segment", "--labels", "flare22"), ["flare22"]),
        (("abdoseg", "segment", "--organs", "liver,sp"), ["liver,spleen"]),
        (("abdoseg", "eval", "--gt-labels", "total"), ["totalseg"]),
        (("abdoseg", "train", "--recipe", "vnet-p"), ["vnet-paper"]),
    ],
)
def test_commands_flags_and_values_are_completed(words, expected):
    assert completed(*words) == expected
