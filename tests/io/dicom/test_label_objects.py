"""DICOM SEG and RTSTRUCT as labels: round trips in every orientation, other vendors' kinds, codes and slices."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from phantom_dicom import AXIAL, body, labelled_series, tilted, write_series
from pydicom.sr.coding import Code

from abdoseg.cli.scoring_options import scheme
from abdoseg.errors import GeometryError, ScanError
from abdoseg.evaluation import ReadOptions, evaluate, find_pairs
from abdoseg.exporters.job import ExportOptions, Job, export
from abdoseg.exporters.open_case import CaseFiles, open_case
from abdoseg.image.volume import Stored
from abdoseg.io import read_labels, read_scan, write_nifti
from abdoseg.io.dicom.label_objects import is_label_object, label_object_organs
from abdoseg.io.dicom.organ_codes import name_segment, name_segments
from abdoseg.io.dicom.structures import fill_even_odd
from abdoseg.training.data.datasets import read_dataset
from abdoseg.training.data.preprocess import read_case
from abdoseg.training.recipes import RECIPES

SHAPE = (22, 18, 9)
ORGANS = {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen", 5: "liver_tumour"}
OBLIQUE = np.array([[0.6, 0, 0.8, 3], [0, 1, 0, -7], [-0.8, 0, 0.6, 11], [0, 0, 0, 1]]) @ np.diag([0.7, 0.9, 2, 1])


def drawn():
    """(I, J, K) in the series' own axes: a hole, islands that touch at a corner, one voxel, a cut organ."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:14, 3:15, 1:8] = 1
    labels[5:9, 6:10, 2:7] = 0
    labels[6:8, 7:9, 3:6] = 5
    labels[16:19, 2:5, 2:4] = 2
    labels[19:21, 5:7, 2:4] = 2
    labels[20, 15, 4] = 3
    labels[15:, 10:13, 6:] = 4
    return labels


def scan_and_job(folder, affine=AXIAL, seg_type="binary", **variations):
    """A series in `folder`, as it is read, and labels on it to export."""
    volume, labelmap = labelled_series(folder, drawn(), affine, ORGANS, **variations)
    return volume, Job.measured("c", labelmap, reference=folder, options=ExportOptions(seg_type=seg_type))


def exported(job, folder, kind):
    (path,) = export(job, folder, [kind])
    return path


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize(("order", "signs"), [*itertools.product(itertools.permutations(range(3)),
                                                                  itertools.product((1, -1), repeat=3))])  # fmt: skip
def test_round_trips_keep_every_voxel_in_all_48_orientations(tmp_path, order, signs, kind):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * np.array(signs) * [0.8, 0.8, 2.0]
    affine[:3, 3] = 5, -9, 13
    volume, job = scan_and_job(tmp_path / "ct", affine)
    path = exported(job, tmp_path, kind)
    found = read_labels(path, grid=volume.stored)
    assert np.array_equal(found.labels, job.labelmap.labels)
    assert found.geometry.matches(volume.geometry)
    assert found.organs == ORGANS


@pytest.mark.parametrize("affine", [tilted(AXIAL, 25), OBLIQUE], ids=["tilt", "oblique"])
@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_a_tilted_and_an_oblique_series_keep_their_labels_in_place(tmp_path, affine, kind):
    volume, job = scan_and_job(tmp_path / "ct", affine)
    found = read_labels(exported(job, tmp_path / "ct", kind))  # beside its series
    assert np.array_equal(found.labels, job.labelmap.labels)
    assert found.geometry.matches(volume.geometry)


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_or_zip_of_series_and_object_is_read_on_the_series_grid(tmp_path, kind, zipped):
    volume, job = scan_and_job(tmp_path / "ct")
    exported(job, tmp_path / "ct", kind)
    path = shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path / "ct") if zipped else tmp_path / "ct"
    found = read_labels(path)
    assert np.array_equal(found.labels, job.labelmap.labels)
    assert np.array_equal(read_scan(path).voxels, volume.voxels)


