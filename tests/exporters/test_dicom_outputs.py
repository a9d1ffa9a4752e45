"""DICOM SEG and RTSTRUCT on series of every orientation, read back by other means and compared voxel for voxel."""

import shutil
import subprocess
import warnings
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pydicom
import pytest
from organs import relabelled
from phantom_dicom import AXIAL, ENHANCED_CT, body, labelled_series, tilted, write_series
from PIL import Image, ImageDraw
from rotations import rotation
from shared_data import SHARED_DATA

from abdoseg.errors import GeometryError, OutputError, SeriesError
from abdoseg.exporters.job import ExportOptions, Job, export
from abdoseg.image.volume import Labelmap
from abdoseg.io import read_scan

SHAPE = (24, 20, 9)
ORGANS = {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen", 5: "liver_tumour"}
needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")


def turned(axis, degrees):
    turn = np.eye(4)
    turn[:3, :3] = rotation(axis, degrees)
    return turn


def flipped(axis):
    """The same axes with one of them the other way round."""
    out = AXIAL.copy()
    out[:3, axis] *= -1
    return out


SERIES = {
    "head first": AXIAL,
    "feet first": flipped(2),
    "row-flipped": flipped(1),
    "column-flipped": flipped(0),
    "gantry tilt of 18 degrees": tilted(AXIAL, 18),
    "oblique": turned(0, 12) @ turned(2, 25) @ AXIAL,
    "coronal": np.array([[-0.8, 0, 0, 10], [0, 0, 2.0, -30], [0, -0.8, 0, 40], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 2.0, -20], [-0.8, 0, 0, 30], [0, -0.8, 0, 40], [0, 0, 0, 1.0]]),
}


def drawn_labels():
    """(I, J, K) as `write_series` has them: holes, islands that touch at a corner, one voxel, a cut organ."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:14, 3:15, 1:8] = 1
    labels[5:9, 6:10, 2:7] = 0
    labels[6:8, 7:9, 3:6] = 5
    labels[11, 12, 3:5] = 0
    labels[16:19, 2:5, 2:4] = 2
    labels[19:21, 5:7, 2:4] = 2
    labels[20, 15, 4] = 3
    labels[15:, 10:13, 6:] = 4
    return labels


def case(folder, affine=AXIAL, labels=None, **variations):
    """A series, and a job whose labels were drawn slice by slice in the series' own pixels."""
    _, labelmap = labelled_series(folder, drawn_labels() if labels is None else labels, affine, ORGANS, **variations)
    return Job.measured("c", labelmap, reference=folder)


def place_of(affine, lps):
    """(i, j, k) of a point, by the affine that the series was made with."""
    return np.linalg.inv(affine) @ [-lps[0], -lps[1], lps[2], 1]


def read_seg(path, affine):
    """(I, J, K) labels read frame by frame with pydicom, each at its own position."""
    dataset = pydicom.dcmread(path)
    names = {s.SegmentNumber: s.SegmentLabel for s in dataset.SegmentSequence}
    ours = {name.replace("_right", "").replace("_left", ""): label for label, name in ORGANS.items()}
    ours |= {"right kidney": 2, "left kidney": 3, "liver tumour": 5}
    labels = np.zeros(SHAPE, np.uint8)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        i, j, k, _ = place_of(affine, groups.PlanePositionSequence[0].ImagePositionPatient)
        assert (i, j, k) == pytest.approx((0, 0, round(k)), abs=1e-3)
        plane = labels[:, :, round(k)]
        if dataset.SegmentationType == "LABELMAP":
            plane[:] = np.vectorize(lambda n: ours[names[n]] if n in names and n else 0)(frame.T)
        else:
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            plane[frame.T > 0] = ours[names[number]]
    return labels


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize("name", SERIES)
def test_seg_reads_back_voxel_for_voxel(tmp_path, name, kind):
    job = replace(case(tmp_path / "ct", SERIES[name]), options=ExportOptions(seg_type=kind))
    (file,) = export(job, tmp_path, ["dicom-seg"])
    assert (read_seg(file, SERIES[name]) == drawn_labels()).all()


