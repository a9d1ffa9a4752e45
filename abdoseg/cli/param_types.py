"""Values of flags: durations, sizes and lists parsed by callbacks of click, and completed by the shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import click

from abdoseg.errors import UsageError

LEAST_SIZE = 2**20  # bytes; below it a unit was forgotten


def duration(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> float | None:
    """Seconds from 90s, 45m, 2h, 1h30m, or plain seconds."""
    if text is None:
        return None
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(f"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", text)
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    if not seconds:
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 45m, 2h or 1h30m")
    return float(seconds)


def size(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> int | None:
    """Bytes of "2G", "1500M" or a plain number. Raises UsageError."""
    if text is None:
        return None
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number = text.upper().removesuffix("B").removesuffix("I")
    try:
        found = int(float(number.rstrip("KMG")) * units.get(number[-1:], 1))
    except (ValueError, OverflowError):
        found = 0
    if found < LEAST_SIZE:
        raise UsageError(f"--max-memory {text}: give a size such as 2G or 1500M")
    return found


def words(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def auto_or_from(least: int) -> Callable[[Any, Any, str | None], int | Literal["auto"] | None]:
    """A callback for auto, or a whole number from `least` on."""

    def convert(ctx: Any, option: Any, text: str | None) -> int | Literal["auto"] | None:
        if text is None:
            return None
        if text == "auto":
            return "auto"
        if not text.isdigit() or int(text) < least:
            raise click.BadParameter(f"{text!r} is neither auto nor a whole number from {least} on")
        return int(text)

    return convert


def counts(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> tuple[int, ...]:
    """Whole numbers above 0 between commas."""
    found = words(ctx, option, text)
    if not all(word.isdigit() and int(word) for word in found):
        raise click.BadParameter(f"{text!r} is no list of counts; write 1,2,4,8")
    return tuple(int(word) for word in found)


def complete_scheme(ctx: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Label schemes that begin so."""
    from abdoseg.anatomy.label_schemes import SCHEMES

    return [name for name in SCHEMES if name.startswith(begun)]


def complete_organs(ctx: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """The list with its last organ completed."""
    from abdoseg.anatomy.organs import BY_NAME

    *before, last = begun.split(",")
    return [",".join([*before, name]) for name in BY_NAME if name.startswith(last) and name not in before]


def complete_recipe(ctx: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Recipes that begin so."""
    from abdoseg.training.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(begun)]
