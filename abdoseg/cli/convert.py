"""abdoseg convert: any scan that can be read, to NIfTI in HU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk

if TYPE_CHECKING:
    from abdoseg.image.volume import Volume

SHEARED = 0.01  # degrees


@click.command()
@click.argument("scan", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help=".nii or .nii.gz.")
@options.series
@options.gaps
@options.assume_axes
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="For a SEG or RTSTRUCT: the series it was drawn on, or a scan on its grid.  [default: the one beside it]",
)
@click.option(
    "--labels",
    "scheme",
    default="abdoseg",
    metavar="FILE",
    help='For a SEG or RTSTRUCT: JSON with the organs of its names, such as {"ROI-1": "liver"}.',
)
@click.option("--straighten", is_flag=True, help="Resample the slices of a tilted gantry onto an upright grid.")
@options.overwrite
@options.quiet
def convert(
    scan: Path,
    output: Path,
    series: str | None,
    gaps: str,
    assume_axes: bool,
    reference: Path | None,
    scheme: str,
    straighten: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Convert SCAN, a DICOM folder or any other scan, to one NIfTI file in HU, or a DICOM SEG or RTSTRUCT to labels.

    Geometry is exact: the lean of a tilted gantry stays, as a sheared sform, unless --straighten is given. HU below
    -1024 (padding) become -1024. Nothing of the patient's identity is written.
    """
    from abdoseg.errors import UsageError
    from abdoseg.io import read_labels, read_scan, write_nifti
    from abdoseg.io.dicom.label_objects import is_label_object
    from abdoseg.io.read import read_grid
    from abdoseg.runtime.files import ensure_absent, writing

    talk = Talk(quiet)
    if not output.name.lower().endswith((".nii", ".nii.gz")):
        raise UsageError(f"{output}: the output is NIfTI; name it .nii or .nii.gz")
    ensure_absent([output], overwrite)
    if is_label_object(scan):
        grid = None if reference is None else read_grid(reference, series=series, gaps=gaps)
        labelmap = read_labels(scan, scheme, grid=grid)
        named = ", ".join(f"{label} {organ}" for label, organ in labelmap.organs.items())
        talk.say(f"labels: {named or 'none known'}")
        with writing(output, overwrite) as temporary:
            write_nifti(labelmap.labels, labelmap.stored, temporary)
        click.echo(output)
        return
    volume = read_scan(scan, series=series, gaps=gaps, assume_axes=assume_axes)
    for note in volume.notes:
        talk.warn(note)
    if volume.geometry.shear_degrees > SHEARED:
        if straighten:
            volume = _straightened(volume)
        else:
            talk.warn("many viewers overlook the shear of the sform; --straighten resamples onto an upright grid")
    with writing(output, overwrite) as temporary:
        write_nifti(volume.voxels, volume.stored, temporary)
    click.echo(output)


def _straightened(volume: Volume) -> Volume:
    """The scan on a grid of the same spacing with axes at right angles, as large as the leaning one; air around it."""
    import numpy as np

    from abdoseg.image.resample import resample_image
    from abdoseg.image.volume import Geometry, Stored, Volume

    leaning = volume.geometry
    low, high = leaning.corners_mm().min(axis=0), leaning.corners_mm().max(axis=0)
    shape = np.ceil((high - low) / leaning.spacing_mm).astype(int) + 1
    affine = np.diag([*leaning.spacing_mm, 1.0])
    affine[:3, 3] = low
    upright = Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    voxels = resample_image(volume.voxels, leaning, upright)
    hu = np.round(voxels).astype(np.int16) if volume.voxels.dtype == np.int16 else voxels
    return Volume(hu, upright, Stored(upright), volume.notes, volume.details)
