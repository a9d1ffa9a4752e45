"""Slices in order: gaps named and filled, duplicates that must agree, and what cannot be stacked."""

import numpy as np
import pydicom
import pytest
from phantom_dicom import AXIAL, body, stored_array, tilted, write_series

from abdoseg.errors import SeriesError, UsageError
from abdoseg.io import read_scan
from abdoseg.io.dicom.reader import ordered_headers
from abdoseg.io.dicom.stack import usual_step

HU = body()  # 12 slices, 2.5 mm apart, from z = -40 to -12.5


def test_a_missing_slice_is_interpolated_in_hu_and_named(tmp_path):
    write_series(tmp_path, HU, missing=[4])
    volume = read_scan(tmp_path)
    got = stored_array(volume)
    assert got.shape == HU.shape
    assert np.array_equal(np.delete(got, 4, axis=2), np.delete(HU, 4, axis=2))
    assert np.array_equal(got[:, :, 4], np.round((HU[:, :, 3].astype(float) + HU[:, :, 5]) / 2))
    assert np.allclose(volume.stored.geometry.affine, AXIAL)
    assert volume.notes == ("slices missing between -32.5 and -27.5 mm (1 missing); 1 of 12 slices are interpolated",)
    assert volume.details["gaps_mm"] == [[-32.5, -27.5, 1]]
    assert volume.details["measured_slices"] == 11


def test_a_missing_slice_is_named_among_positions_rounded_to_a_hundredth(tmp_path):
    hu = np.repeat(HU, 20, axis=2)
    write_series(tmp_path, hu, positions_mm=[round(0.625 * k, 2) for k in range(240)], missing=[150])
    volume = read_scan(tmp_path)
    assert np.array_equal(np.delete(stored_array(volume), 150, axis=2), np.delete(hu, 150, axis=2))
    assert volume.notes == ("slices missing between 53.1 and 54.4 mm (1 missing); 1 of 240 slices are interpolated",)


def test_two_slices_missing_together_are_weighted_by_distance(tmp_path):
    write_series(tmp_path, HU, missing=[4, 5])
    got = stored_array(read_scan(tmp_path))
    before, after = HU[:, :, 3].astype(float), HU[:, :, 6].astype(float)
    assert np.array_equal(got[:, :, 4], np.round(2 / 3 * before.astype(np.float32) + 1 / 3 * after.astype(np.float32)))


def test_gaps_fail_names_every_gap(tmp_path):
    write_series(tmp_path, HU, missing=[2, 7, 8])
    with pytest.raises(
        SeriesError,
        match=r"missing between -37\.5 and -32\.5 mm \(1 missing\); -25\.0 and -17\.5 mm \(2 missing\); .* --gaps fill",
    ):
        read_scan(tmp_path, gaps="fail")


def test_a_gap_beyond_the_limit_is_refused_with_its_size(tmp_path):
    write_series(tmp_path, HU, missing=[3, 4, 5, 6, 7, 8])
    with pytest.raises(SeriesError, match=r"a gap of 17\.5 mm is beyond the 15 mm that can be filled.* --gaps split"):
        read_scan(tmp_path)


def test_gaps_split_takes_the_longest_part(tmp_path):
    write_series(tmp_path, HU, missing=[2, 3, 4, 5, 10])
    volume = read_scan(tmp_path, gaps="split")
    assert np.array_equal(stored_array(volume), HU[:, :, 6:10])
    assert volume.stored.geometry.affine[2, 3] == -25
    assert volume.notes == (
        "3 parts with gaps between them; the longest, 4 of 7 slices from -25.0 to -17.5 mm, is used",
    )


def test_gaps_split_leaves_an_even_series_whole(tmp_path):
    write_series(tmp_path, HU)
    assert np.array_equal(stored_array(read_scan(tmp_path, gaps="split")), HU)


def test_an_unknown_word_for_gaps_is_a_usage_error(tmp_path):
    write_series(tmp_path, HU)
    with pytest.raises(UsageError, match="fail, fill or split"):
        read_scan(tmp_path, gaps="guess")


def test_a_gap_in_a_tilted_series_is_filled_along_the_table(tmp_path):
    affine = tilted(AXIAL, 15)
    write_series(tmp_path, HU, affine, missing=[6])
    volume = read_scan(tmp_path)
    assert np.allclose(volume.stored.geometry.affine, affine, atol=1e-6)
    assert np.array_equal(np.delete(stored_array(volume), 6, axis=2), np.delete(HU, 6, axis=2))


def test_uneven_spacing_is_resampled_to_the_usual_step(tmp_path):
    ramp = np.full((40, 36, 7), -1000, np.int16)
    positions = [0.0, 2.0, 4.0, 5.0, 7.0, 9.0, 12.0]
    ramp[10:30, 10:30] = np.array(positions) * 10 + 20  # HU grow evenly with mm
    write_series(tmp_path, ramp, positions_mm=positions)
    volume = read_scan(tmp_path)
    got = stored_array(volume)
    assert volume.stored.geometry.spacing_mm[2] == pytest.approx(2.0)
    assert got[15, 15].tolist() == [20, 40, 60, 80, 100, 120, 140]
    assert "uneven spacing, from 1.00 to 3.00 mm; 7 of 7 slices are interpolated" in volume.notes


