"""The manual pages in man/man1 say what the commands say. `python tests/cli/test_man.py` writes them anew."""

from pathlib import Path

import click
import pytest
from click_man.man import ManPage

from abdoseg import __version__
from abdoseg.cli import COMMANDS, commands

MAN = Path(__file__).parents[2] / "man" / "man1"


def page(ctx: click.Context) -> str:
    """The manual page of a command, in troff, without a date: the same command gives the same page."""
    command = ctx.command
    made = ManPage(ctx.command_path)
    made.version, made.date = __version__, ""
    made.short_help = command.get_short_help_str(limit=100)
    made.description = (command.help or "").replace("\b\n", "")
    made.synopsis = " ".join(command.collect_usage_pieces(ctx))
    records = [p.get_help_record(ctx) for p in command.params if isinstance(p, click.Option) and not p.hidden]
    made.options = [record for record in records if record]
    if isinstance(command, click.Group):
        members = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        made.commands = [(name, member.get_short_help_str(limit=100)) for name, member in members if member]
    return str(made)


def pages() -> dict[str, str]:
    root = click.Context(commands, info_name="abdoseg")
    found = {"abdoseg.1": page(root)}
    for name in COMMANDS:
        command = commands.get_command(root, name)
        assert command is not None
        found[f"abdoseg-{name}.1"] = page(click.Context(command, info_name=name, parent=root))
    return found


@pytest.mark.parametrize("name", ["abdoseg.1", *(f"abdoseg-{name}.1" for name in COMMANDS)])
def test_the_manual_page_is_in_step_with_its_command(name):
    assert (MAN / name).read_text(encoding="utf-8") == pages()[name], "run `python tests/cli/test_man.py`"


def test_there_is_no_manual_page_without_a_command():
    assert {path.name for path in MAN.glob("*.1")} == set(pages())


if __name__ == "__main__":
    for old in MAN.glob("*.1"):
        old.unlink()
    for file_name, text in pages().items():
        (MAN / file_name).write_text(text, encoding="utf-8")