@pytest.mark.parametrize(("order", "signs"), [*product(permutations(range(3)), product((1, -1), repeat=3))])
def test_seg_reads_back_in_all_48_orientations(tmp_path, order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * np.array(signs) * [0.8, 0.8, 2.0]
    affine[:3, 3] = 5, -9, 13
    (file,) = export(case(tmp_path / "ct", affine), tmp_path, ["dicom-seg"])
    assert (read_seg(file, affine) == drawn_labels()).all()


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_a_multiframe_series_is_referred_to_frame_by_frame(tmp_path, kind):
    job = case(tmp_path / "ct", enhanced=ENHANCED_CT)
    (file,) = export(job, tmp_path, [kind])
    if kind == "dicom-seg":
        assert (read_seg(file, AXIAL) == drawn_labels()).all()
    else:
        assert (rasterised(file, AXIAL) == drawn_labels()).all()
        contour = pydicom.dcmread(file).ROIContourSequence[0].ContourSequence[0]
        assert 1 <= contour.ContourImageSequence[0].ReferencedFrameNumber <= SHAPE[2]


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_missing_slices_have_no_labels_and_the_others_keep_their_places(tmp_path, kind):
    job = case(tmp_path / "ct", missing=[4])
    (file,) = export(job, tmp_path, [kind])
    left = drawn_labels()
    left[:, :, 4] = 0
    assert (read_seg(file, AXIAL) if kind == "dicom-seg" else rasterised(file, AXIAL)).tolist() == left.tolist()


def test_what_the_series_does_not_show_is_reported_and_refused_when_it_is_much(tmp_path, caplog):
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:10, 5:10] = 1
    job = case(tmp_path / "ct", labels=labels)
    write_series(tmp_path / "part", body(SHAPE), AXIAL, missing=[SHAPE[2] - 1])
    list(export(replace(job, reference=tmp_path / "part"), tmp_path / "a", ["dicom-seg"]))
    assert f"{1 / SHAPE[2]:.1%} of the labelled voxels lie on no slice" in caplog.text
    write_series(tmp_path / "half", body(SHAPE), AXIAL, missing=range(SHAPE[2] // 2, SHAPE[2]))
    with pytest.raises(GeometryError, match=r"55\.6% of the labelled voxels .*, and all of it"):
        list(export(replace(job, reference=tmp_path / "half"), tmp_path / "b", ["dicom-seg"]))


def test_a_split_scan_is_exported_on_the_part_that_was_read(tmp_path):
    folder = tmp_path / "ct"
    write_series(folder, body((24, 20, 24)), AXIAL, missing=range(8, 18))
    volume = read_scan(folder, gaps="split")
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[4:9, 4:9, 2:6] = 1
    job = Job.measured("c", Labelmap(labels, volume.geometry, volume.stored, ORGANS), reference=folder)
    with pytest.raises(SeriesError, match="missing"):
        list(export(job, tmp_path, ["dicom-seg"]))
    (file,) = export(replace(job, options=ExportOptions(gaps="split")), tmp_path, ["dicom-seg"])
    assert np.count_nonzero(pydicom.dcmread(file).pixel_array) == labels.sum()


def test_seg_says_what_its_segments_are(tmp_path):
    (file,) = export(case(tmp_path / "ct"), tmp_path, ["dicom-seg"])
    dataset = pydicom.dcmread(file)
    source = pydicom.dcmread(next((tmp_path / "ct").glob("*.dcm")))
    kidney = dataset.SegmentSequence[1]
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (modifier.CodeValue, modifier.CodeMeaning) == ("24028007", "Right")
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert len(kidney.RecommendedDisplayCIELabValue) == 3
    lesion = dataset.SegmentSequence[4]
    assert lesion.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert lesion.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    referenced = dataset.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID


def outlined(file):
    """For each structure: [(points (N, 3) LPS mm), ...]."""
    dataset = pydicom.dcmread(file)
    names = {roi.ROINumber: roi.ROIName for roi in dataset.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: [
            np.array(contour.ContourData, dtype=float).reshape(-1, 3) for contour in roi.ContourSequence
        ]
        for roi in dataset.ROIContourSequence
    }


def rasterised(file, affine, times=16):
    """(I, J, K) labels: each contour filled by Pillow on a finer grid, the pixels at voxel centres taken."""
    labels = np.zeros(SHAPE, np.uint8)
    numbers = {name: label for label, name in ORGANS.items()}
    for name, contours in outlined(file).items():
        for points in contours:
            places = np.array([place_of(affine, point)[:3] for point in points])
            k = places[:, 2]
            assert np.ptp(k) < 1e-3
            picture = Image.new("1", ((SHAPE[0] + 1) * times, (SHAPE[1] + 1) * times))
            ImageDraw.Draw(picture).polygon([(float(i), float(j)) for i, j in (places[:, :2] + 1) * times], fill=1)
            centres = np.asarray(picture)[times::times, times::times].T
            labels[:, :, round(k[0])][centres[: SHAPE[0], : SHAPE[1]]] = numbers[name]
    return labels


def area(points):
    """Of a closed planar polygon in space. Source: half the length of the sum of cross products."""
    centred = points - points[0]
    return np.linalg.norm(np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0)) / 2


@pytest.mark.parametrize("name", SERIES)
def test_rtstruct_fills_the_same_voxels_holes_and_islands_kept(tmp_path, name):
    (file,) = export(case(tmp_path / "ct", SERIES[name]), tmp_path, ["rtstruct"])
    assert (rasterised(file, SERIES[name]) == drawn_labels()).all()
    assert len(outlined(file)["kidney_right"]) == 2 * 2  # two islands on each of two slices
    assert len(outlined(file)["liver"]) == 7


@pytest.mark.parametrize("name", ["head first", "gantry tilt of 18 degrees", "oblique"])
def test_the_volume_within_rtstruct_contours_is_within_one_percent(tmp_path, name):
    affine, shape = SERIES[name], (60, 50, 9)
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij")
    labels = ((i - 30) ** 2 / 400 + (j - 25) ** 2 / 300 + (k - 4) ** 2 / 16 < 1).astype(np.uint8)
    labels[25:35, 20:30, 3:6] = 0
    write_series(tmp_path / "ct", body(shape), affine)
    volume = read_scan(tmp_path / "ct")
    stored = volume.stored.from_canonical(np.zeros(volume.geometry.shape, np.uint8)).copy()
    assert stored.shape == shape
    same = np.allclose(volume.stored.geometry.affine, affine, atol=1e-3)
    stored[:] = labels if same else labels[:, :, ::-1]
    job = Job.measured("c", Labelmap(volume.stored.to_canonical(stored), volume.geometry, volume.stored, {1: "liver"}),
              reference=tmp_path / "ct")  # fmt: skip
    (file,) = export(job, tmp_path, ["rtstruct"])
    step = abs(np.dot(affine[:3, 2], np.cross(affine[:3, 0], affine[:3, 1])))
    step /= np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1]))
    inside = sum(area(points) for points in outlined(file)["liver"]) * step
    assert inside == pytest.approx(labels.sum() * volume.geometry.voxel_ml * 1000, rel=0.01)


