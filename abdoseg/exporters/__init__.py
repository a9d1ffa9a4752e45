"""Exporters: one module a format and one line in EXPORTERS each. Light to import, since the command line lists it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from abdoseg.errors import UsageError

# What is read or worked out of a case only for the formats that show it; the DICOM series, for those that lie on one;
# the encoder, for those that it writes; and an organ at least, for those that cannot be without.
SCAN, SURFACES, LESIONS, SERIES, FFMPEG, ORGAN = "scan", "surfaces", "lesions", "series", "ffmpeg", "organ"


@dataclass(frozen=True)
class Exporter:
    """One format.

    function: `module:function` in this room, called with a Job and a path. suffix: what follows the case in its file's
    name. help: a line for `--help`. per_organ: one file an organ unless told otherwise; None when the format holds all
    organs together. needs: what of the case it shows besides labels and volumes, whether it lies on a DICOM series, and
    whether ffmpeg writes it.
    """

    function: str
    suffix: str
    help: str
    per_organ: bool | None = None
    needs: tuple[str, ...] = ()

    def paths(
        self, folder: Path, case: str, organs: Iterable[str], split: bool | None = None
    ) -> dict[str | None, Path]:
        """A case's files in this format: of each organ, or of all together, under None.

        split: one file an organ (True), all in one (False), or as the format has it.
        """
        if not (self.per_organ if split is None or self.per_organ is None else split):
            return {None: folder / f"{case}{self.suffix}"}
        suffix = self.suffix.removeprefix("_seg")
        return {organ: folder / f"{case}_{organ}{suffix}" for organ in organs}


EXPORTERS: Mapping[str, Exporter] = {
    "nifti": Exporter("labelmap:write_nifti", "_seg.nii.gz", "Labelmap as NIfTI on the scan's grid.", False),
    "nrrd": Exporter("labelmap:write_nrrd", ".seg.nrrd", "Labelmap for 3D Slicer, names and colours inside.", False),
    "mha": Exporter("labelmap:write_mha", "_seg.mha", "Labelmap as MetaImage.", False),
    "stl": Exporter("mesh:write_stl", ".stl", "Surfaces as STL, patient millimetres.", True, (SURFACES,)),
    "ply": Exporter("mesh:write_ply", ".ply", "Surfaces as PLY, coloured.", True, (SURFACES,)),
    "obj": Exporter("mesh:write_obj", ".obj", "Surfaces as OBJ.", True, (SURFACES,)),
    "glb": Exporter("mesh:write_glb", ".glb", "Surfaces as GLB, coloured, metres as glTF has it.", False, (SURFACES,)),
    "csv": Exporter("volumes_table:write", "_organs.csv", "Volumes, HU and completeness by organ.", needs=(SCAN,)),
    "video": Exporter(
        "video:write_slices_mp4", "_slices.mp4", "Slices with the organs as MP4.", needs=(SCAN, LESIONS, FFMPEG)
    ),
    "gif": Exporter(
        "video:write_slices_gif", "_slices.gif", "Slices with the organs as GIF.", needs=(SCAN, LESIONS, FFMPEG)
    ),
    "turntable": Exporter(
        "video:write_turntable_mp4", "_turntable.mp4", "Organs in 3-D, turning, as MP4.", needs=(SURFACES, FFMPEG)
    ),
    "turntable-gif": Exporter(
        "video:write_turntable_gif", "_turntable.gif", "Organs in 3-D, turning, as GIF.", needs=(SURFACES, FFMPEG)
    ),
    "sheet": Exporter("contact_sheet:write", "_sheet.png", "Contact sheet: slices in three planes.", needs=(SCAN,)),
    "dicom-seg": Exporter(
        "dicom_seg:write", "_seg.dcm", "DICOM SEG on the series that was segmented.", needs=(SERIES, ORGAN)
    ),
    "rtstruct": Exporter(
        "rtstruct:write", "_rtstruct.dcm", "DICOM RTSTRUCT on the series that was segmented.", needs=(SERIES,)
    ),
    "dicom-sr": Exporter(
        "structured_report:write",
        "_sr.dcm",
        "DICOM SR: volumes, HU, diameters of lesions.",
        needs=(SCAN, LESIONS, SERIES, ORGAN),
    ),
    "report": Exporter(
        "report:write", "_report.html", "One page with everything, for a browser.", needs=(SCAN, SURFACES, LESIONS)
    ),
}


def find_ffmpeg() -> str:
    """The ffmpeg that imageio-ffmpeg carries, or the one on PATH. Raises UsageError where there is neither."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        found = shutil.which("ffmpeg")
    else:
        found = get_ffmpeg_exe()
    if not found:
        raise UsageError(
            "videos are encoded by ffmpeg, which is not installed: pip install 'abdoseg[video]', or ffmpeg itself"
        )
    return str(found)


def check_encoder(formats: Iterable[str]) -> None:
    """Raises UsageError where one of the formats is a video and no ffmpeg is there, before any work."""
    if any(FFMPEG in EXPORTERS[name].needs for name in formats):
        find_ffmpeg()
