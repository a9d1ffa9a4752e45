"""The Python interface: what is taken, what comes back, and what is said of anything else."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from phantom_balls import WITH_TUMOUR, model, scan

import abdoseg
from abdoseg.errors import OutputError, ScanError, UsageError
from abdoseg.io import write_nifti


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    volume, _ = scan()
    target = tmp_path_factory.mktemp("scans") / "case7_0000.nii.gz"
    write_nifti(volume.voxels, volume.stored, target)
    return target


@pytest.fixture(scope="module")
def result(path):
    return abdoseg.segment(path, model=model())


def voxels_of(image):
    return np.asanyarray(image.dataobj).copy() if hasattr(image, "dataobj") else sitk.GetArrayFromImage(image)


@pytest.mark.parametrize("opened", [nibabel.load, lambda path: sitk.ReadImage(str(path))], ids=["nibabel", "SimpleITK"])
def test_an_image_in_memory_gives_the_labels_of_its_file_and_keeps_its_voxels(path, result, opened):
    image = opened(path)
    before = voxels_of(image)
    found = abdoseg.segment(image, model=model())
    np.testing.assert_array_equal(found.labelmap.labels, result.labelmap.labels)
    after = voxels_of(image)
    np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(found.labelmap.stored.geometry.affine, result.labelmap.stored.geometry.affine, atol=1e-5)


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIR"])
def test_a_nibabel_image_in_other_axes_gets_labels_that_lie_over_it(path, result, axes):
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(nibabel.load(path).affine), nibabel.orientations.axcodes2ornt(axes)
    )
    image = nibabel.load(path).as_reoriented(turn)
    labels = abdoseg.segment(image, model=model()).to_nibabel()
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-5)
    back = np.asarray(nibabel.as_closest_canonical(labels).dataobj)
    np.testing.assert_array_equal(back, result.labelmap.labels)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_nibabel_images_header_goes_with_the_labels(path, kind):
    image = nibabel.load(path)
    image = kind(np.asarray(image.dataobj), image.affine)
    image.set_sform(image.affine, 3)
    image.set_qform(image.affine, 4)
    labels = abdoseg.segment(image, model=model()).to_nibabel()
    codes = [int(labels.header[field]) for field in ("sizeof_hdr", "sform_code", "qform_code")]
    assert codes == [int(image.header["sizeof_hdr"]), 3, 4]


def test_a_trailing_axis_of_one_is_dropped_in_memory_as_in_a_file(path, result):
    image = nibabel.load(path)
    image = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine)
    np.testing.assert_array_equal(abdoseg.segment(image, model=model()).labelmap.labels, result.labelmap.labels)


def test_an_image_in_memory_that_is_no_scan_is_refused_with_words(path, tmp_path):
    image = nibabel.load(path)
    with pytest.raises(ScanError, match="voxels of type complex64, not HU"):
        abdoseg.segment(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.complex64), image.affine), model=model())
    nibabel.save(image, tmp_path / "nowhere.nii")
    with (tmp_path / "nowhere.nii").open("r+b") as file:
        file.seek(252)
        file.write(bytes(4))  # qform_code and sform_code
    with pytest.raises(ScanError, match="does not say where its axes point"):
        abdoseg.segment(nibabel.load(tmp_path / "nowhere.nii"), model=model())


def test_padding_in_memory_is_taken_as_air_and_left_as_it_was(path):
    volume, _ = scan()
    voxels = volume.voxels.copy()
    voxels[:3] = -3000
    image = nibabel.Nifti1Image(voxels, volume.geometry.affine)
    found = abdoseg.segment(image, model=model())
    assert found.scan.voxels.min() == -1024
    assert np.asarray(image.dataobj).min() == -3000


def test_a_result_saves_what_the_command_writes(result, tmp_path):
    written = result.save(tmp_path / "out")
    assert [file.name for file in written] == ["case7_seg.nii.gz", "case7_volumes.csv", "case7.json"]
    record = json.loads(written[-1].read_text())
    assert (tmp_path / "out" / record["scan"]).resolve() == result.path.resolve()
    np.testing.assert_array_equal(nibabel.load(written[0]).dataobj, result.to_nibabel().dataobj)
    assert nibabel.load(written[0]).header["sform_code"] == result.to_nibabel().header["sform_code"]
    with pytest.raises(OutputError, match="exist"):
        result.save(tmp_path / "out")
    result.save(tmp_path / "out", overwrite=True)


def test_a_table_of_lesions_that_stands_is_refused_before_a_file_is_written(tmp_path):
    volume, _ = scan()
    found = abdoseg.segment(volume, model=model(WITH_TUMOUR, WITH_TUMOUR))
    (tmp_path / "scan_lesions.csv").write_text("of before")
    with pytest.raises(OutputError, match=r"scan_lesions\.csv: exists already"):
        found.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scan_lesions.csv"]


def test_where_or_how_a_result_cannot_be_saved_is_said(result, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="a part of the path is a file"):
            result.save(folder)
    with pytest.raises(UsageError, match="no label scheme 'lits'; there are abdoseg"):
        result.save(tmp_path / "out", labels="lits")
    with pytest.raises(UsageError, match="msd-liver has no number for kidney_right, kidney_left, spleen"):
        result.save(tmp_path / "out", labels="msd-liver")
    assert not (tmp_path / "out").exists()


def test_the_record_of_a_scan_in_memory_names_no_file(tmp_path):
    volume, _ = scan()
    record = json.loads(abdoseg.segment(volume, model=model()).save(tmp_path)[-1].read_text())
    assert "scan" not in record
    assert record["case"] == "scan"


def test_a_result_is_exported_and_evaluated(result, tmp_path):
    result.save(tmp_path / "out")
    files = abdoseg.export(result, tmp_path / "stl", ["stl", "csv"])
    assert {file.suffix for file in files} == {".stl", ".csv"}
    again = abdoseg.export(tmp_path / "out" / "case7_seg.nii.gz", tmp_path / "again", ["stl", "csv"])
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files]
    found = abdoseg.evaluate(tmp_path / "out" / "case7_seg.nii.gz", tmp_path / "out" / "case7_seg.nii.gz")
    assert all(score.confusion.dice == 1 for score in found.scores)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: abdoseg.segment(np.zeros((4, 4, 4))), "numpy.ndarray; a path, a nibabel image, a SimpleITK image"),
        (lambda: abdoseg.segment(None), "NoneType; a path"),
        (lambda: abdoseg.segment("scan.nii.gz", organs="liver"), r"organs is one string; .* such as \['liver'\]"),
        (lambda: abdoseg.evaluate("pred", "gt", organs="liver"), "organs is one string"),
        (lambda: abdoseg.export("seg.nii.gz", "out", "stl"), "formats is one string"),
        (lambda: abdoseg.evaluate(3, "gt"), "predictions is of type builtins.int; a path is taken"),
        (lambda: abdoseg.export(np.zeros(3), "out", ["stl"]), "labels is of type numpy.ndarray; a Result or a path"),
    ],
)
def test_a_wrong_type_is_reported_with_what_is_taken(wrong, words):
    with pytest.raises(TypeError, match=words):
        wrong()


def test_images_that_are_no_ct_are_refused_as_files_are(path):
    with pytest.raises(ScanError, match="nibabel image is 8 x 8"):
        abdoseg.segment(nibabel.Nifti1Image(np.zeros((8, 8), np.int16), np.eye(4)), model=model())
    with pytest.raises(ScanError, match="SimpleITK image has 2 dimensions"):
        abdoseg.segment(sitk.Image(8, 8, sitk.sitkInt16), model=model())
    with pytest.raises(ScanError, match="the nibabel image: "):
        abdoseg.segment(nibabel.Nifti1Image(np.full((8, 8, 8), 9, np.uint8), np.eye(4)), model=model())


def test_a_scan_larger_than_any_ct_is_refused_before_it_fills_the_memory(monkeypatch):
    volume, _ = scan()
    image = nibabel.Nifti1Image(volume.voxels, volume.geometry.affine @ np.diag([100.0, 100.0, 100.0, 1.0]))
    monkeypatch.setattr("abdoseg.api.segment_volume", lambda *_, **__: pytest.fail("it was segmented"))
    with pytest.raises(ScanError, match=r"the nibabel image: .* m large, more than any CT; is its voxel spacing"):
        abdoseg.segment(image, model=model())


def test_an_unknown_format_is_named_with_those_there_are(result, tmp_path):
    with pytest.raises(UsageError, match="no format step; there are nifti"):
        abdoseg.export(result, tmp_path, ["step"])


def test_no_organ_at_all_is_refused(path):
    with pytest.raises(UsageError, match="organs is empty"):
        abdoseg.segment(path, model=model(), organs=[])


def test_importing_the_package_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, abdoseg; dir(abdoseg); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_time_points_are_compared_as_results_and_as_what_they_saved(result, tmp_path):
    for folder in ("before", "after"):
        result.save(tmp_path / folder)
    (found,), (saved,) = abdoseg.follow(result, result), abdoseg.follow(tmp_path / "before", tmp_path / "after")
    assert [change.row() for change in found.volumes] == [change.row() for change in saved.volumes]
    assert {change.percent for change in found.volumes} == {0}
    assert "lesions were not looked for before and after" in found.warnings[-1]
    with pytest.raises(TypeError, match="before is of type"):
        abdoseg.follow(1, tmp_path / "after")
