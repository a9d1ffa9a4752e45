"""NIfTI in every dress: versions, byte orders, pairs, number types, axes that are said, half said and not said."""

import gzip
import sys
import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from phantom_dicom import body
from rotations import rotation

from abdoseg.errors import ResourceError, ScanError
from abdoseg.image import hounsfield
from abdoseg.image.volume import Geometry, Stored
from abdoseg.io import read_scan, write_nifti
from abdoseg.io.image_file import Remark
from abdoseg.io.read import ScanSummary, inspect_scan

HU = body((8, 7, 6))
AFFINE = np.array([[-0.8, 0, 0, 10], [0, -0.9, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])


OPENED = []
sys.addaudithook(lambda event, args: OPENED.append(str(args[0])) if event == "open" else None)


@pytest.fixture
def opened_files():
    """The names of files in the order in which this process opens them."""
    yield OPENED
    OPENED.clear()


def turned(degrees=20.0):
    out = AFFINE.copy()
    out[:3, :3] = rotation(0, degrees) @ out[:3, :3]
    return out


def save(path, array=HU, affine=AFFINE, kind=nibabel.Nifti1Image, dtype=None, endianness="<", sform=1, qform=1):
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(dtype or array.dtype)
    image = kind(np.asarray(array, dtype or array.dtype), affine, header)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    nibabel.save(image, path)
    return path


def patched(path, offset, content, copy=None):
    """The file with bytes replaced, gunzipped if need be."""
    data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    data[offset : offset + len(content)] = content
    (copy or path).write_bytes(bytes(data))
    return copy or path


def stored_array(volume):
    return volume.stored.from_canonical(volume.voxels)


@pytest.mark.parametrize("endianness", "<>")
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "odd name", "a.NII.GZ"])
def test_both_versions_and_byte_orders_are_read_whatever_the_name(tmp_path, endianness, kind, name):
    path = save(tmp_path / "a.nii.gz" if name.lower().endswith("gz") else tmp_path / "a.nii", kind=kind,
                endianness=endianness)  # fmt: skip
    path = path.rename(tmp_path / name)
    volume = read_scan(path)
    assert np.array_equal(stored_array(volume), HU)
    assert np.allclose(volume.stored.geometry.affine, AFFINE, atol=1e-5)
    assert volume.voxels.dtype == np.int16
    assert volume.voxels.dtype.isnative
    assert volume.notes == ()


@pytest.mark.parametrize(("name", "times"), [("a.nii", 1), ("a.nii.gz", 1), ("a.hdr", 2)])
def test_a_file_is_opened_once_and_each_of_a_pair_once(tmp_path, opened_files, name, times):
    path = save(tmp_path / name, kind=nibabel.Nifti1Pair if name == "a.hdr" else nibabel.Nifti1Image)
    opened_files.clear()
    read_scan(path)
    assert [file for file in opened_files if str(tmp_path) in file] == [str(path), str(path.with_suffix(".img"))][
        :times
    ]


@pytest.mark.parametrize("named", ["a.hdr", "a.img"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_is_read_by_either_of_its_names(tmp_path, kind, named):
    save(tmp_path / "a.hdr", kind=kind)
    assert np.array_equal(stored_array(read_scan(tmp_path / named)), HU)


def test_a_gzipped_pair_is_read(tmp_path):
    save(tmp_path / "a.hdr.gz", kind=nibabel.Nifti1Pair)
    assert np.array_equal(stored_array(read_scan(tmp_path / "a.hdr.gz")), HU)


def test_half_a_pair_names_the_other_half(tmp_path):
    save(tmp_path / "a.hdr", kind=nibabel.Nifti1Pair)
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    with pytest.raises(ScanError, match=r"a\.img, are missing"):
        read_scan(tmp_path / "a.hdr")
    with pytest.raises(ScanError, match="not a NIfTI file"):
        read_scan(tmp_path / "b.img")


def test_a_scan_that_is_refused_for_its_numbers_says_where_some_are_none(tmp_path):
    values = np.full((8, 7, 6), 5000, np.float32)
    values[0, 0, 0] = np.nan
    path = save(tmp_path / "a.nii", values)
    for read in (read_scan, inspect_scan):
        with pytest.raises(ScanError, match=r"a\.nii: .*; 1 voxels were no numbers \(NaN or infinite\)"):
            read(path)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "f4", "f8"])
