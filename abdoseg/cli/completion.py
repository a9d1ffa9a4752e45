"""Shell completion scripts, made by click: `python -m abdoseg.cli.completion man/completions` writes them anew."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from abdoseg.cli import commands

NAME, VARIABLE = "abdoseg", "_ABDOSEG_COMPLETE"
FILES: dict[str, type[ShellComplete]] = {
    "abdoseg.bash": BashComplete,
    "_abdoseg": ZshComplete,
    "abdoseg.fish": FishComplete,
}


def scripts() -> dict[str, str]:
    """Every script by the file name under which its shell looks for it."""
    # BashComplete.source() would start bash to ask for its version; the script is the same whatever it says.
    return {
        file: ShellComplete.source(shell(commands, {}, NAME, VARIABLE)).strip() + "\n" for file, shell in FILES.items()
    }


def write_scripts(folder: Path) -> None:
    """Writes every script into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts().items():
        (folder / name).write_text(text, encoding="utf-8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Write the completion scripts into FOLDER."""
    write_scripts(folder)


if __name__ == "__main__":
    main()
