"""DICOM series to volumes: every encoding, orientation, tilt and number format gives the HU that were written."""

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from phantom_dicom import AXIAL, ENHANCED_CT, LEGACY_CT, PATIENT, body, stored_array, tilted, write_series
from phantom_jpeg import RAMP
from pydicom import uid

from abdoseg.errors import ScanError, SeriesError
from abdoseg.io import read_scan
from abdoseg.io.dicom.reader import ordered_headers
from abdoseg.io.image_file import Remark

HU = body()
TURNED = np.array([[-0.8, 0.6, 0, 9], [-0.6, -0.8, 0, 5], [0, 0, 2.5, 3], [0, 0, 0, 1]]) @ np.diag([0.7, 0.9, 1, 1])


def hu_at(volume, ras):
    index = np.linalg.inv(volume.geometry.affine) @ [*ras, 1]
    return volume.voxels[tuple(np.rint(index[:3]).astype(int))]


def same_places(volume, hu, affine):
    """Whether every voxel written is found at its own RAS mm, whatever the order of axes and slices."""
    for index in [(0, 0, 0), (3, 5, 1), (30, 20, 7), (39, 35, 11), (17, 4, 6)]:
        ras = affine[:3, :3] @ np.array(index) + affine[:3, 3]
        if hu_at(volume, ras) != hu[index]:
            return False
    return True


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        [uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless],
    ],
)
@pytest.mark.parametrize("bits", [{"bits_stored": 12}, {"signed": True, "intercept": 0}])
def test_every_lossless_transfer_syntax_gives_the_same_hu(tmp_path, syntax, bits):
    write_series(tmp_path, HU, transfer_syntax=syntax, **bits)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.voxels.dtype == np.int16
    assert np.allclose(volume.stored.geometry.affine, AXIAL, atol=1e-6)


def test_high_throughput_jpeg_2000_is_read(tmp_path):
    hu = np.repeat(RAMP[:, :, None] - 1024, 3, axis=2)
    write_series(tmp_path, hu, transfer_syntax=uid.HTJ2KLossless)
    assert np.array_equal(stored_array(read_scan(tmp_path)), hu)


@pytest.mark.parametrize(
    ("syntax", "bits"), [(uid.JPEGBaseline8Bit, 8), (uid.JPEG2000, 16), (uid.JPEGLSNearLossless, 16)]
)
def test_lossy_transfer_syntaxes_are_read_too(tmp_path, syntax, bits):
    step = 16 if bits == 8 else 1
    write_series(tmp_path, HU, transfer_syntax=uid.ExplicitVRLittleEndian, slope=step, bits_stored=bits)
    reference = read_scan(tmp_path)
    (tmp_path / "lossy").mkdir()
    kwargs = {"transfer_syntax": syntax} if bits == 8 else {"transfer_syntax": syntax, "lossy": True}
    write_series(tmp_path / "lossy", HU, slope=step, bits_stored=bits, **kwargs)
    lossy = read_scan(tmp_path / "lossy")
    assert np.abs(lossy.voxels.astype(int) - reference.voxels).mean() < 2 * step


ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product([1, -1], repeat=3)
]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::3])
def test_orientations_keep_every_voxel_in_its_place(tmp_path, order, signs):
    affine = np.zeros((4, 4))
    for a, spacing in enumerate((0.7, 0.9, 2.5)):
        affine[order[a], a] = signs[a] * spacing
    affine[:, 3] = [12, -34, 56, 1]
    write_series(tmp_path, HU, affine)
    volume = read_scan(tmp_path)
    assert volume.geometry.axes == "RAS"
    assert same_places(volume, HU, affine)


def test_a_doubly_oblique_series_keeps_its_voxels_in_place(tmp_path):
    write_series(tmp_path, HU, TURNED)
    assert same_places(read_scan(tmp_path), HU, TURNED)


