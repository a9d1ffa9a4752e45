"""Flags of the export formats and how exports look, for the commands `export` and `segment`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from abdoseg.cli import options
from abdoseg.errors import UsageError
from abdoseg.exporters import EXPORTERS, check_encoder

if TYPE_CHECKING:
    from abdoseg.exporters.job import ExportOptions


def _format_flag(name: str, help_text: str) -> Callable[[options.F], options.F]:
    """A flag that adds its format to `formats`."""

    def add(ctx: click.Context, option: click.Parameter, is_set: bool) -> None:
        ctx.params["formats"] = ctx.params.get("formats", frozenset()) | ({name} if is_set else frozenset())

    return click.option(f"--{name}", is_flag=True, expose_value=False, callback=add, help=help_text)


export_flags = options.together(
    *(_format_flag(name, exporter.help) for name, exporter in EXPORTERS.items()),
    click.option("--split/--together", default=None, help="One file an organ, or all in one.  [default: by format]"),
    click.option("--space", type=click.Choice(["LPS", "RAS"]), default="LPS", show_default=True, help="Mesh axes."),
    click.option("--triangles", type=click.IntRange(min=100), default=20_000, show_default=True, metavar="N",
                 help="Most in an organ's mesh; more where fewer would not close it."),
    click.option("--plane", type=click.Choice(["axial", "coronal", "sagittal"]), default="axial", show_default=True,
                 help="Plane of the slices in videos."),
    click.option("--window", default="abdomen", show_default=True, metavar="NAME|LOW:HIGH",
                 help="HU shown: abdomen, liver, soft-tissue, bone, or two numbers."),
    click.option("--style", type=click.Choice(["both", "contour", "fill"]), default="both", show_default=True,
                 help="How organs are drawn on slices."),
    click.option("--fps", type=click.IntRange(1, 60), default=25, show_default=True,
                 help="Pictures a second in videos."),
    click.option("--seconds", type=click.FloatRange(min=0.1, max=600), help="Length of a video.  [default: by slices]"),
    click.option("--whole-scan", is_flag=True, help="Videos of all slices, not only those around the organs."),
    click.option("--lesions-apart", is_flag=True,
                 help="Each lesion as a DICOM SEG segment and RTSTRUCT structure of its own."),
    click.option("--seg-type", type=click.Choice(["binary", "labelmap"]), default="binary", show_default=True,
                 help="Kind of DICOM SEG; every viewer reads binary."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """Formats and their looks as the command line has them. formats: names in EXPORTERS.

    series, gaps: how the scan is read, so that DICOM outputs find its slices again.
    """

    formats: frozenset[str]
    split: bool | None
    space: Literal["LPS", "RAS"]
    triangles: int
    plane: Literal["axial", "coronal", "sagittal"]
    window: str
    style: Literal["both", "contour", "fill"]
    fps: int
    seconds: float | None
    whole_scan: bool
    lesions_apart: bool
    seg_type: Literal["binary", "labelmap"]
    series: str | None
    gaps: str

    def format_names(self) -> list[str]:
        """The formats in the registry's order."""
        return [name for name in EXPORTERS if name in self.formats]

    def exporter_options(self) -> ExportOptions:
        """The exporters' options. Raises UsageError for a window that is none, and for a video without ffmpeg."""
        from abdoseg.exporters.job import ExportOptions
        from abdoseg.rendering import SliceStyle

        check_encoder(self.formats)
        return ExportOptions(
            space=self.space,
            triangles=self.triangles,
            plane=self.plane,
            slice_style=SliceStyle(window_hu=self._window_hu(), overlay=self.style),
            fps=self.fps,
            seconds=self.seconds,
            whole_scan=self.whole_scan,
            lesions_apart=self.lesions_apart,
            seg_type=self.seg_type,
            series=self.series,
            gaps=self.gaps,
        )

    def _window_hu(self) -> tuple[float, float]:
        from abdoseg.rendering import WINDOWS

        if self.window in WINDOWS:
            return WINDOWS[self.window]
        try:
            low, high = (float(end) for end in self.window.split(":"))
        except ValueError:
            low = high = 0.0
        if not low < high:
            names = ", ".join(WINDOWS)
            raise UsageError(f"--window {self.window}: give {names}, or two HU as LOW:HIGH, the lower first")
        return low, high
