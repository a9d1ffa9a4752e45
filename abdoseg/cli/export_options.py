"""The flags of every export format, for the commands that export: `export` and `segment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from abdoseg.errors import UsageError
from abdoseg.exporters import EXPORTERS

if TYPE_CHECKING:
    from abdoseg.exporters.job import ExportOptions

F = TypeVar("F", bound=Callable[..., Any])
_FLAGS = [
    *(click.option(f"--{name}", is_flag=True, help=made.help) for name, made in EXPORTERS.items()),
    click.option("--split/--together", default=None, help="One file an organ, or all in one.  [default: by format]"),
    click.option("--space", type=click.Choice(["LPS", "RAS"]), default="LPS", show_default=True, help="Of meshes."),
    click.option("--triangles", type=click.IntRange(min=100), default=20_000, show_default=True, metavar="N",
                 help="Most in an organ's mesh; more where fewer would not close it."),
    click.option("--plane", type=click.Choice(["axial", "coronal", "sagittal"]), default="axial", show_default=True,
                 help="Of slices in videos."),
    click.option("--window", default="abdomen", show_default=True, metavar="NAME|LOW:HIGH",
                 help="HU shown: abdomen, liver, soft-tissue, bone, or two numbers."),
    click.option("--style", type=click.Choice(["both", "contour", "fill"]), default="both", show_default=True,
                 help="How organs are drawn on slices."),
    click.option("--fps", type=click.IntRange(1, 60), default=25, show_default=True, help="Pictures a second."),
    click.option("--seconds", type=click.FloatRange(min=0.1, max=600), help="Length of a video.  [default: by slices]"),
    click.option("--seg-type", type=click.Choice(["binary", "labelmap"]), default="binary", show_default=True,
                 help="Of DICOM SEG. Every viewer reads binary."),
]  # fmt: skip


def export_flags(command: F) -> F:
    """Gives a command a flag for every format, and those that say how they look."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def wanted(flags: Mapping[str, Any]) -> list[str]:
    """The formats whose flags are set, in the registry's order."""
    return [name for name in EXPORTERS if flags[name.replace("-", "_")]]


def chosen_options(flags: Mapping[str, Any]) -> ExportOptions:
    """What the flags say of how outputs look. Raises UsageError."""
    from abdoseg.exporters.job import ExportOptions
    from abdoseg.rendering import WINDOWS, SliceStyle

    window = flags["window"]
    try:
        low, high = WINDOWS[window] if window in WINDOWS else [float(end) for end in window.split(":")]
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise UsageError(f"--window {window}: give {', '.join(WINDOWS)}, or two HU as LOW:HIGH, the lower first")
    return ExportOptions(
        space=flags["space"],
        triangles=flags["triangles"],
        plane=flags["plane"],
        slice_style=SliceStyle(window_hu=(low, high), overlay=flags["style"]),
        fps=flags["fps"],
        seconds=flags["seconds"],
        seg_type=flags["seg_type"],
        series=flags["series"],
        gaps=flags["gaps"],
    )
