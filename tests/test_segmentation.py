"""A scan to a labelmap with a network that knows organs by their HU: grids, borders, sides, records."""

import itertools
import socket
from dataclasses import replace

import numpy as np
import pytest
from phantom_balls import HU, SPACING, WITH_TUMOUR, dice, model, scan

import abdoseg
from abdoseg.errors import ModelError, ResourceError
from abdoseg.image.volume import Geometry, Stored, Volume
from abdoseg.inference.network_grid import network_grid
from abdoseg.inference.resources import expected_bytes, expected_seconds
from abdoseg.io.image_file import Remark
from abdoseg.segmentation import segment


def test_on_the_networks_own_grid_the_labels_are_exact():
    volume, truth = scan()
    found = segment(volume, model())
    np.testing.assert_array_equal(found.labelmap.labels, truth)
    assert found.labelmap.organs == {1: "liver", 2: "kidney_right", 3: "kidney_left", 4: "spleen"}
    assert [row.voxels for row in found.rows] == [(truth == label).sum() for label in (1, 2, 3, 4)]
    assert found.warnings == [line for line in found.warnings if "unusually small" in line]  # the balls are small


def test_a_finer_grid_gets_labels_of_its_own_resolution():
    volume, truth = scan(spacing=(1.0, 1.0, 1.5), shape=(160, 120, 80))
    labels = segment(volume, model()).labelmap.labels
    assert labels.shape == (160, 120, 80)
    assert dice(truth, labels, 1) > 0.95


def test_a_thick_slab_is_labelled_too():
    volume, _ = scan(spacing=(2.0, 2.0, 8.0), shape=(80, 60, 3))
    found = segment(volume, model())
    assert found.labelmap.labels.shape == (80, 60, 3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_result_does_not_depend_on_how_the_file_had_its_axes(order):
    volume, _ = scan(spacing=(3.3, 3.1, 4.0), shape=(48, 38, 26))
    expected = segment(volume, model()).labelmap.labels
    for signs in itertools.product((1, -1), repeat=3):
        stored = stored_as(volume.geometry, order, signs)
        array = stored.from_canonical(volume.voxels).copy(order="F")
        turned = Volume(stored.to_canonical(array), stored.canonical(), stored)
        np.testing.assert_allclose(turned.geometry.affine, volume.geometry.affine, atol=1e-9)
        labelmap = segment(turned, model()).labelmap
        np.testing.assert_array_equal(labelmap.labels, expected)
        assert stored.from_canonical(labelmap.labels).flags.f_contiguous


def stored_as(geometry, order, signs):
    """The canonical grid with its axes in another order, some of them flipped."""
    affine, shape = np.eye(4), tuple(geometry.shape[world] for world in order)
    affine[:3, 3] = geometry.affine[:3, 3]
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * geometry.affine[:3, world]
        if sign < 0:
            affine[:3, 3] += geometry.affine[:3, world] * (geometry.shape[world] - 1)
    return Stored(Geometry(shape, affine))


def test_a_tilted_gantrys_scan_is_labelled_where_its_voxels_lie():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = -2.0 * np.tan(np.radians(15))
    affine[:3, 3] = (-80, -60, 0)
    volume, truth = scan(shape=(160, 150, 50), affine=affine)
    assert network_grid(volume.geometry, model().plan).shear_degrees < 1e-6
    labels = segment(volume, model()).labelmap.labels
    assert dice(truth, labels, 1) > 0.93


def test_the_networks_grid_holds_a_scan_that_lies_askew():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]]
    geometry = Geometry((50, 60, 70), turn @ np.diag([2, 2, 2, 1.0]))
    grid = network_grid(geometry, model().plan)
    np.testing.assert_allclose(grid.spacing_mm, SPACING)
    assert grid.axes == "RAS"
    at = np.linalg.inv(grid.affine) @ np.vstack([geometry.corners_mm().T, np.ones(8)])
    assert at[:3].min() > -0.51
    assert (at[:3].max(axis=1) < np.array(grid.shape) - 0.49).all()


def test_a_slightly_oblique_scan_keeps_its_own_axes():
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    geometry = Geometry((50, 60, 70), turn @ np.diag([1, 1, 1, 1.0]))
    np.testing.assert_allclose(
        network_grid(geometry, model().plan).affine, geometry.resampled(SPACING).affine, atol=1e-9
    )


