"""The command line: one module a command; this one lists them and turns errors into exit codes."""

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from abdoseg import __version__
from abdoseg.cli.process import ignore_dicom_warnings, leave
from abdoseg.errors import AbdosegError, OutputError

# Command name to "module:attribute"; imported only when the command, or the list of commands, is asked for.
COMMANDS = {
    "segment": "abdoseg.cli.segment:segment",
    "report": "abdoseg.cli.report:report",
    "export": "abdoseg.cli.export:export",
    "eval": "abdoseg.cli.evaluate:evaluate",
    "compare": "abdoseg.cli.compare:compare",
    "follow": "abdoseg.cli.follow:follow",
    "info": "abdoseg.cli.info:info",
    "check": "abdoseg.cli.check:check",
    "convert": "abdoseg.cli.convert:convert",
    "train": "abdoseg.cli.train:train",
    "prepare": "abdoseg.cli.prepare:prepare",
    "bench": "abdoseg.cli.bench:bench",
    "demo": "abdoseg.cli.demo:demo",
}


class Commands(click.Group):
    """A group that imports a command's module when it is needed, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # which click would call a failure
            return _unheard()


def _unheard() -> int:
    """The exit code when the reader of our pipe has gone, as `head` does: nothing is left to say, and nothing wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="abdoseg")
def commands() -> None:
    """Abdominal organs from CT, on a laptop, offline, from one command.

    Exit codes: 0 done, 2 usage, 3 scan refused, 4 review, 5 unusable, 6 grids differ, 7 model, 8 output,
    9 dataset, 10 memory or device, 11 training, 12 a prediction is missing, 130 interrupted.
    """


def main() -> None:
    """Runs the command line and exits: bad input gives one message, a bug keeps its traceback."""
    ignore_dicom_warnings()
    try:
        code = commands.main(prog_name="abdoseg", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except AbdosegError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        code = _unheard()
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        click.echo("error: standard output: the disk is full; free some space and call again", err=True)
        code = OutputError.exit_code
    leave(code if isinstance(code, int) else 0)