def test_number_types_give_the_same_hu(tmp_path, dtype):
    hu = np.clip(HU, -120, 120) if dtype == "i1" else HU
    volume = read_scan(save(tmp_path / "a.nii", hu, dtype=dtype))
    assert np.array_equal(stored_array(volume), hu)
    assert volume.voxels.dtype == (np.float32 if dtype[0] == "f" else np.int16)


@pytest.mark.parametrize(("slope", "intercept", "dtype"), [(1, -1024, np.int16), (2, -1024, np.int16),
                                                           (0.5, -1024, np.float32), (0, 77, None)])  # fmt: skip
def test_slope_and_intercept_are_applied_and_slope_0_means_none(tmp_path, slope, intercept, dtype):
    hu = (HU // 2) * 2
    raw = hu if slope == 0 else np.round((hu - intercept) / slope).astype(np.int16)
    path = patched(save(tmp_path / "a.nii", raw), 112, np.array([slope, intercept], "<f4").tobytes())
    volume = read_scan(path)
    assert np.array_equal(stored_array(volume), hu)
    assert dtype is None or volume.voxels.dtype == dtype


def test_voxels_that_are_no_numbers_become_air_and_are_counted(tmp_path):
    hu = HU.astype(np.float32)
    hu[0, 0, 0], hu[1, 0, 0] = np.nan, np.inf
    volume = read_scan(save(tmp_path / "a.nii", hu))
    assert stored_array(volume)[:2, 0, 0].tolist() == [-1024, -1024]
    assert volume.notes == ("2 voxels were no numbers (NaN or infinite) and are taken as air, -1024 HU",)


def test_padding_below_air_becomes_air(tmp_path):
    hu = HU.copy()
    hu[0], hu[1], hu[2] = -3024, -2048, -32768
    volume = read_scan(save(tmp_path / "a.nii", hu))
    assert np.array_equal(stored_array(volume), np.maximum(hu, -1024))
    assert volume.voxels.dtype == np.int16
    assert volume.notes == ("126 voxels below -1024 HU are padding, taken as air",)
    assert isinstance(volume.notes[0], Remark)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("<i2", (1, 0)),
        (">i2", (1, 0)),
        ("<i2", (0.5, 3.25)),
        (">u2", (1, -1500)),
        ("<u2", (0.5, -1500)),
        ("<f4", (1, 0)),
    ],
)
@pytest.mark.parametrize("directions", [(1, 1, 1), (-1, 1, -1)])
def test_inspecting_a_file_finds_what_reading_it_whole_finds(tmp_path, monkeypatch, scale, dtype, directions):
    monkeypatch.setattr(hounsfield, "AT_ONCE", 100)  # voxels: two planes
    monkeypatch.setattr(hounsfield, "SAMPLE", 50)
    hu = HU.astype(np.float64)
    hu[2, 3, 4] = -1500
    stored = ((hu - scale[1]) / scale[0]).astype(dtype)
    if dtype == "<f4":
        stored[[0, 1], 0, [0, 5]] = np.nan, np.inf
    path = save(tmp_path / "a.nii.gz", stored, AFFINE * [*directions, 1], endianness=dtype[0])
    patched(path, 112, np.array(scale, "f4").astype(f"{dtype[0]}f4").tobytes())
    path.write_bytes(gzip.compress(path.read_bytes()))
    whole, seen = read_scan(path), inspect_scan(path)
    assert isinstance(seen, ScanSummary)
    assert (seen.details, seen.notes) == (whole.details, whole.notes)
    assert seen.stored.geometry.matches(whole.stored.geometry)