@pytest.mark.parametrize("degrees", [-22.0, -3.0, 14.0, 30.0])
def test_a_gantry_tilt_is_kept_as_shear_with_every_voxel_in_place(tmp_path, degrees):
    affine = tilted(AXIAL, degrees)
    write_series(tmp_path, HU, affine)
    volume = read_scan(tmp_path)
    assert np.allclose(volume.stored.geometry.affine, affine, atol=1e-6)
    assert volume.details["tilt_degrees"] == pytest.approx(abs(degrees), abs=0.01)
    assert any("tilted by" in note for note in volume.notes)
    assert volume.geometry.voxel_ml == pytest.approx(2.5e-3 * np.cos(np.radians(degrees)))
    assert same_places(volume, HU, affine)


def test_positions_rounded_to_a_hundredth_are_no_tilt(tmp_path):
    jitter = np.round(2.5 * np.arange(12) + np.resize([0.0, 0.01, -0.01], 12), 2)
    write_series(tmp_path, HU, positions_mm=jitter)
    volume = read_scan(tmp_path)
    assert volume.notes == ()
    assert volume.geometry.shear_degrees < 1e-3


def test_slope_and_intercept_count_slice_by_slice(tmp_path):
    slopes, intercepts = [1, 2, 4], [-1024, -1000, 0]
    hu = (HU // 8) * 8  # exact under each slope
    write_series(tmp_path, hu, slope=slopes, intercept=intercepts, signed=True)
    volume = read_scan(tmp_path)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(stored_array(volume), hu)


def test_a_fractional_slope_gives_floats(tmp_path):
    write_series(tmp_path, HU, slope=0.25, intercept=-1024.5, bits_stored=16)
    volume = read_scan(tmp_path)
    assert volume.voxels.dtype == np.float32
    assert np.abs(stored_array(volume) - HU).max() <= 0.125


@pytest.mark.parametrize("signed", [False, True])
def test_what_lies_in_unused_bits_is_not_read(tmp_path, signed):
    def overlay(dataset):
        stored = np.frombuffer(dataset.PixelData, "<u2").copy()
        stored = (stored & 0x0FFF) | 0x5000  # an old overlay in the upper bits
        dataset.PixelData = stored.tobytes()

    write_series(tmp_path, HU, bits_stored=12, signed=signed, change=overlay)
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


@pytest.mark.parametrize(("signed", "padding"), [(True, -2000), (False, 63536), (False, 0)])
def test_padding_becomes_air(tmp_path, signed, padding):
    hu = HU.copy()
    hu[:4] = -2000  # outside the field of view
    write_series(tmp_path, hu, signed=signed, padding=padding)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), np.maximum(hu, -1024))
    assert volume.notes == ("1,728 voxels below -1024 HU are padding, taken as air",)
    assert isinstance(volume.notes[0], Remark)


def test_a_padding_value_that_would_mean_tissue_is_not_believed(tmp_path):
    write_series(tmp_path, HU, signed=True, intercept=0, tags={"PixelPaddingValue": 50})
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def called_unsigned(folder):
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelRepresentation = 0
        dataset.save_as(path)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.ExplicitVRLittleEndian, uid.RLELossless])
@pytest.mark.parametrize("bits", [16, 12])
def test_signed_numbers_that_the_header_calls_unsigned_are_found_and_reported(tmp_path, syntax, bits):
    write_series(tmp_path, HU, transfer_syntax=syntax, signed=True, intercept=0, bits_stored=bits)
    called_unsigned(tmp_path)
    if bits == 12 and syntax != uid.JPEG2000Lossless:  # nothing tells them from 12 unsigned bits
        with pytest.raises(ScanError, match="none negative"):
            read_scan(tmp_path)
        return
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.notes == (
        "the stored numbers are signed, although PixelRepresentation says unsigned; taken as signed",
    )


def test_unsigned_numbers_in_an_unsigned_codestream_stay_so(tmp_path):
    hu = np.maximum(HU, 0) + 40  # none negative, and so refused, not turned
    write_series(tmp_path, hu, transfer_syntax=uid.JPEG2000Lossless, intercept=0)
    with pytest.raises(ScanError, match="none negative"):
        read_scan(tmp_path)