@pytest.mark.parametrize("seg_type", ["binary", "labelmap"])
def test_a_seg_alone_comes_on_the_grid_of_its_own_frames(tmp_path, seg_type):
    _, job = scan_and_job(tmp_path / "ct", seg_type=seg_type)
    path = exported(job, tmp_path, "dicom-seg")
    found = read_labels(path)
    whole = read_labels(path, grid=job.labelmap.stored)
    assert np.array_equal(whole.labels, job.labelmap.labels)
    assert np.bincount(found.labels.ravel())[1:].tolist() == np.bincount(whole.labels.ravel())[1:].tolist()
    for label in ORGANS:
        centre = np.argwhere(found.labels == label).mean(axis=0)
        expected = np.argwhere(whole.labels == label).mean(axis=0)
        a, b = (g.affine @ [*c, 1] for g, c in ((found.geometry, centre), (whole.geometry, expected)))
        assert np.allclose(a, b, atol=1e-3)


def foreign_seg(folder, kind, masks, describe, omit_empty=True):
    """A SEG by highdicom of masks (K, J, I) on the series in `folder`; describe: (label, type, region) of each."""
    sources = [pydicom.dcmread(path) for path in sorted(folder.glob("IM*"))]
    sources.sort(key=lambda piece: float(piece.ImagePositionPatient[2]))
    for piece in sources:
        for keyword in ("PatientSex", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
            setattr(piece, keyword, "")
    descriptions = [
        highdicom.seg.SegmentDescription(
            number, label, Code("123037004", "SCT", "Anatomical Structure"), code,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
            anatomic_regions=[region] if region else None,
        )
        for number, (label, code, region) in enumerate(describe, start=1)
    ]  # fmt: skip
    array = np.moveaxis(np.array(masks), 0, -1)
    extra = {"fractional_type": "PROBABILITY", "max_fractional_value": 200} if kind == "FRACTIONAL" else {}
    seg = highdicom.seg.Segmentation(
        sources, array, kind, descriptions, "1.2.3", 9, "1.2.3.4", 1, "Vendor", "Model", "1", "0",
        omit_empty_frames=omit_empty, **extra,
    )  # fmt: skip
    seg.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


LIVER, SPLEEN = Code("10200004", "SCT", "Liver"), Code("T-C3000", "SRT", "Spleen")


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("omit_empty", [False, True])
def test_other_vendors_segments_are_known_by_code_and_fractions_count_from_a_half(tmp_path, kind, omit_empty):
    write_series(tmp_path, body(SHAPE))
    liver, spleen = np.zeros((2, *SHAPE[::-1]), np.float32 if kind == "FRACTIONAL" else np.uint8)
    liver[2:6, 3:9, 2:14], spleen[1:3, 3:9, 16:20] = 1, 1
    if kind == "FRACTIONAL":
        liver[7, 3:9, 2:14], liver[6, 3:9, 2:14] = 0.3, 0.7
    path = foreign_seg(
        tmp_path, kind, [liver, spleen], [("Segment 1", LIVER, None), ("Segment 2", SPLEEN, None)], omit_empty
    )
    found = read_labels(path)
    assert found.organs == {1: "liver", 4: "spleen"}
    stored = found.stored.from_canonical(found.labels)
    assert np.array_equal(stored == 1, liver.T >= 0.5)
    assert np.array_equal(stored == 4, spleen.T >= 0.5)


def test_a_lesion_lies_over_its_organ_whichever_segment_comes_first(tmp_path):
    write_series(tmp_path, body(SHAPE))
    liver, tumour = np.zeros((2, *SHAPE[::-1]), np.uint8)
    liver[2:6, 3:9, 2:14], tumour[3:5, 4:6, 4:8] = 1, 1
    lesion = ("Lesion 1", Code("52988006", "SCT", "Lesion"), LIVER)
    for masks, describe in (
        ([liver, tumour], [("a", LIVER, None), lesion]),
        ([tumour, liver], [lesion, ("a", LIVER, None)]),
    ):
        found = read_labels(foreign_seg(tmp_path, "BINARY", masks, describe))
        stored = found.stored.from_canonical(found.labels)
        assert np.array_equal(stored == 5, tumour.T > 0)
        assert np.array_equal(stored == 1, (liver.T > 0) & (tumour.T == 0))


def coded(value, scheme, side=None):
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "x"
    if side:
        item.SegmentedPropertyTypeModifierCodeSequence = [coded(*side)]
    return item


@pytest.mark.parametrize(
    ("label", "kind", "region", "name"),
    [
        ("Liver", None, None, "liver"),
        ("right kidney", ("64033007", "SCT"), None, "kidney_right"),
        ("Segment_3", ("64033007", "SCT", ("7771000", "SCT")), None, "kidney_left"),
        ("Segment_3", ("T-71000", "SRT", ("G-A100", "SRT")), None, "kidney_right"),
        ("Kidney", ("64033007", "SCT"), None, "kidney"),
        ("x", ("18639004", "SCT"), None, "kidney_left"),
        ("x", ("T-62000", "SRT"), None, "liver"),
        ("mass", ("4147007", "SCT"), ("10200004", "SCT"), "liver_tumour"),
        ("mass", ("4147007", "SCT"), ("64033007", "SCT"), "mass"),
        ("Rib 7", ("113197003", "SCT"), None, "rib_7"),
    ],
)
def test_segments_are_named_by_label_then_by_code(label, kind, region, name):
    assert name_segment(label, kind and coded(*kind), region and coded(*region)) == name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Liver_1", "liver"),
        ("LIVER (manual)", "liver_(manual)"),
        ("kidney r", "kidney_right"),
        ("Kidney_L", "kidney_left"),
        ("Lt Kidney", "kidney_left"),
        ("KidneyRt", "kidneyrt"),
        ("Kidneys_2", "kidney"),
        ("Glnd_Adrenal_R", "adrenal_gland_right"),
        ("A_Aorta", "aorta"),
        ("PTV_Liver", "ptv_liver"),
        ("Liver-PRV05", "liver_prv05"),
        ("ROI-1", "roi_1"),
        ("", ""),
    ],
)
def test_a_name_that_resembles_an_organs_counts_and_a_planning_volume_does_not(label, name):
    assert name_segments({1: (label, None, None)}, {}) == {1: name}


