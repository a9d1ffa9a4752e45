"""Deprecated flags: former names work for one version, with a warning, and are not in the help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class FormerFlags(click.Command):
    """A command that still understands flags by their former names.

    former: the name that a flag had, to the one that it has.
    """

    def __init__(self, *args: Any, former: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.former = former

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments, former names replaced."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(self._renamed, args[:end]), *args[end:]])

    def _renamed(self, argument: str) -> str:
        name, *value = argument.split("=", 1)
        if name not in self.former:
            return argument
        now = self.former[name]
        click.echo(f"warning: {name} is called {now} now; the next version will not know it any more", err=True)
        return "=".join([now, *value])