def test_pixels_that_overflowed_in_their_encoding_are_reported(tmp_path):
    hu = HU.copy()
    spots = np.random.default_rng(0).random(HU.shape) < 0.009
    hu[spots] = 31743
    write_series(tmp_path, hu, transfer_syntax=uid.JPEGLosslessSV1)
    volume = read_scan(tmp_path)
    assert volume.voxels.max() == 31743
    assert any("of the voxels are above 3100 HU, up to 31743" in note for note in volume.notes)
    write_series(tmp_path / "implant", np.where(spots & (np.cumsum(spots).reshape(spots.shape) < 10), 20000, HU))
    assert read_scan(tmp_path / "implant").notes == ()


def test_reading_in_threads_leaves_the_processs_warning_filters_alone(tmp_path):
    write_series(tmp_path, HU)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read_scan(tmp_path), range(4)))
    assert warnings.filters == before


def test_monochrome1_inverts_the_display_not_the_hu(tmp_path):
    write_series(tmp_path, HU, monochrome1=True)
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


@pytest.mark.parametrize("sop_class", [ENHANCED_CT, LEGACY_CT])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_a_multi_frame_object_is_read_as_its_slices_would_be(tmp_path, sop_class, syntax):
    affine = tilted(AXIAL, 10)
    (file,) = write_series(tmp_path, HU, affine, enhanced=sop_class, transfer_syntax=syntax)
    for path in (tmp_path, file):
        volume = read_scan(path)
        assert np.array_equal(stored_array(volume), HU)
        assert np.allclose(volume.stored.geometry.affine, affine, atol=1e-6)


def test_frames_missing_from_a_multi_frame_object_are_filled(tmp_path):
    write_series(tmp_path, HU, enhanced=ENHANCED_CT, missing=[5])
    volume = read_scan(tmp_path)
    assert volume.voxels.shape == HU.shape
    assert volume.details["gaps_mm"] == [[-30.0, -25.0, 1]]


def test_matrices_need_not_be_square(tmp_path):
    write_series(tmp_path, HU[:, :20])
    assert read_scan(tmp_path).voxels.shape == (40, 20, 12)


def test_two_slices_are_enough_and_one_is_not(tmp_path):
    write_series(tmp_path / "two", HU[:, :, :2])
    assert read_scan(tmp_path / "two").voxels.shape == (40, 36, 2)
    (file,) = write_series(tmp_path / "one", HU[:, :, :1])
    for path in (tmp_path / "one", file):
        with pytest.raises(SeriesError, match=r"only 1 CT slice; .* name the folder"):
            read_scan(path)


def test_a_truncated_slice_is_named(tmp_path):
    files = write_series(tmp_path, HU)
    files[3].write_bytes(files[3].read_bytes()[:-500])
    with pytest.raises(ScanError, match=f"{files[3].name}: truncated or damaged pixel data"):
        read_scan(tmp_path)


def test_a_transfer_syntax_that_no_decoder_knows_is_named(tmp_path):
    files = write_series(tmp_path, HU)
    for file in files:  # of the same length, so that the bytes can be exchanged
        file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(SeriesError, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.9 .* cannot be decoded"):
        read_scan(tmp_path)


def test_numbers_that_are_not_hu_are_refused(tmp_path):
    write_series(tmp_path, np.maximum(HU, 0) % 256, intercept=0)
    with pytest.raises(ScanError, match=r"values from 0 to .* not HU"):
        read_scan(tmp_path)


def test_no_identity_reaches_notes_or_details(tmp_path):
    write_series(
        tmp_path, HU, tilted(AXIAL, 5), missing=[4], localizer=True, company=["seg"], tags={"ImageComments": "Jane"}
    )
    volume = read_scan(tmp_path)
    text = repr(volume.details) + repr(volume.notes) + repr(volume.stored)
    secrets = [*PATIENT.values(), "Jane", "Doe", "portal", str(uid_of(tmp_path))]
    assert [secret for secret in secrets if secret in text] == []


def uid_of(folder):
    return ordered_headers(folder)[0][0].SeriesInstanceUID


def test_places_that_jitter_are_even_and_no_slice_is_missing(tmp_path):
    jitter = [2.5 * k + (0.06 if k % 2 else 0.0) for k in range(HU.shape[2])]
    write_series(tmp_path, HU, positions_mm=jitter)
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.stored.from_canonical(volume.voxels), read_even(tmp_path / "even"))
    assert any("taken as even" in note and isinstance(note, Remark) for note in volume.notes)


