"""Labelmaps in other formats: grid, names, colours and codes."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from organs import ORGANS, make

from abdoseg.errors import OutputError
from abdoseg.exporters.job import Job, export
from abdoseg.image.volume import Geometry, Labelmap, Stored
from abdoseg.io import read_labels
from abdoseg.io.label_table import header_scheme


def stored_case(order, signs):
    """A labelmap whose file had its axes in another order and direction, a little oblique and off the origin."""
    angle = np.radians(7)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn[:, order] * np.array(signs) * np.array([1.0, 2.0, 3.0])
    affine[:3, 3] = 11, -7, 30
    geometry = Geometry((5, 6, 7), affine)
    array = np.zeros((5, 6, 7), np.uint8)
    array[1:3, 2:5, 1:6] = 1
    array[4, 0, 2] = 4
    stored = Stored(geometry)
    return array, affine, Job.measured("c", Labelmap(stored.to_canonical(array), stored.canonical(), stored, ORGANS))


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "mha"])
@pytest.mark.parametrize(("order", "signs"), [*zip(permutations(range(3)), product((1, -1), repeat=3), strict=False)])
def test_files_lie_on_the_stored_grid_whatever_its_axes(tmp_path, kind, order, signs):
    array, affine, job = stored_case(list(order), signs)
    (file,) = export(job, tmp_path, [kind])
    if kind == "nifti":
        image = nibabel.load(file)
        assert np.asarray(image.dataobj).tolist() == array.tolist()
        assert image.affine == pytest.approx(affine, abs=1e-5)
        assert image.get_data_dtype() == np.uint8
        return
    image = sitk.ReadImage(str(file))
    assert sitk.GetArrayFromImage(image).T.tolist() == array.tolist()
    for index in ((0, 0, 0), (4, 0, 2)):
        place = affine @ [*index, 1]
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx([-place[0], -place[1], place[2]], abs=1e-5)


def test_seg_nrrd_carries_names_colours_numbers_and_codes(tmp_path):
    (file,) = export(make(), tmp_path, ["nrrd"])
    assert file.name == "phantom.seg.nrrd"
    image = sitk.ReadImage(str(file))
    segments = {image.GetMetaData(f"Segment{n}_ID"): n for n in range(5)}
    assert list(segments) == list(ORGANS.values())
    kidney = segments["kidney_right"]
    assert image.GetMetaData(f"Segment{kidney}_Name") == "right kidney"
    assert image.GetMetaData(f"Segment{kidney}_LabelValue") == "2"
    assert image.GetMetaData(f"Segment{kidney}_Extent") == "0 65 0 43 0 21"
    red, green, blue = (float(v) for v in image.GetMetaData(f"Segment{kidney}_Color").split())
    assert 0 < red < green < blue < 1
    tags = image.GetMetaData(f"Segment{kidney}_Tags")
    assert "SCT^64033007^Kidney" in tags
    assert "SCT^24028007^Right" in tags
    assert header_scheme(file) == ORGANS


def test_split_writes_one_file_an_organ_with_that_organ_alone(tmp_path):
    job = make()
    files = list(export(job, tmp_path, ["nifti", "mha"], split=True))
    assert [file.name for file in files[:2]] == ["phantom_liver.nii.gz", "phantom_kidney_right.nii.gz"]
    assert len(files) == 10
    labels = read_labels(files[1]).labels
    assert np.unique(labels).tolist() == [0, 2]
    assert (labels == 2).sum() == (job.labelmap.labels == 2).sum()


@pytest.mark.parametrize("kind", ["mha", "nrrd"])
def test_a_file_that_did_not_get_all_its_bytes_is_told_and_removed(tmp_path, kind):
    resource = pytest.importorskip("resource")
    geometry = Geometry((40, 40, 40), np.eye(4))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[5:20, 5:20, 5:20], labels[30:, :9, :9] = 1, 2  # so small a file is written when ITK closes it, or never
    job = Job.measured("a", Labelmap(labels, geometry, Stored(geometry), {1: "liver", 2: "kidney_right"}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (1, 100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OutputError, match=r"a.*seg"):
                list(export(job, tmp_path, [kind]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