def test_a_contour_of_more_than_64_kilobytes_is_still_decimal_strings(tmp_path):
    labels = np.zeros((1000, 60, 2), np.uint8)
    labels[:, 5:10] = labels[::2, 5:40] = 1
    (file,) = export(case(tmp_path / "ct", labels=labels), tmp_path, ["rtstruct"])
    contour = pydicom.dcmread(file).ROIContourSequence[0].ContourSequence[0]
    assert sum(len(str(value)) + 1 for value in contour.ContourData) > 0xFFFF
    assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints


def text_of(file):
    dataset = pydicom.dcmread(file)
    return str(dataset.PatientName), dataset.StudyDescription


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (None, "Doe^Jane"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["ISO_IR 100", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO 2022 IR 100", "Müller^Jörg"),
        ("ISO_IR 6", "Doe^Jane"),
        ("ISO_IR 144", "Иванов^Иван"),
        ("ISO_IR 192", "Müller^Jörg"),
    ],
)
def test_names_in_every_character_set_stay_the_same(tmp_path, charset, name):
    def written(dataset):
        dataset.SpecificCharacterSet, dataset.PatientName, dataset.StudyDescription = charset, name, name

    job = case(tmp_path / "ct", change=written)
    files = list(export(job, tmp_path, ["dicom-seg", "rtstruct", "dicom-sr"]))
    assert {text_of(file) for file in files} == {(name, name)}


def test_a_date_that_is_none_is_left_empty(tmp_path):
    def broken(dataset):
        dataset.PatientBirthDate, dataset.StudyDate, dataset.SeriesTime = "00000000", "20200102", "noon"

    job = Job.measured("c", case(tmp_path / "ct", change=broken).labelmap, reference=tmp_path / "ct")
    for path in export(job, tmp_path, ["dicom-seg", "rtstruct", "dicom-sr"]):
        written = pydicom.dcmread(path)
        assert (written.PatientBirthDate, written.StudyDate) == ("", "20200102")
        assert written.get("SeriesTime") != "noon"


