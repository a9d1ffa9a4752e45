"""Small labelmaps and files of them, for the tests of evaluation and its commands."""

import nibabel as nib
import numpy as np

from abdoseg.image.volume import Geometry, Labelmap, Stored

ORGANS = {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen", 5: "liver_tumour"}


def body(shift=0, shape=(24, 20, 16)):
    """(24, 20, 16) four boxes: liver 8x8x8, kidneys 4x4x6, spleen 5x5x5, moved by `shift` voxels along I."""
    labels = np.zeros(shape, np.uint8)
    labels[2 + shift : 10 + shift, 8:16, 4:12] = 1
    labels[3 + shift : 7 + shift, 2:6, 3:9] = 2
    labels[14 + shift : 18 + shift, 2:6, 3:9] = 3
    labels[15 + shift : 20 + shift, 10:15, 5:10] = 4
    return labels


def labelmap(labels, spacing=(1.0, 1.0, 2.0), organs=None, affine=None):
    affine = np.diag([*spacing, 1.0]) if affine is None else affine
    geometry = Geometry(labels.shape, affine)
    return Labelmap(labels, geometry, Stored(geometry), organs or ORGANS)


def write(path, labels, spacing=(1.0, 1.0, 2.0), affine=None):
    """Writes a label file and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0]) if affine is None else affine
    image = nib.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def cohort(folder, shifts, truths=None):
    """Folders pred and gt of cases c0, c1, ...: prediction moved by its shift; None is a missing prediction."""
    for number, shift in enumerate(shifts):
        write(folder / "gt" / f"c{number}.nii.gz", truths[number] if truths else body())
        if shift is not None:
            write(folder / "pred" / f"c{number}_seg.nii.gz", body(shift))
    return folder / "pred", folder / "gt"