@pytest.mark.parametrize("damage", ["cut", "one slice", "labels"])
def test_inspecting_a_file_refuses_what_reading_it_whole_refuses(tmp_path, damage):
    path = save(tmp_path / "a.nii.gz", {"one slice": HU[:, :, :1], "labels": (HU > 0).astype(np.int16)}.get(damage, HU))
    if damage == "cut":
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-9]))
    with pytest.raises(ScanError) as whole:
        read_scan(path)
    with pytest.raises(ScanError) as seen:
        inspect_scan(path)
    assert str(seen.value) == str(whole.value)


@pytest.mark.parametrize("shape", [(8, 7, 6, 1), (8, 7, 6, 1, 1)])
def test_trailing_axes_of_one_are_dropped(tmp_path, shape):
    volume = read_scan(save(tmp_path / "a.nii", HU.reshape(shape)))
    assert np.array_equal(stored_array(volume), HU)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 7, 3, 2), r"4-D \(8 x 7 x 3 x 2\): 2 volumes in one file"),
        ((8, 7, 2, 1, 3), r"5-D \(8 x 7 x 2 x 1 x 3\)"),
        ((8, 42), "only one slice"),
        ((8, 42, 1), "only one slice"),
    ],
)
def test_what_is_not_one_volume_is_refused_with_its_shape(tmp_path, shape, words):
    with pytest.raises(ScanError, match=words):
        read_scan(save(tmp_path / "a.nii", HU.ravel()[: np.prod(shape)].reshape(shape)))


