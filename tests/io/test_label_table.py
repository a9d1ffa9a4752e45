"""Names of label numbers in a file's own header: TotalSegmentator's NIfTI, 3D Slicer's .seg.nrrd."""

import nibabel as nib
import numpy as np
import pytest

from abdoseg.evaluation.evaluate import scheme_for
from abdoseg.io.label_table import header_scheme
from abdoseg.io.labels import read_labels

AFFINE = np.diag([2.0, 2, 3, 1])
TABLE = """<?xml version="1.0" encoding="UTF-8"?>  <CaretExtension>  <VolumeInformation Index="0">   <LabelTable>
<Label Key="0" Red="1"><![CDATA[???]]></Label>
<Label Key="1" Red="0.2" Green="0" Blue="1" Alpha="1"><![CDATA[spleen]]></Label>
<Label Key="5" Red="0.2" Green="0" Blue="1" Alpha="1">liver</Label>
<Label Red="0.2" Key="99"><![CDATA[rib_left_1]]></Label></LabelTable>  </VolumeInformation></CaretExtension>"""


def nifti(path, table=TABLE, version=nib.Nifti1Image):
    numbers = np.zeros((4, 3, 2), np.uint8)
    numbers[0], numbers[1] = 1, 5
    image = version(numbers, AFFINE)
    if table:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(0, table.encode()))
    nib.save(image, path)
    return path


def nrrd(path, segments):
    named = "".join(f"Segment{n}_LabelValue:={v}\nSegment{n}_Name:={name}\n" for n, (v, name) in enumerate(segments))
    header = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nencoding: raw\n"
        f"space origin: (0,0,0)\n{named}\n"
    )
    path.write_bytes(header.encode() + bytes([1, 2, 3, 0, 0, 0, 0, 0]))
    return path


@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_a_label_table_in_a_nifti_names_its_numbers(tmp_path, name, version):
    if name == "a.img":
        version = {nib.Nifti1Image: nib.Nifti1Pair, nib.Nifti2Image: nib.Nifti2Pair}[version]
    path = nifti(tmp_path / name, version=version)
    path = path.with_suffix(".hdr") if name == "a.img" else path
    assert header_scheme(path) == {1: "spleen", 5: "liver", 99: "rib_left_1"}
    assert scheme_for(path, None) == header_scheme(path)
    assert scheme_for(path, "totalseg") == "totalseg"
    assert sorted(np.unique(read_labels(path, scheme_for(path, None)).labels)) == [0, 1, 4]


def test_segments_of_slicer_name_their_numbers_in_its_spelling(tmp_path):
    path = nrrd(tmp_path / "a.seg.nrrd", [(3, "Right Kidney"), (1, "Spleen"), (2, "Segment_3")])
    assert header_scheme(path) == {3: "kidney_right", 1: "spleen", 2: "segment_3"}


@pytest.mark.parametrize("segments", [[], [(1, "Segment_1"), (2, "Segment_2")]])
def test_a_header_that_names_no_organ_says_nothing(tmp_path, segments):
    assert header_scheme(nrrd(tmp_path / "a.nrrd", segments)) == {}
    assert header_scheme(nifti(tmp_path / "b.nii.gz", table="")) == {}
    assert header_scheme(nifti(tmp_path / "c.nii.gz", table='<Label Key="x">liver</Label><Label Key="">')) == {}


def test_what_cannot_be_read_says_nothing(tmp_path):
    damaged = tmp_path / "a.nii.gz"
    damaged.write_bytes(nifti(tmp_path / "whole.nii.gz").read_bytes()[:60])
    (tmp_path / "empty.nii").write_bytes(b"")
    for path in (damaged, tmp_path / "empty.nii", tmp_path / "absent.nii", tmp_path):
        assert header_scheme(path) == {}


def test_a_named_scheme_that_the_header_contradicts_is_said(tmp_path, caplog):
    path = nifti(tmp_path / "a.nii.gz")
    read_labels(path)
    assert f"{path}: read as abdoseg, but its own header says that 1 is spleen, not liver, 5 is" in caplog.text