@pytest.mark.parametrize("degrees", [0, 5, 35])
def test_a_plan_that_asks_for_another_grid_gets_it_straight_or_askew(degrees):
    turn = np.eye(4)
    angle = np.radians(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = Geometry((50, 60, 70), turn @ np.diag([2, 2, 2, 1.0]))
    grid = network_grid(geometry, replace(model().plan, inference_spacing_mm=(1.0, 2.5, 4.0)))
    np.testing.assert_allclose(grid.spacing_mm, (1.0, 2.5, 4.0), rtol=0.01)


def test_an_organ_at_the_border_keeps_its_volume_and_is_not_complete():
    volume, truth = scan(organs={"liver": ((110, 60, 115), 26)})
    found = segment(volume, model())
    row = found.rows[0]
    assert row.voxels == (truth == 1).sum() > 0
    assert row.complete is False
    assert row.touches == ("superior",)
    assert any("lower bound" in line for line in found.warnings)


def test_an_organ_that_is_not_there_has_no_volume_and_a_warning():
    volume, _ = scan(organs={"liver": ((110, 60, 60), 26)})
    found = segment(volume, model())
    assert [row.volume_ml for row in found.rows[1:]] == [0, 0, 0]
    assert "spleen: not found in this scan" in found.warnings


def test_a_scan_that_shows_no_trunk_gives_empty_organs_and_says_why():
    volume, _ = scan()
    voxels = np.where(volume.voxels == -100, 75, volume.voxels).astype(np.int16)  # as a phantom of water has no fat
    found = segment(replace(volume, voxels=voxels), model())
    assert not found.labelmap.labels.any()
    assert set(found.record.removed) == {"liver", "kidney_right", "kidney_left", "spleen"}
    assert found.warnings[0].startswith("no organ was found for certain; removed: liver, right kidney")
    assert all(quality.reasons == ("removed",) for quality in found.quality.values())
    assert found.record.to_dict()["quality"]["liver"]["review"] is True


def test_a_kidney_under_the_other_sides_name_is_given_to_its_side_and_that_is_recorded():
    volume, truth = scan(organs={"kidney_right": ((105, 25, 60), 12), "spleen": ((40, 60, 70), 16)})
    wrong = np.flip(volume.voxels == HU["kidney_right"], axis=0)
    voxels = volume.voxels.copy()
    voxels[wrong] = HU["kidney_right"]
    found = segment(Volume(voxels, volume.geometry, volume.stored), model())
    assert (found.labelmap.labels[wrong] == 3).all()
    assert (found.labelmap.labels[truth == 2] == 2).all()
    assert any("kidney_left" in line and "other side" in line for line in found.record.changes)


def test_a_loose_piece_goes_and_a_hole_is_filled():
    volume, truth = scan()
    voxels = volume.voxels.copy()
    voxels[70:76, 8:14, 30:36] = HU["liver"]
    voxels[54:57, 29:32, 19:22] = 75  # inside the liver
    found = segment(Volume(voxels, volume.geometry, volume.stored), model())
    np.testing.assert_array_equal(found.labelmap.labels == 1, truth == 1)
    assert found.record.changes == ("liver: 2.6 ml (4% of it) lay apart and were dropped",)


def test_the_record_says_what_was_done_and_nothing_of_the_patient():
    volume, _ = scan()
    volume = Volume(
        volume.voxels, volume.geometry, volume.stored, ("a note", Remark("a remark")), {"kept": {"PatientName": "Doe"}}
    )
    record = segment(volume, model()).record.to_dict()
    assert {"versions", "model", "device", "seconds", "peak_memory_bytes", "input", "warnings"} <= set(record)
    assert record["input"]["shape"] == [80, 60, 40]
    assert record["input"]["notes"] == ["a note", "a remark"]
    assert record["scan_warnings"] == ("a note",)
    assert record["warnings"][0] == "a note" and "a remark" not in record["warnings"]  # remarks call for no review
    assert "Doe" not in str(record)


def test_organs_can_be_chosen_and_unknown_ones_are_refused():
    volume, _ = scan(organs={"pancreas": ((80, 60, 60), 15), "liver": ((120, 60, 60), 20)})
    assert segment(volume, model(), organs=["pancreas"]).labelmap.organs == {6: "pancreas"}
    with pytest.raises(ModelError, match="does not know aorta"):
        segment(volume, model(), organs=["aorta"])


def test_too_little_memory_is_refused_before_work():
    volume, _ = scan()
    with pytest.raises(ResourceError, match=r"--max-memory allows 0\.12 GB"):
        segment(volume, model(), max_memory=2**27)


def test_a_larger_scan_is_expected_to_take_more():
    scans = [Geometry((512, 512, n), np.eye(4)) for n in (300, 1000)]
    small, large = ((scan, network_grid(scan, model().plan)) for scan in scans)
    assert expected_seconds(*small) < expected_seconds(*large)
    assert expected_bytes(*small) < expected_bytes(*large)


def test_an_ensemble_is_expected_to_take_its_further_networks_time_and_weights():
    scan = Geometry((512, 512, 300), np.eye(4))
    grid = scan.resampled((1.5, 1.5, 2.25))
    alone, one, three = (expected_seconds(scan, grid, models=n) for n in (0, 1, 3))
    assert three - alone == pytest.approx(3 * (one - alone))
    mb = [expected_bytes(scan, grid, models=n) / 2**20 for n in (1, 2, 3)]
    assert mb[1] - mb[0] == pytest.approx(mb[2] - mb[1], abs=1)
    assert 40 < mb[1] - mb[0] < 120


def test_segment_from_python_returns_the_labelmap(tmp_path, monkeypatch):
    from abdoseg.io import write_nifti

    volume, truth = scan()
    write_nifti(volume.voxels, volume.stored, tmp_path / "scan.nii.gz")

    def no_socket(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    labelmap = abdoseg.segment(tmp_path / "scan.nii.gz", model=model()).labelmap
    np.testing.assert_array_equal(labelmap.labels, truth)


def test_a_channel_for_both_kidneys_is_parted_by_side():
    volume, truth = scan()
    known = model()
    merged = ("liver", "kidney", "kidney_left", "spleen", "pancreas")  # what was the right kidney's channel is "kidney"
    plan = replace(known.plan, organs=merged, output_organs=("liver", "kidney"))
    voxels = np.where(volume.voxels == HU["kidney_left"], HU["kidney_right"], volume.voxels).astype(np.int16)
    found = segment(replace(volume, voxels=voxels), replace(known, plan=plan))
    assert found.labelmap.organs == {1: "liver", 2: "kidney_right", 3: "kidney_left"}
    np.testing.assert_array_equal(found.labelmap.labels == 2, truth == 2)
    np.testing.assert_array_equal(found.labelmap.labels == 3, truth == 3)


WITH_LESIONS = {
    "liver": ((110, 60, 60), 26),
    "spleen": ((40, 60, 70), 16),
    "liver_tumour": ((110, 60, 60), 10),
}


def test_a_tumour_has_a_label_a_row_and_a_line_in_the_table_of_lesions():
    volume, truth = scan(organs=WITH_LESIONS)
    found = segment(volume, model(WITH_TUMOUR), organs=("liver", "spleen", "liver_tumour"))
    np.testing.assert_array_equal(found.labelmap.labels, truth)
    liver, _, tumour = found.rows
    assert (liver.voxels, tumour.voxels) == ((truth == 1).sum(), (truth == 5).sum())
    assert liver.with_lesions_ml == pytest.approx(liver.volume_ml + tumour.volume_ml)
    assert liver.burden_percent == pytest.approx(100 * tumour.volume_ml / liver.with_lesions_ml)
    (lesion,) = found.lesions["liver_tumour"]
    assert lesion.volume_ml == pytest.approx(tumour.volume_ml)
    assert lesion.longest_axial_mm == pytest.approx(20, abs=2)
    assert lesion.contrast_hu == pytest.approx(HU["liver_tumour"] - HU["liver"])
    assert 0.5 < lesion.mean_probability < 1
    assert found.record.to_dict()["lesions"]["liver_tumour"][0]["number"] == 1


def test_without_their_label_tumours_are_liver_as_they_are_for_a_network_that_knows_none():
    volume, truth = scan(organs=WITH_LESIONS)
    found = segment(volume, model(WITH_TUMOUR))
    np.testing.assert_array_equal(found.labelmap.labels, np.where(truth == 5, 1, truth))
    assert found.lesions == {}
    assert found.rows[0].with_lesions_ml is None


def test_a_liver_without_tumours_is_no_reason_for_review():
    volume, _ = scan()
    found = segment(volume, model(WITH_TUMOUR), organs=WITH_TUMOUR)
    assert found.lesions == {"liver_tumour": ()}
    assert not found.quality["liver_tumour"].review
    assert not any("tumour" in warning for warning in found.warnings)
    assert (found.rows[0].with_lesions_ml, found.rows[0].burden_percent) == (found.rows[0].volume_ml, 0)


def test_tumours_alone_can_be_asked_for():
    volume, truth = scan(organs=WITH_LESIONS)
    found = segment(volume, model(WITH_TUMOUR), organs=("liver_tumour",))
    np.testing.assert_array_equal(found.labelmap.labels, np.where(truth == 5, 5, 0))
    assert found.lesions["liver_tumour"][0].surface_distance_mm is None