class TestAxes:
    def test_the_sform_wins_over_the_qform_and_a_disagreement_is_noted(self, tmp_path):
        image = nibabel.Nifti1Image(HU, AFFINE)
        image.set_sform(AFFINE, 1)
        other = AFFINE.copy()
        other[0, 3] += 5
        image.set_qform(other, 1)
        nibabel.save(image, tmp_path / "a.nii")
        volume = read_scan(tmp_path / "a.nii")
        assert np.allclose(volume.stored.geometry.affine, AFFINE, atol=1e-5)
        assert volume.notes == ("sform and qform disagree by 5.0 mm; the sform is used",)
        assert volume.details["affine_from"] == "sform"

    def test_the_qform_serves_alone(self, tmp_path):
        volume = read_scan(save(tmp_path / "a.nii", affine=turned(), sform=0))
        assert np.allclose(volume.stored.geometry.affine, turned(), atol=1e-5)
        assert volume.details["affine_from"] == "qform"

    def test_without_either_the_file_is_refused_unless_axes_are_assumed(self, tmp_path):
        path = save(tmp_path / "a.nii", sform=0, qform=0)
        with pytest.raises(ScanError, match=r"sform_code and qform_code are 0.*--assume-axes"):
            read_scan(path)
        volume = read_scan(path, assume_axes=True)
        assert volume.stored.geometry.axes == "LAS"
        assert np.allclose(volume.stored.geometry.spacing_mm, [0.8, 0.9, 3])
        assert np.allclose(volume.stored.geometry.affine, nibabel.load(path).affine)
        assert volume.notes == ("the file does not say where its axes point: taken as left, anterior, superior",)
        write_nifti(volume.voxels, volume.stored, tmp_path / "b.nii")
        again = read_scan(tmp_path / "b.nii")  # what was assumed is said in what is written
        assert np.allclose(again.stored.geometry.affine, volume.stored.geometry.affine, atol=1e-5)
        assert np.array_equal(again.voxels, volume.voxels)

    def test_a_singular_sform_gives_way_to_the_qform(self, tmp_path):
        path = patched(save(tmp_path / "a.nii"), 280, bytes(16))  # srow_x
        volume = read_scan(path)
        assert np.allclose(volume.stored.geometry.affine, AFFINE, atol=1e-5)
        assert volume.notes == ("the sform cannot be inverted; the qform is used",)

    def test_a_singular_sform_alone_is_refused(self, tmp_path):
        path = patched(save(tmp_path / "a.nii", qform=0), 280, bytes(16))
        with pytest.raises(ScanError, match="cannot be inverted"):
            read_scan(path)

    def test_a_quaternion_that_is_too_long_is_scaled_with_a_note(self, tmp_path):
        path = save(tmp_path / "a.nii", sform=0)
        path = patched(path, 256, np.array([0, 0, 1.1], "<f4").tobytes())  # quatern_b, c, d: half a turn about K
        volume = read_scan(path)
        assert np.allclose(volume.stored.geometry.affine[:3, :3], np.diag([-0.8, -0.9, 3]), atol=1e-5)
        assert volume.notes == ("the qform's quaternion has length 1.100 and was scaled to 1",)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_oblique_axes_of_either_handedness_are_kept(self, tmp_path, sign):
        affine = turned() @ np.diag([sign, 1, 1, 1])
        volume = read_scan(save(tmp_path / "a.nii", affine=affine))
        assert np.allclose(volume.stored.geometry.affine, affine, atol=1e-5)
        assert volume.geometry.axes == "RAS"

    def test_a_shear_is_kept_and_noted(self, tmp_path):
        affine = AFFINE.copy()
        affine[1, 2] = 0.6
        volume = read_scan(save(tmp_path / "a.nii", affine=affine, qform=0))
        assert np.allclose(volume.stored.geometry.affine, affine, atol=1e-5)
        assert volume.notes == ("the axes are sheared by 11.31 degrees; kept as they are",)

    def test_axes_that_miss_right_angles_by_rounding_are_repaired_with_a_note(self, tmp_path):
        affine = AFFINE.copy()
        affine[1, 2] = 0.01
        volume = read_scan(save(tmp_path / "a.nii", affine=affine, qform=0))
        assert volume.geometry.shear_degrees < 1e-6
        assert volume.stored.geometry.distance_mm(Geometry(HU.shape, affine)) < 0.1
        assert volume.notes == ("the axes missed right angles by 0.1910 degrees and were made orthogonal",)

    def test_metres_are_taken_to_millimetres(self, tmp_path):
        path = save(tmp_path / "a.nii", affine=np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE)
        volume = read_scan(patched(path, 123, b"\x01"))
        assert np.allclose(volume.geometry.spacing_mm, [0.8, 0.9, 3])
        assert volume.notes == ("the file is in metres; taken to millimetres",)

    @pytest.mark.parametrize(("unit", "factor", "word"), [(1, 1e-3, "metres"), (3, 1e3, "micrometres")])
    @pytest.mark.parametrize("affine", [AFFINE, turned()])
    def test_a_file_in_another_unit_is_written_in_millimetres(self, tmp_path, unit, factor, word, affine):
        path = save(tmp_path / "a.nii", affine=np.diag([factor, factor, factor, 1]) @ affine)
        volume = read_scan(patched(path, 123, bytes([unit | 8])))  # seconds
        assert volume.notes[0] == f"the file is in {word}; taken to millimetres"
        write_nifti(volume.voxels, volume.stored, tmp_path / "b.nii")
        header = nibabel.load(tmp_path / "b.nii").header
        assert header.get_xyzt_units() == ("mm", "sec")
        for written in (header.get_sform(), header.get_qform()):
            assert np.allclose(written, affine, atol=1e-4)
        assert np.allclose(sitk.ReadImage(str(tmp_path / "b.nii")).GetSpacing(), [0.8, 0.9, 3], rtol=1e-5)

    def test_metres_that_no_body_fits_are_taken_as_millimetres_and_reported(self, tmp_path):
        volume = read_scan(patched(save(tmp_path / "a.nii"), 123, b"\x01"))
        assert np.allclose(volume.geometry.spacing_mm, [0.8, 0.9, 3])
        assert volume.notes == ("the file says that it is in metres, which no body fits; taken as millimetres",)

    @pytest.mark.parametrize("assume_axes", [False, True])
    def test_negative_pixdim_is_read_as_positive_and_written_so(self, tmp_path, assume_axes):
        code = 0 if assume_axes else 1
        path = save(tmp_path / "a.nii", sform=code, qform=code)
        plain = read_scan(path, assume_axes=assume_axes)
        volume = read_scan(patched(path, 80, np.array([-0.8, 0.9, -3], "<f4").tobytes()), assume_axes=assume_axes)
        assert volume.stored.geometry.matches(plain.stored.geometry)
        assert np.array_equal(volume.voxels, plain.voxels)
        write_nifti(volume.voxels, volume.stored, tmp_path / "b.nii")
        assert nibabel.load(tmp_path / "b.nii").header["pixdim"][1:4].min() > 0
        image = sitk.ReadImage(str(tmp_path / "b.nii"))
        directions = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        assert np.allclose(np.diag([-1, -1, 1]) @ directions, volume.stored.geometry.affine[:3, :3], atol=1e-5)

    def test_an_impossible_voxel_size_is_refused(self, tmp_path):
        path = save(tmp_path / "a.nii", sform=0, qform=0)
        with pytest.raises(ScanError, match="voxel size"):
            read_scan(patched(path, 80, bytes(12)), assume_axes=True)


