"""abdoseg info: what a scan is, on one screen or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.process import tune_process


@click.command()
@click.argument("scan", type=click.Path(path_type=Path))
@options.series
@options.gaps
@options.assume_axes
@options.as_json
@options.quiet
def info(scan: Path, series: str | None, gaps: str, assume_axes: bool, as_json: bool, quiet: bool) -> None:
    """Show what SCAN is: series, grid, HU, field of view, and what segmenting it will take."""
    tune_process()
    from abdoseg.io.read import inspect_scan
    from abdoseg.quality.scan_check import facts

    talk = Talk(quiet)
    seen = inspect_scan(scan, series=series, gaps=gaps, assume_axes=assume_axes)
    for note in seen.notes:
        talk.warn(note)
    found = facts(seen)
    if as_json:
        click.echo(json.dumps({"scan": str(scan), **found, "notes": seen.notes}))
        return
    for name, value in _lines(found):
        click.echo(f"{name:<14} {value}")
    if len(found.get("series", [])) > 1:
        _list_series(scan)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each line; sizes in the order of the file's axes."""
    lines = [
        ("format", found["format"]),
        ("shape", _times(found["shape"])),
        ("spacing", f"{_times(found['spacing_mm'])} mm"),
        ("axes", found["axes"]),
        ("field of view", f"{_times(found['field_of_view_mm'])} mm"),
        ("HU", f"{found['hu_range'][0]:g} to {found['hu_range'][1]:g}"),
    ]
    if found["format"] == "DICOM":
        from abdoseg.io.dicom.series import counted

        chosen = found["series"][found["chosen"] - 1]
        lines += [
            ("series", f"{found['chosen']} of {len(found['series'])}, {chosen['slices']} slices ({found['why']})"),
            ("encoding", ", ".join(found["transfer_syntaxes"])),
            ("contrast", "agent given" if found["contrast_agent"] else "no agent recorded"),
            ("position", found["patient_position"] or "not said"),
        ]
        if found["left_out"]:
            lines.append(("left out", counted(found["left_out"].items())))
    if found["shear_degrees"] > 0.01:
        lines.append(("tilt", f"{found['shear_degrees']} degrees"))
    lines.append(
        ("to segment", f"about {found['expected_seconds']:.0f} s and {found['expected_gb']:.1f} GB on two cores")
    )
    return lines


def _times(numbers: list[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)


def _list_series(scan: Path) -> None:
    """Every CT series, best first, with the description that its header gives."""
    from abdoseg.io.dicom.series import catalogue

    click.echo("\nCT series, for --series N:")
    for series in catalogue(scan).series:
        click.echo(f"  {series.line()}  {series.description}".rstrip())