@pytest.mark.parametrize("charset", ["ISO_IR 100", ["ISO_IR 100", "ISO 2022 IR 87"]])
@pytest.mark.parametrize(
    ("keyword", "stated", "broken", "copied"),
    [
        ("StudyDate", "2020010234", "2020.01.02", "20200102"),
        ("StudyDate", "20200102", "2020.1.2", ""),
        ("StudyDate", "20200102", "in April", ""),
        ("FrameOfReferenceUID", "1.2.34567", "abc.01.xy", "2.25."),
        ("PatientWeight", "79.5", "79,5", ""),
        ("SliceThickness", "7.125", "7,125", ""),
    ],
)
def test_values_that_a_header_may_not_have_are_put_right_or_left_empty(
    tmp_path, keyword, stated, broken, copied, charset
):
    def changed(dataset):
        dataset.SpecificCharacterSet = charset
        dataset.add_new(keyword, "LO" if len(stated) == 10 else pydicom.datadict.dictionary_VR(keyword), stated)

    job = case(tmp_path / "ct", change=changed)
    for file in (tmp_path / "ct").iterdir():
        assert stated.encode() in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(stated.encode(), broken.encode()))
    for file in export(job, tmp_path, ["dicom-seg", "rtstruct", "dicom-sr"]):
        written = pydicom.dcmread(file)
        if keyword in written:
            assert str(written[keyword].value or "").startswith(copied)
        assert broken.encode() not in file.read_bytes()


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct", "dicom-sr"])
@pytest.mark.parametrize("name", ["head first", "gantry tilt of 18 degrees"])
def test_dciodvfy_finds_no_error(tmp_path, kind, name):
    (file,) = export(case(tmp_path / "ct", SERIES[name]), tmp_path, [kind])
    found = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    assert "Error" not in found.stderr + found.stdout


@needs_dciodvfy
def test_dciodvfy_only_misses_what_is_newer_than_itself_in_a_labelmap(tmp_path):
    job = replace(case(tmp_path / "ct"), options=ExportOptions(seg_type="labelmap"))
    (file,) = export(job, tmp_path, ["dicom-seg"])
    found = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    errors = [line for line in (found.stderr + found.stdout).splitlines() if line.startswith("Error")]
    newer = ("Information Object Not found", "SegmentNumber not monotonically increasing from one")
    assert [error for error in errors if not any(known in error for known in newer)] == []
    background = pydicom.dcmread(file).SegmentSequence[0]
    assert (background.SegmentNumber, background.SegmentLabel) == (0, "Background")


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct", "dicom-sr"])
def test_uids_and_bytes_come_from_the_input_alone(tmp_path, kind):
    job = case(tmp_path / "ct")
    (first,) = export(job, tmp_path / "a", [kind])
    (second,) = export(job, tmp_path / "b", [kind])
    assert first.read_bytes() == second.read_bytes()
    other = relabelled(job, np.where(job.labelmap.labels == 1, 4, 0).astype("u1"))
    (third,) = export(other, tmp_path / "c", [kind])
    uids = [pydicom.dcmread(file).SOPInstanceUID for file in (first, third)]
    assert uids[0] != uids[1]


def test_each_lesion_has_a_segment_and_a_gtv_when_they_are_apart(tmp_path):
    labels = drawn_labels()
    labels[17:19, 10:12, 1:3] = 5  # a second one, smaller
    job = replace(case(tmp_path / "ct", labels=labels), options=ExportOptions(lesions_apart=True))
    seg, rt = export(job, tmp_path, ["dicom-seg", "rtstruct"])
    dataset = pydicom.dcmread(seg)
    names = [segment.SegmentLabel for segment in dataset.SegmentSequence]
    assert names[-2:] == ["liver tumour 1", "liver tumour 2"]
    assert "liver tumour" not in names
    assert len({segment.TrackingUID for segment in dataset.SegmentSequence}) == len(names)
    counts = dict.fromkeys(names, 0)
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        counts[names[groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1]] += int(frame.sum())
    lesions = job.with_lesions().lesions
    voxel_ml = job.labelmap.geometry.voxel_ml
    assert (
        [counts[name] for name in names[-2:]] == [round(lesion.volume_ml / voxel_ml) for lesion in lesions] == [12, 8]
    )
    structures = pydicom.dcmread(rt)
    kinds = {o.ReferencedROINumber: o.RTROIInterpretedType for o in structures.RTROIObservationsSequence}
    gtvs = [roi.ROIName for roi in structures.StructureSetROISequence if kinds[roi.ROINumber] == "GTV"]
    assert gtvs == ["liver_tumour_1", "liver_tumour_2"]


def test_lesions_apart_are_nothing_special_without_lesions(tmp_path):
    labels = np.where(drawn_labels() == 5, 0, drawn_labels())
    apart = replace(case(tmp_path / "ct", labels=labels), options=ExportOptions(lesions_apart=True))
    (one,) = export(apart, tmp_path / "a", ["dicom-seg"])
    (other,) = export(replace(apart, options=ExportOptions()), tmp_path / "b", ["dicom-seg"])
    assert one.read_bytes() == other.read_bytes()


