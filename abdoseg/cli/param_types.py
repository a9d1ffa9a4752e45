"""Values of flags parsed by callbacks of click: durations, sizes, lists of words, lists of counts."""

from __future__ import annotations

import re

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


def counts(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> tuple[int, ...]:
    """Whole numbers above 0 between commas."""
    found = words(ctx, option, text)
    if not all(word.isdigit() and int(word) for word in found):
        raise click.BadParameter(f"{text!r} is no list of counts; write 1,2,4,8")
    return tuple(int(word) for word in found)