def test_what_resembles_an_organ_gives_way_to_what_is_named_or_coded_so_and_to_the_user():
    spleen = coded("78961009", "SCT")
    names = {1: ("Liver_1", None, None), 2: ("Liver", None, None), 3: ("Liver_3", spleen, None), 4: ("x", None, None)}
    assert name_segments(names, {"x": "kidney_left"}) == {1: "liver_1", 2: "liver", 3: "spleen", 4: "kidney_left"}
    assert name_segments({1: names[1], 3: names[3]}, {"Liver_3": "liver"}) == {1: "liver_1", 3: "liver"}


def renamed(path, kind, names):
    """The object at `path` with other names, and no codes of what they are."""
    dataset = pydicom.dcmread(path)
    items = dataset.SegmentSequence if kind == "dicom-seg" else dataset.StructureSetROISequence
    for item, name in zip(items, names, strict=True):
        if kind == "dicom-seg":
            item.SegmentLabel, item.SegmentedPropertyTypeCodeSequence[0].CodeValue = name, "0"
        else:
            item.ROIName = name
    for observation in dataset.get("RTROIObservationsSequence") or ():
        del observation.RTROIIdentificationCodeSequence
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_names_without_codes_are_known_where_they_resemble_an_organs(tmp_path, kind):
    volume, job = scan_and_job(tmp_path / "ct")
    path = renamed(exported(job, tmp_path, kind), kind, ["Liver_1", "kidney r", "Kidney-Lt", "SPLEEN 01", "Tumour"])
    assert np.array_equal(read_labels(path, grid=volume.stored).labels, job.labelmap.labels)


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_an_object_without_an_organ_known_lists_its_names_and_a_file_maps_them(tmp_path, kind):
    volume, job = scan_and_job(tmp_path / "ct")
    names = ["ROI-1", "ROI-2", "ROI-3", "ROI-4", "PTV"]
    path = renamed(exported(job, tmp_path, kind), kind, names)
    with pytest.raises(ScanError) as raised:
        read_labels(path, grid=volume.stored)
    what = "segments" if kind == "dicom-seg" else "ROIs"
    assert f"none of its 5 {what} is named or coded as an organ known here: PTV, ROI-1, ROI-2" in str(raised.value)
    assert '{"ROI-1": "liver"}, and pass it as --labels' in str(raised.value)
    with pytest.raises(ScanError, match="none of its 5"):
        label_object_organs(path)
    (tmp_path / "names.json").write_text('{"ROI-1": "liver", "ROI-2": "Right Kidney", "ROI-4": "spleen"}')
    found = read_labels(path, str(tmp_path / "names.json"), grid=volume.stored)
    assert np.array_equal(
        found.labels, np.where(np.isin(job.labelmap.labels, (3, 5)), found.labels, job.labelmap.labels)
    )
    assert found.organs == {1: "liver", 2: "kidney_right", 4: "spleen"}


