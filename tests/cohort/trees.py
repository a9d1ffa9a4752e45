"""Files, DICOM studies and zips below a folder, for tests of what is found there."""

import shutil
import zipfile

import phantom_balls
from phantom_dicom import AXIAL, body, write_series

from abdoseg.cohort.scan_cases import plan_cases
from abdoseg.io import write_nifti


def nifti(path, change=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    volume, _ = phantom_balls.scan()
    volume.voxels[0, 0, 0] -= change
    write_nifti(volume.voxels, volume.stored, path)
    return path


def study(folder, number="1", uid="1.2.3", **more):
    tags = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.{number}", "SeriesNumber": number}
    return write_series(folder, body(), AXIAL, tags=tags, **more)


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def names(path):
    return [case.name for case in plan_cases([path], path / "out")]