class TestDamage:
    @pytest.mark.parametrize("value", [1e200, 1e308, -1e308])
    @pytest.mark.parametrize("field", ["quatern_b", "pixdim", "srow_x", "qoffset_x", "scl_slope", "scl_inter"])
    def test_huge_numbers_in_a_nifti_2_header_are_met_without_a_warning(self, tmp_path, capfd, field, value):
        header = nibabel.Nifti2Header()
        image = nibabel.Nifti2Image(HU, AFFINE, header)
        image.set_sform(AFFINE, 1 if field.startswith("srow") else 0)
        image.set_qform(AFFINE, 1)
        nibabel.save(image, tmp_path / "a.nii")
        offset = nibabel.Nifti2Header.template_dtype.fields[field][1] + (8 if field == "pixdim" else 0)
        patched(tmp_path / "a.nii", offset, np.array(value, "<f8").tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                volume = read_scan(tmp_path / "a.nii")
                assert np.isfinite(volume.voxels).all()
            except ScanError:
                pass

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "the file is empty"),
            (b"name,age\nJane,70\n", "not a NIfTI file .it is text."),
            (bytes(3000), "starts with zeros"),
            (bytes(range(1, 200)) * 9, "not a NIfTI file .it starts with 01 02 03 04."),
            ((348).to_bytes(4, "little"), "truncated inside its header"),
            ((348).to_bytes(4, "little") + bytes(600), "Analyze 7.5"),
        ],
    )
    def test_what_is_no_nifti_is_described(self, tmp_path, content, words):
        path = tmp_path / "a.nii.gz"
        path.write_bytes(content)
        with pytest.raises(ScanError, match=words):
            read_scan(path)

    def test_a_missing_file_and_a_folder_in_its_place(self, tmp_path):
        with pytest.raises(ScanError, match="no such file or folder"):
            read_scan(tmp_path / "a.nii.gz")
        (tmp_path / "b.nii.gz").mkdir()
        with pytest.raises(ScanError, match="the folder is empty"):
            read_scan(tmp_path / "b.nii.gz")

    def test_a_truncated_file_says_how_much_is_there(self, tmp_path):
        path = save(tmp_path / "a.nii")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ScanError, match=r"truncated: the header promises 8 x 7 x 6 voxels \(672 bytes\)"):
            read_scan(path)

    @pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
    def test_a_truncated_gzip_is_refused(self, tmp_path, keep):
        noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
        path = save(tmp_path / "a.nii.gz", noise)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        with pytest.raises(ScanError, match="truncated"):
            read_scan(path)

    def test_a_gzip_whose_checksum_is_wrong_is_refused(self, tmp_path):
        path = save(tmp_path / "a.nii.gz")
        data = bytearray(path.read_bytes())
        data[-6] ^= 0xFF
        path.write_bytes(bytes(data))
        with pytest.raises(ScanError, match="damaged gzip"):
            read_scan(path)

    def test_a_promise_of_10_to_the_12_voxels_costs_no_memory(self, tmp_path):
        dim = np.array([3, 10000, 10000, 10000], "<i2").tobytes()
        for name in ("a.nii", "a.nii.gz"):
            path = patched(save(tmp_path / name), 40, dim)
            if name.endswith("gz"):
                path.write_bytes(gzip.compress(path.read_bytes()))
            with pytest.raises(ScanError, match="promises 10000 x 10000 x 10000"):
                read_scan(path)

    def test_a_gzip_bomb_is_refused_by_its_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr("abdoseg.io.limits.MAX_VOXELS", 10**6)
        path = save(tmp_path / "a.nii.gz", np.zeros((101, 100, 100), np.int16))
        with pytest.raises(ScanError, match="more than any CT has"):
            read_scan(path)

    def test_a_scan_beyond_free_memory_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("abdoseg.io.limits.free_memory", lambda: 100)
        with pytest.raises(ResourceError, match="8 x 7 x 6 voxels need"):
            read_scan(save(tmp_path / "a.nii"))

    @pytest.mark.parametrize(
        ("offset", "content", "words"),
        [
            (40, b"\x09\x00", "damaged header: 9 axes"),
            (42, b"\xff\xff", "no voxels"),
            (70, b"\x20\x00", "complex numbers"),
            (70, b"\x80\x00", "RGB colours"),
            (70, b"\xe7\x03", "of unknown type 999"),
            (108, np.array([np.nan], "<f4").tobytes(), "start at byte nan"),
            (108, np.array([-5], "<f4").tobytes(), "start at byte -5"),
        ],
    )
    def test_a_damaged_header_is_described(self, tmp_path, offset, content, words):
        with pytest.raises(ScanError, match=words):
            read_scan(patched(save(tmp_path / "a.nii"), offset, content))