def test_two_structures_of_one_organ_are_said(tmp_path, caplog):
    volume, job = scan_and_job(tmp_path / "ct")
    path = renamed(exported(job, tmp_path, "rtstruct"), "rtstruct", ["Liver_1", "Liver_2", "a", "b", "c"])
    read_labels(path, grid=volume.stored)
    assert "Liver_1, Liver_2 are all taken as liver" in caplog.text


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("in_folders", [True, False])
def test_training_takes_objects_from_a_zip_as_from_a_folder(tmp_path, kind, in_folders):
    volume, job = scan_and_job(tmp_path / "data" / "images" / "a")
    path = exported(job, tmp_path / "data" / "labels" / "a", kind)
    if not in_folders:
        path.rename(tmp_path / "data" / "labels" / "a.dcm")
        (tmp_path / "data" / "labels" / "a").rmdir()
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "data")
    (case,) = read_dataset(Path(archive)).cases
    assert case.declared and case.annotated == tuple(ORGANS.values())
    plan = replace(next(iter(RECIPES.values())).plan(), spacing_mm=tuple(volume.geometry.spacing_mm.tolist()))
    assert np.array_equal(read_case(case, plan).arrays["labels"], job.labelmap.labels)


@pytest.mark.parametrize("in_csv", [True, False])
def test_training_and_eval_take_the_organs_of_names_from_a_file(tmp_path, in_csv):
    volume, job = scan_and_job(tmp_path / "data" / "images" / "a")
    path = exported(job, tmp_path / "data" / "labels" / "a", "rtstruct")
    renamed(path, "rtstruct", ["ROI-1", "ROI-2", "PTV", "ROI-4", "Couch"])
    names = tmp_path / "names.json"
    names.write_text('{"ROI-1": "liver", "ROI-2": "kidney_right", "ROI-4": "spleen"}')
    root = tmp_path / "data"
    if in_csv:
        root = tmp_path / "pairs.csv"
        root.write_text(f"image,labels\n{path.parents[2]}/images/a,{path}\n")
    (case,) = read_dataset(root, str(names)).cases
    assert case.declared and case.annotated == ("liver", "kidney_right", "spleen")
    plan = replace(next(iter(RECIPES.values())).plan(), spacing_mm=tuple(volume.geometry.spacing_mm.tolist()))
    known = np.where(np.isin(job.labelmap.labels, (1, 2, 4)), job.labelmap.labels, 0)
    assert np.array_equal(read_case(case, plan).arrays["labels"] * (known > 0), known)
    assert case.stamp() != replace(case, structures={}).stamp()
    truth = tmp_path / "truth.nii.gz"
    write_nifti(job.labelmap.labels, job.labelmap.stored, truth)
    given = scheme(None, None, str(names))  # as `eval --pred-labels` takes it
    (score, *_) = evaluate(find_pairs(path, truth), reading=ReadOptions(prediction_scheme=given)).cases[0].scores
    assert score.organ == "liver" and score.confusion.dice > 0.99


