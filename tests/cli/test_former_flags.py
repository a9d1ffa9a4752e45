"""Former names of flags: understood with a warning, and not in the help."""

import click
import pytest
from click.testing import CliRunner

from abdoseg.cli.former_flags import FormerFlags


@click.command(cls=FormerFlags, former={"--old": "--new"})
@click.option("--new")
@click.argument("rest", nargs=-1)
def command(new, rest):
    click.echo(f"{new} {rest}")


@pytest.mark.parametrize("arguments", [["--old", "3"], ["--old=3"]])
def test_a_former_flag_is_taken_for_the_one_that_it_became(arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.stdout == "3 ()\n"
    assert result.stderr == "warning: --old is called --new now; the next version will not know it any more\n"


def test_what_follows_two_dashes_is_left_alone():
    result = CliRunner().invoke(command, ["--new", "3", "--", "--old"])
    assert (result.stdout, result.stderr) == ("3 ('--old',)\n", "")


def test_the_help_knows_only_the_new_name():
    text = CliRunner().invoke(command, ["--help"]).output
    assert "--new" in text and "--old" not in text
