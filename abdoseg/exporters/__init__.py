"""A labelmap to files: one module a format, one line in EXPORTERS each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from abdoseg.exporters.job import Job as Job
from abdoseg.exporters.job import Options as Options
from abdoseg.output import ensure_absent, writing


@dataclass(frozen=True)
class Exporter:
    """One format: the function `write(job, target)` in this room, what follows the case in its file's name, a line
    for `--help`. per_organ: one file an organ unless told otherwise; None when the format holds them all together.
    """

    function: str
    suffix: str
    help: str
    per_organ: bool | None = None


EXPORTERS: Mapping[str, Exporter] = {
    "nifti": Exporter("labelmap:write_nifti", "_seg.nii.gz", "Labelmap as NIfTI on the scan's grid.", False),
    "nrrd": Exporter("labelmap:write_nrrd", ".seg.nrrd", "Labelmap for 3D Slicer, names and colours inside.", False),
    "mha": Exporter("labelmap:write_mha", "_seg.mha", "Labelmap as MetaImage.", False),
    "stl": Exporter("mesh:write_stl", ".stl", "Surfaces as STL, patient millimetres.", True),
    "ply": Exporter("mesh:write_ply", ".ply", "Surfaces as PLY, coloured.", True),
    "obj": Exporter("mesh:write_obj", ".obj", "Surfaces as OBJ.", True),
    "glb": Exporter("mesh:write_glb", ".glb", "Surfaces as GLB, coloured, in metres as glTF has it.", False),
    "csv": Exporter("table:write", "_organs.csv", "Volumes, densities and completeness by organ."),
    "video": Exporter("video:write_slices_mp4", "_slices.mp4", "Slices with the organs as MP4."),
    "gif": Exporter("video:write_slices_gif", "_slices.gif", "Slices with the organs as GIF."),
    "turntable": Exporter("video:write_turntable_mp4", "_turntable.mp4", "Organs in 3-D, turning, as MP4."),
    "turntable-gif": Exporter("video:write_turntable_gif", "_turntable.gif", "Organs in 3-D, turning, as GIF."),
    "sheet": Exporter("sheet:write", "_sheet.png", "Contact sheet: slices in three planes as PNG."),
    "dicom-seg": Exporter("dicom_seg:write", "_seg.dcm", "DICOM SEG on the series named with --reference."),
    "rtstruct": Exporter("rtstruct:write", "_rtstruct.dcm", "DICOM RTSTRUCT on the series named with --reference."),
    "report": Exporter("report:write", "_report.html", "One page with everything, for a browser."),
}


def planned(job: Job, folder: Path, formats: Sequence[str], split: bool | None = None) -> list[tuple[str, Job, Path]]:
    """Every file that an export would write: its format, the job (of one organ, when split) and its path.

    split: one file an organ (True), all in one (False), or as the format has it.
    """
    files = []
    for name in formats:
        exporter = EXPORTERS[name]
        parted = exporter.per_organ if split is None or exporter.per_organ is None else split
        if not parted:
            files.append((name, job, folder / f"{job.case}{exporter.suffix}"))
            continue
        suffix = exporter.suffix.removeprefix("_seg")
        files += [(name, job.only(row.organ), folder / f"{job.case}_{row.organ}{suffix}") for row in job.found]
    return files


def export(
    job: Job, folder: Path, formats: Sequence[str], split: bool | None = None, overwrite: bool = False
) -> Iterator[Path]:
    """Writes a case in every format, and yields each path once its file is whole.

    Raises OutputError before any work when one of them exists and `overwrite` is not given.
    """
    files = planned(job, folder, formats, split)
    ensure_absent([path for _, _, path in files], overwrite)
    for name, part, path in files:
        module, function = EXPORTERS[name].function.split(":")
        write = getattr(import_module(f"abdoseg.exporters.{module}"), function)
        with writing(path, overwrite) as temporary:
            write(part, temporary)
        yield path