def test_one_segment_of_both_kidneys_is_split_by_side(tmp_path):
    write_series(tmp_path, body(SHAPE), AXIAL @ np.diag([10, 10, 1, 1]))
    kidneys = np.zeros(SHAPE[::-1], np.uint8)
    kidneys[2:6, 3:9, 2:6], kidneys[2:6, 3:9, 16:20] = 1, 1
    found = read_labels(foreign_seg(tmp_path, "BINARY", [kidneys], [("Kidney", Code("64033007", "SCT", "K"), None)]))
    right, left = ((found.labels == label).nonzero()[0] for label in (2, 3))
    assert len(right) == len(left) == kidneys.sum() / 2
    assert right.min() > left.max()


def test_an_rtstruct_without_a_series_says_what_is_needed(tmp_path):
    _, job = scan_and_job(tmp_path / "ct")
    with pytest.raises(ScanError, match="the series that this RTSTRUCT was drawn on is not beside it"):
        read_labels(exported(job, tmp_path / "alone", "rtstruct"))


def test_contours_that_cross_a_grids_slices_are_refused(tmp_path):
    _, job = scan_and_job(tmp_path / "ct", OBLIQUE)
    upright = read_scan(write_series(tmp_path / "other", body((60, 60, 60)))[0].parent)
    with pytest.raises(GeometryError, match="do not lie in slices of the grid"):
        read_labels(exported(job, tmp_path, "rtstruct"), grid=upright.stored)


def test_a_seg_that_does_not_lie_on_a_grid_comes_on_its_own(tmp_path):
    volume, job = scan_and_job(tmp_path / "ct")
    affine = volume.stored.geometry.affine.copy()
    affine[0, 3] += 0.4
    shifted = Stored(type(volume.geometry)(volume.stored.geometry.shape, affine))
    found = read_labels(exported(job, tmp_path, "dicom-seg"), grid=shifted)
    assert not found.stored.geometry.matches(shifted.geometry)
    assert (found.labels > 0).sum() == (job.labelmap.labels > 0).sum()


def test_what_holds_no_labels_or_several_objects_is_refused(tmp_path):
    _, job = scan_and_job(tmp_path / "ct")
    with pytest.raises(ScanError, match="without a SEG or RTSTRUCT"):
        read_labels(tmp_path / "ct")
    (tmp_path / "niftis").mkdir()
    (tmp_path / "niftis" / "a_seg.nii.gz").write_bytes(b"labels")
    with pytest.raises(ScanError, match=r"no SEG or RTSTRUCT, but 1 files in other formats; name .* a_seg\.nii\.gz"):
        read_labels(tmp_path / "niftis")
    for kind in ("dicom-seg", "rtstruct"):
        exported(job, tmp_path / "ct", kind)
    with pytest.raises(ScanError, match="2 SEG or RTSTRUCT files; name one of them"):
        read_labels(tmp_path / "ct")
    assert not is_label_object(next((tmp_path / "ct").glob("IM*")))
    assert not is_label_object(tmp_path / "ct")


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_a_damaged_object_is_refused_in_words(tmp_path, kind):
    volume, job = scan_and_job(tmp_path / "ct")
    path = exported(job, tmp_path, kind)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(132, len(data), 4):
            data[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(data[: rng.integers(400, len(data))] if rng.random() < 0.3 else data))
        try:
            assert read_labels(path, grid=volume.stored).labels.dtype == np.uint8
        except (ScanError, GeometryError) as error:
            assert str(path) in str(error) or "contours" in str(error)


@pytest.mark.parametrize("number", [None, "one"])
def test_a_damaged_number_of_a_structure_is_refused_in_words_where_only_names_are_wanted(tmp_path, number):
    _, job = scan_and_job(tmp_path / "ct")
    path = exported(job, tmp_path, "rtstruct")
    damaged = pydicom.dcmread(path)
    tag = damaged.StructureSetROISequence[0]["ROINumber"].tag
    damaged.StructureSetROISequence[0].pop(tag)
    damaged.StructureSetROISequence[0].add_new(tag, "LO", number)  # in implicit VR it is read as IS
    damaged.save_as(path)
    with pytest.raises(ScanError, match="damaged DICOM object"):
        label_object_organs(path)