def test_a_series_of_another_place_is_refused(tmp_path):
    job = case(tmp_path / "ct")
    far = AXIAL.copy()
    far[2, 3] += 500
    write_series(tmp_path / "other", body(SHAPE), far)
    with pytest.raises(GeometryError, match="do not overlap"):
        list(export(replace(job, reference=tmp_path / "other"), tmp_path, ["dicom-seg"]))


def test_an_empty_labelmap_is_no_dicom_seg_but_an_rtstruct_without_structures(tmp_path):
    job = case(tmp_path / "ct", labels=np.zeros(SHAPE, np.uint8))
    with pytest.raises(OutputError, match="at least one segment"):
        list(export(job, tmp_path, ["dicom-seg"]))
    (file,) = export(job, tmp_path, ["rtstruct"])
    assert outlined(file) == {}


def test_a_grid_that_is_not_the_series_own_is_reported_and_taken_to_the_nearest(tmp_path, caplog):
    job = case(tmp_path / "ct")
    moved = replace(job.labelmap.geometry, affine=job.labelmap.geometry.affine + np.eye(4)[:, [3]] @ [[0, 0, 0, 0]])
    affine = moved.affine.copy()
    affine[0, 3] += 0.3
    shifted = replace(job, labelmap=replace(job.labelmap, geometry=replace(moved, affine=affine)))
    with caplog.at_level("WARNING", logger="abdoseg"):
        (file,) = export(shifted, tmp_path, ["dicom-seg"])
    assert "nearest voxel" in caplog.text
    assert (read_seg(file, AXIAL) == drawn_labels()).all()


@pytest.mark.parametrize("thickness", ["missing", "empty"])
def test_a_sex_that_is_none_and_a_missing_slice_thickness_do(tmp_path, thickness):
    def changed(dataset):
        dataset.PatientSex = "W"
        dataset.SliceThickness = None
        if thickness == "missing":
            del dataset.SliceThickness

    for file in export(case(tmp_path / "ct", change=changed), tmp_path, ["dicom-seg", "rtstruct", "dicom-sr"]):
        assert pydicom.dcmread(file).PatientSex == ""


def test_headers_that_an_archive_emptied_do(tmp_path):
    def emptied(dataset):
        for keyword in ("PatientName", "PatientBirthDate", "StudyDate", "FrameOfReferenceUID"):
            if keyword in dataset:
                delattr(dataset, keyword)

    job = case(tmp_path / "ct", change=emptied)
    files = list(export(job, tmp_path, ["dicom-seg", "rtstruct"]))
    frames = {pydicom.dcmread(file).get("FrameOfReferenceUID") or "2.25" for file in files}
    assert all(frame.startswith("2.25") for frame in frames)


REAL = SHARED_DATA / "ct" / "dicom_series"


@pytest.mark.skipif(not REAL.exists(), reason="the real DICOM series is not there")
def test_a_real_series_takes_both_and_highdicom_and_dciodvfy_agree(tmp_path):
    import highdicom

    volume = read_scan(REAL)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    i, j, _ = (n // 2 for n in labels.shape)
    labels[i - 40 : i + 40, j - 30 : j + 30, 3:-3] = 1
    labels[i - 10 : i + 10, j - 10 : j + 10, 5:-5] = 0
    job = Job.measured("real", Labelmap(labels, volume.geometry, volume.stored, {1: "liver"}), reference=REAL)
    seg, rt = export(job, tmp_path, ["dicom-seg", "rtstruct"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = highdicom.seg.segread(seg)
        found = read.get_volume(combine_segments=True)
    lps = np.diag([-1, -1, 1, 1]) @ found.affine
    index = np.linalg.inv(volume.geometry.affine) @ lps
    where = np.argwhere(found.array > 0) @ index[:3, :3].T + index[:3, 3]
    assert sorted(map(tuple, np.rint(where).astype(int).tolist())) == sorted(map(tuple, np.argwhere(labels).tolist()))
    inside = sum(area(points) for points in outlined(rt)["liver"]) * volume.geometry.spacing_mm[2]
    assert inside == pytest.approx(labels.sum() * volume.geometry.voxel_ml * 1000, rel=0.01)
    if shutil.which("dciodvfy"):
        for file in (seg, rt):
            checked = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
            assert "Error" not in checked.stderr + checked.stdout