class TestWriting:
    @pytest.mark.parametrize("endianness", "<>")
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    def test_labels_go_back_on_the_scans_own_grid_with_its_own_header(self, tmp_path, kind, endianness):
        path = save(tmp_path / "a.nii.gz", affine=turned(), kind=kind, endianness=endianness, sform=2, qform=1)
        volume = read_scan(path)
        labels = (volume.voxels > 0).astype(np.uint8)
        write_nifti(labels, volume.stored, tmp_path / "seg.nii.gz")
        scan, seg = nibabel.load(path), nibabel.load(tmp_path / "seg.nii.gz")
        assert type(seg.header) is type(scan.header)
        assert seg.header.endianness == endianness
        assert seg.get_data_dtype() == np.uint8
        for field in ("dim", "pixdim", "sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_z", "xyzt_units"):
            assert np.array_equal(seg.header[field], scan.header[field]), field
        assert np.array_equal(seg.affine, scan.affine)
        assert np.array_equal(np.asarray(seg.dataobj), np.asarray(scan.dataobj) > 0)

    def test_free_text_of_a_header_is_not_copied(self, tmp_path):
        path = patched(save(tmp_path / "a.nii"), 148, b"DOE JANE 4711")  # descrip
        volume = read_scan(path)
        write_nifti(volume.voxels, volume.stored, tmp_path / "b.nii")
        assert b"DOE" not in (tmp_path / "b.nii").read_bytes()

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_what_is_written_is_what_nibabel_reads(self, tmp_path, dtype, name):
        stored = Stored(Geometry(HU.shape, turned()))
        array = np.abs(HU).astype(dtype)
        write_nifti(stored.to_canonical(array), stored, tmp_path / name)
        image = nibabel.load(tmp_path / name)
        assert np.array_equal(np.asarray(image.dataobj), array)
        assert image.get_data_dtype() == dtype
        assert np.allclose(image.affine, turned(), atol=1e-5)
        assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
        assert np.allclose(image.get_qform(), turned(), atol=1e-5)

    def test_a_sheared_grid_is_written_with_its_sform_alone(self, tmp_path):
        affine = AFFINE.copy()
        affine[1, 2] = 0.9
        stored = Stored(Geometry(HU.shape, affine))
        write_nifti(stored.to_canonical(HU), stored, tmp_path / "a.nii.gz")
        image = nibabel.load(tmp_path / "a.nii.gz")
        assert np.allclose(image.affine, affine, atol=1e-5)
        assert int(image.header["qform_code"]) == 0
        assert np.allclose(image.header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0), atol=1e-5)
