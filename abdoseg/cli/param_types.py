"""What the text of a flag means: a duration, a list of words, a list of counts. Callbacks for click."""

from __future__ import annotations

import re

import click


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


def words(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def counts(ctx: click.Context | None, option: click.Parameter | None, text: str | None) -> tuple[int, ...]:
    """Whole numbers above 0 between commas."""
    found = words(ctx, option, text)
    if not all(word.isdigit() and int(word) for word in found):
        raise click.BadParameter(f"{text!r} is no list of counts; write 1,2,4,8")
    return tuple(int(word) for word in found)
