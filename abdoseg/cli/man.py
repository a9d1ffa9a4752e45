"""Manual pages in troff, one a command: `python -m abdoseg.cli.man man/man1` writes them anew. Needs click-man."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
from click_man.man import ManPage

from abdoseg import __version__
from abdoseg.cli import COMMANDS, commands


def pages() -> dict[str, str]:
    """Every manual page by its file name, without a date: the same commands give the same pages."""
    root = click.Context(commands, info_name="abdoseg")
    contexts = [root]
    for name in COMMANDS:
        command = commands.get_command(root, name)
        assert command is not None
        contexts.append(click.Context(command, info_name=name, parent=root))
    return {f"{context.command_path.replace(' ', '-')}.1": _page(context) for context in contexts}


def _page(ctx: click.Context) -> str:
    command = ctx.command
    made = ManPage(ctx.command_path)
    made.version, made.date = __version__, ""
    made.short_help = command.get_short_help_str(limit=100)
    made.description = _troff(command.help or "")
    made.synopsis = " ".join(command.collect_usage_pieces(ctx))
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    made.options = [record for option in options if (record := option.get_help_record(ctx))]
    if isinstance(command, click.Group):
        members = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        made.commands = [(name, member.get_short_help_str(limit=100)) for name, member in members if member]
    return str(made)


def _troff(text: str) -> str:
    """A help text for troff to fill, but for paragraphs that begin with click's \\b, whose lines stay as they are."""
    filled = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = paragraph.removeprefix("\b\n")
        filled.append(lines if lines == paragraph else f".nf\n{lines}\n.fi")
    return "\n\n".join(filled).replace("\\", "\\\\").strip()


def write_pages(folder: Path) -> None:
    """Writes every manual page into the folder, and removes those of commands that are gone."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.1"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Write the manual pages into FOLDER, and remove those of commands that are gone."""
    write_pages(folder)


if __name__ == "__main__":
    main()