def test_a_file_that_may_not_be_read_is_no_label_object_yet(tmp_path, monkeypatch):
    path = tmp_path / "a.dcm"
    path.touch()

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert not is_label_object(path)
    with pytest.raises(ScanError, match="Permission denied"):
        read_labels(path)


def test_contours_within_contours_are_holes_and_islands():
    squares = [np.array([[a, a], [a, b], [b, b], [b, a]]) + 0.5 for a, b in ((0, 8), (2, 6), (3, 5))]
    filled = fill_even_odd(squares, (10, 10))
    expected = np.zeros((10, 10), bool)
    expected[1:9, 1:9] = True
    expected[3:7, 3:7] = False
    expected[4:6, 4:6] = True
    assert np.array_equal(filled, expected)


def test_a_polygon_beyond_the_picture_is_cut_and_a_triangle_holds_the_centres_within_it():
    assert fill_even_odd([np.array([[-5, -5], [-5, 20], [20, 20], [20, -5.0]])], (4, 6)).all()
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = rng.uniform(-2, 12, (3, 2))
        filled = fill_even_odd([corners], (10, 10))
        points = np.stack(np.meshgrid(range(10), range(10), indexing="ij"), -1).astype(float)
        sides = []
        for a, b in itertools.pairwise([*corners, corners[0]]):
            sides.append(np.sign((b - a)[0] * (points - a)[..., 1] - (b - a)[1] * (points - a)[..., 0]))
        assert np.array_equal(filled, np.abs(np.sum(sides, axis=0)) == 3)


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("is_truth", [True, False])
def test_eval_draws_an_object_on_the_others_grid(tmp_path, kind, is_truth):
    volume, job = scan_and_job(tmp_path / "ct")
    path = exported(job, tmp_path / "objects", kind)
    write_nifti(job.labelmap.labels, volume.stored, tmp_path / "labels.nii.gz")
    pair = (tmp_path / "labels.nii.gz", path) if is_truth else (path, tmp_path / "labels.nii.gz")
    scores = evaluate(find_pairs(*pair)).scores
    assert {score.organ: score.confusion.dice for score in scores} == dict.fromkeys(ORGANS.values(), 1.0)


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_export_takes_an_object_on_the_grid_of_its_reference_or_scan(tmp_path, kind, caplog):
    volume, job = scan_and_job(tmp_path / "ct")
    path = exported(job, tmp_path / "objects", kind)
    write_nifti(volume.voxels, volume.stored, tmp_path / "scan.nii.gz")
    for files in (CaseFiles(reference=tmp_path / "ct"), CaseFiles(scan=tmp_path / "scan.nii.gz")):
        again = open_case(path, files, ["csv"], ExportOptions())
        assert np.array_equal(again.labelmap.labels, job.labelmap.labels)
        assert {row.organ: row.voxels for row in again.rows} == {row.organ: row.voxels for row in job.rows}
    assert "numbers mean" not in caplog.text


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("in_folders", [True, False])
def test_training_takes_objects_as_labels_of_the_organs_that_they_name(tmp_path, kind, in_folders):
    volume, job = scan_and_job(tmp_path / "images" / "a")
    path = exported(job, tmp_path / "labels" / "a", kind)
    if not in_folders:
        path.rename(tmp_path / "labels" / "a.dcm")
        (tmp_path / "labels" / "a").rmdir()
    (case,) = read_dataset(tmp_path).cases
    assert case.declared and case.annotated == tuple(ORGANS.values())
    plan = replace(next(iter(RECIPES.values())).plan(), spacing_mm=tuple(volume.geometry.spacing_mm.tolist()))
    assert np.array_equal(read_case(case, plan).arrays["labels"], job.labelmap.labels)
