"""abdoseg convert: any scan that can be read, to NIfTI in HU."""

from __future__ import annotations

from pathlib import Path

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk


@click.command()
@click.argument("scan", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help=".nii or .nii.gz.")
@click.option("--series", metavar="N|UID", help="Which CT series, where there are several; see abdoseg info.")
@click.option("--gaps", type=click.Choice(["fail", "fill", "split"]), default="fill", show_default=True,
              help="Missing slices: refuse, interpolate (up to 15 mm), or take the longest part.")  # fmt: skip
@click.option(
    "--assume-axes", is_flag=True, help="Take a NIfTI that does not name its axes as left, anterior, superior."
)
@options.overwrite
@options.quiet
def convert(
    scan: Path, output: Path, series: str | None, gaps: str, assume_axes: bool, overwrite: bool, quiet: bool
) -> None:
    """Convert SCAN, a DICOM folder or any other scan, to one NIfTI file in HU.

    Geometry is exact: a tilted gantry stays as a sheared sform. HU below -1024 (padding) become -1024. Nothing of the
    patient's identity is written.
    """
    from abdoseg.errors import UsageError
    from abdoseg.output import ensure_absent, writing
    from abdoseg.scans import read_scan, write_nifti

    talk = Talk(quiet)
    if not output.name.lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{output}: the output is NIfTI; name it .nii or .nii.gz")
    ensure_absent([output], overwrite)
    volume = read_scan(scan, series=series, gaps=gaps, assume_axes=assume_axes)
    for note in volume.notes:
        talk.warn(note)
    with writing(output, overwrite) as temporary:
        write_nifti(volume.voxels, volume.stored, temporary)
    click.echo(output)