def read_even(folder):
    write_series(folder, HU)
    volume = read_scan(folder)
    return volume.stored.from_canonical(volume.voxels)


def test_a_file_without_preamble_and_meta_header_is_read(tmp_path):
    for path in write_series(tmp_path, HU):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    volume = read_scan(tmp_path)
    assert np.array_equal(volume.stored.from_canonical(volume.voxels), read_even(tmp_path.parent / "even"))


def test_a_damaged_slice_is_named_with_its_folder(tmp_path):
    paths = write_series(tmp_path / "of_many", HU)
    paths[3].write_bytes(paths[3].read_bytes()[:-500])
    with pytest.raises(ScanError, match=rf"of_many: {paths[3].name}: "):
        read_scan(tmp_path / "of_many")


def test_numbers_that_no_slice_says_to_be_hu_are_doubted(tmp_path):
    def bare(dataset):
        del dataset.RescaleIntercept, dataset.RescaleSlope

    write_series(tmp_path, HU, change=bare)
    with pytest.raises(ScanError, match="none negative"):
        read_scan(tmp_path)
    write_series(tmp_path / "b", HU, change=bare, signed=True, intercept=-1000)
    assert any("no RescaleIntercept is stated" in note for note in read_scan(tmp_path / "b").notes)


def test_headers_come_in_the_order_of_the_grid(tmp_path):
    write_series(tmp_path, HU, missing=[2, 7])
    headers = ordered_headers(tmp_path)
    assert [at for _, _, at in headers] == [0, 1, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [float(header.ImagePositionPatient[2]) for header, _, _ in headers] == [
        -40 + 2.5 * at for _, _, at in headers
    ]


def test_contrast_is_reported_without_naming_the_agent(tmp_path):
    write_series(tmp_path, HU, tags={"ContrastBolusAgent": "Omnipaque for Jane"})
    details = read_scan(tmp_path).details
    assert details["contrast_agent"] is True
    assert "Omnipaque" not in repr(details)


def test_a_codestream_of_another_size_than_the_header_says_is_not_unfolded(tmp_path):
    for name in ("JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessSV1"):
        files = write_series(tmp_path / name, HU, transfer_syntax=getattr(uid, name), bits_stored=12)
        for file in files:  # Rows: group 0028, element 0010, US, 2 bytes, 36
            data = file.read_bytes()
            assert data.count(b"\x28\x00\x10\x00US\x02\x00\x24\x00") == 1
            file.write_bytes(data.replace(b"\x28\x00\x10\x00US\x02\x00\x24\x00", b"\x28\x00\x10\x00US\x02\x00\x1e\x00"))
        with pytest.raises(ScanError, match=r"encoded pixels of \(36, 40\), but a header for \(30, 40\)"):
            read_scan(tmp_path / name)


def test_pixel_sizes_that_differ_by_rounding_are_one_series(tmp_path):
    def rounded(dataset):
        if dataset.InstanceNumber % 2:
            dataset.PixelSpacing = ["0.6755", "0.6755"]

    write_series(tmp_path, HU, AXIAL @ np.diag([0.67549, 0.67549, 1, 1]), change=rounded)
    assert read_scan(tmp_path).voxels.shape == HU.shape