def test_slices_there_twice_are_used_once(tmp_path):
    write_series(tmp_path, HU, twins=[0, 5])
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.notes == ("2 slices were there twice, identical, and are used once",)


def test_a_folder_with_every_slice_twice_is_read_once(tmp_path):
    write_series(tmp_path, HU, twins=range(12))
    assert np.array_equal(stored_array(read_scan(tmp_path)), HU)


def test_two_different_slices_in_one_place_are_an_error(tmp_path):
    write_series(tmp_path, HU, rivals=[5])
    (rival,) = tmp_path.glob("again*")
    with pytest.raises(SeriesError, match=r"two different slices at -27\.5 mm") as refusal:
        read_scan(tmp_path)
    named = {name for name in (path.name for path in tmp_path.iterdir()) if name in str(refusal.value)}
    places = [float(pydicom.dcmread(tmp_path / name).ImagePositionPatient[2]) for name in named]
    assert rival.name in named
    assert places == [-27.5, -27.5]


def test_slices_that_jump_sideways_are_an_error(tmp_path):
    def shift(dataset):
        if float(dataset.ImagePositionPatient[2]) > -25:
            dataset.ImagePositionPatient[0] = "-55"

    write_series(tmp_path, HU, change=shift)
    with pytest.raises(SeriesError, match=r"jump sideways by up to .* mm"):
        read_scan(tmp_path)


def test_order_comes_from_positions_alone(tmp_path):
    def mislead(dataset):
        dataset.SliceLocation = dataset.InstanceNumber * 3
        dataset.SpacingBetweenSlices = "9"

    write_series(tmp_path, HU, change=mislead, seed=3)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU)
    assert volume.geometry.spacing_mm[2] == pytest.approx(2.5)


def test_slices_from_head_to_feet_come_out_from_feet_to_head(tmp_path):
    downwards = AXIAL @ np.diag([1, 1, -1, 1.0])
    write_series(tmp_path, HU, downwards)
    volume = read_scan(tmp_path)
    assert np.array_equal(stored_array(volume), HU[:, :, ::-1])
    assert volume.stored.geometry.affine[2, 2] == 2.5


@pytest.mark.parametrize(
    ("gaps", "step"),
    [([5, 5, 10], 5), ([5, 10], 5), ([1.25, 202.5, 1.25], 1.25), ([2.49, 2.51, 5, 2.5], 2.5), ([3], 3)],
)
def test_the_usual_step_is_what_most_neighbours_share(gaps, step):
    assert usual_step(np.array(gaps, float)) == pytest.approx(step)


def rewritten(folder, place, size):
    """Gives the slice at that place along K another matrix: every second pixel of the one it had."""
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if abs(float(dataset.ImagePositionPatient[2]) - place) < 0.1:
            pixels = dataset.pixel_array[:: dataset.Rows // size[0], :: dataset.Columns // size[1]]
            dataset.Rows, dataset.Columns = pixels.shape
            dataset.PixelSpacing = [2 * float(n) for n in dataset.PixelSpacing]
            dataset.PixelData = pixels.tobytes()
            dataset.save_as(path)


def test_a_slice_of_another_matrix_is_said_to_be_there_and_refused_unless_it_may_be_filled(tmp_path):
    write_series(tmp_path, HU)
    rewritten(tmp_path, -40 + 5 * 2.5, (18, 20))
    words = r"between -30.0 and -25.0 mm \(1 missing\); "
    words += "1 of them are there, but with another matrix, 20 x 18 among 40 x 36"
    with pytest.raises(SeriesError, match=words + ".*--gaps fill"):
        read_scan(tmp_path)
    volume = read_scan(tmp_path, gaps="fill")
    assert volume.voxels.shape == HU.shape
    assert any("another matrix, 20 x 18" in note and "1 of 12 slices are interpolated" in note for note in volume.notes)
    assert ordered_headers(tmp_path, gaps="fill")[-1][2] == 11


def test_several_slices_of_another_matrix_are_not_taken_for_missing_ones_either(tmp_path):
    write_series(tmp_path, HU)
    for place in (4, 5):
        rewritten(tmp_path, -40 + place * 2.5, (18, 20))
    with pytest.raises(SeriesError, match="2 of them are there, but with another matrix"):
        read_scan(tmp_path)


def test_a_slice_of_another_matrix_at_the_end_is_left_out_and_reported(tmp_path):
    write_series(tmp_path, HU)
    rewritten(tmp_path, -40 + 11 * 2.5, (18, 20))
    volume = read_scan(tmp_path)
    assert volume.voxels.shape[2] == 11
    assert any("1 slices beyond the ends are left out: with another matrix, 20 x 18" in note for note in volume.notes)
