"""The verdict before the work: what is covered, whether the axes fit the anatomy, and what else wants a look."""

import json
from dataclasses import replace

import numpy as np
import pytest
from phantom_dicom import AXIAL, PATIENT, tilted, write_series

from abdoseg.image.volume import Geometry, Stored, Volume
from abdoseg.quality.body_coverage import coverage
from abdoseg.quality.scan_check import NETWORK_SPACING_MM, check_scan, check_volume

SPACING = (3.2, 3.2, 5.0)


def trunk(lungs=10, rest=50):
    """A trunk in 5 mm slices, from feet to head: an ellipse of tissue, a spine at its back, lungs in the upper ones."""
    i, j = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 70), indexing="ij")
    slices = []
    for k in range(rest + lungs):
        hu = np.where((i / 0.9) ** 2 + (j / 0.8) ** 2 < 1, 40, -1000)
        if k >= rest:
            hu[(np.abs(np.abs(i) - 0.45) < 0.3) & (np.abs(j) < 0.35)] = -850
        hu[np.hypot(i * 45, (j + 0.45) * 35) < 4] = 400
        slices.append(hu)
    return np.stack(slices, axis=2).astype(np.int16)


def volume_of(hu, spacing=SPACING):
    affine = np.diag([*spacing, 1.0])
    geometry = Geometry(hu.shape, affine)
    return Volume(hu, geometry, Stored(geometry))


def test_lungs_trunk_and_spine_are_measured():
    seen = coverage(volume_of(trunk()))
    assert (seen.lungs_above_mm, seen.lungs_below_mm, seen.below_lungs_mm) == (50, 0, 250)
    assert seen.spine == pytest.approx(0.22, abs=0.04)  # the ellipse reaches from -0.8 to 0.8, the spine is at -0.45
    assert seen.cut == ()


def test_hu_clipped_to_a_window_serve_too():
    seen = coverage(volume_of(np.clip(trunk(), -125, 275)))
    assert (seen.lungs_above_mm, seen.below_lungs_mm) == (50, 250)
    assert seen.spine == pytest.approx(0.22, abs=0.04)


def with_contrast(hu):
    """A stomach full of contrast in front of the spine, in more slices than the spine has bone."""
    hu = hu.copy()
    hu[:, :, ::3][hu[:, :, ::3] == 400] = 40
    i, j = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 70), indexing="ij")
    hu[np.hypot((i - 0.1) * 45, (j - 0.4) * 35) < 5] = 400
    return hu


def leg():
    """A leg: round, its bone in front of the middle."""
    i, j = np.meshgrid(np.linspace(-1, 1, 70), np.linspace(-1, 1, 90), indexing="ij")
    hu = np.where((i / 0.9) ** 2 + (j / 0.8) ** 2 < 1, 40, -1000)
    hu[np.hypot(i * 35, (j - 0.2) * 45) < 4] = 600
    return np.repeat(hu[:, :, None], 60, axis=2).astype(np.int16)


@pytest.mark.parametrize("hu", [with_contrast(trunk()), with_contrast(trunk())[:, ::-1], leg(), leg()[:, ::-1]],
                         ids=["contrast", "contrast turned", "leg", "leg turned"])  # fmt: skip
def test_contrast_in_the_bowel_and_a_leg_are_not_called_back_to_front(hu):
    assert coverage(volume_of(hu)).spine is None
    assert not any("back to front" in reason for reason in check_volume(volume_of(hu)).reasons)


def test_a_whole_abdomen_is_ok():
    report = check_volume(volume_of(trunk()))
    assert report.verdict == "ok"
    assert report.reasons == ()
    assert report.facts["coverage"]["below_lungs_mm"] == 250
    assert report.facts["expected_seconds"] > 0
    json.dumps(report.facts)


@pytest.mark.parametrize(
    ("hu", "words", "verdict"),
    [
        (trunk()[:, :, ::-1], "upside-down: the lungs lie at the lower end", "review"),
        (trunk()[:, ::-1], "back to front: the spine lies in front", "review"),
        (trunk(lungs=0), "no lung at the upper end: the dome of the liver", "review"),
        (trunk(rest=30), "only 150 mm below the lungs: the kidneys may be cut", "review"),
        (trunk(lungs=40, rest=2), "a chest: only 10 mm lie below the lungs", "unusable"),
        (trunk(lungs=2, rest=8), "a slab of 50 mm: every organ is cut", "review"),
        (np.full((90, 70, 60), -1000, np.int16), "no body is seen", "unusable"),
    ],
    ids=["upside-down", "back to front", "no dome", "no kidneys", "chest", "slab", "air"],
)
def test_what_is_not_a_whole_abdomen_is_reported(hu, words, verdict):
    report = check_volume(volume_of(hu))
    assert report.verdict == verdict
    assert any(words in reason for reason in report.reasons)


@pytest.mark.parametrize(("degrees", "doubted"), [(15, True), (40, False)])
def test_where_the_grid_lies_askew_nobody_is_called_back_to_front(degrees, doubted):
    volume = volume_of(trunk()[:, ::-1])
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = Geometry(volume.geometry.shape, turn @ volume.geometry.affine)
    report = check_volume(replace(volume, geometry=geometry, stored=Stored(geometry)))
    assert any("back to front" in reason for reason in report.reasons) == doubted


def test_thick_and_coarse_voxels_want_review():
    thick = check_volume(volume_of(trunk()[:, :, ::2], (4.0, 4.0, 10.0)))
    assert "thick slices: 10.0 mm apart; volumes will be rough" in thick.reasons
    assert "coarse: no axis has voxels smaller than 4.0 mm" in thick.reasons


def test_a_body_that_leaves_the_picture_is_remarked():
    report = check_volume(volume_of(trunk()[10:-1]))
    assert report.verdict == "ok"
    assert report.remarks == ("the picture ends before the body does: left",)


def test_what_reading_guessed_wants_review_and_what_it_put_right_does_not():
    volume = volume_of(trunk())
    assert check_volume(replace(volume, notes=("3 CT series: took 1",))).verdict == "review"


def test_a_tilt_is_remarked_in_degrees_and_gaps_are_named(tmp_path):
    hu = trunk()[::2, ::2]
    affine = tilted(AXIAL, 12) @ np.diag([8, 8, 2, 1.0])
    write_series(tmp_path, hu, affine, missing=[20])
    report = check_scan(tmp_path)
    assert report.facts["tilt_degrees"] == pytest.approx(12, abs=0.01)
    assert any("tilted by 12.0 degrees" in remark for remark in report.remarks)
    assert any("slices missing between" in reason for reason in report.reasons)
    assert report.facts["gaps_mm"] == [[55.0, 65.0, 1]]
    text = json.dumps(report.facts)
    assert [value for value in PATIENT.values() if value in text] == []


def test_a_scan_that_cannot_be_read_is_unusable_with_the_readers_words(tmp_path):
    report = check_scan(tmp_path / "gone.nii.gz")
    assert report.verdict == "unusable"
    assert "no such file or folder" in report.reasons[0]


def test_time_and_memory_are_expected_on_the_bundled_weights_grid():
    from abdoseg.inference.network_grid import network_grid
    from abdoseg.model.weights import load_model

    geometry = Geometry((512, 512, 300), np.diag([0.8, 0.8, 1.5, 1]))
    bundled = network_grid(geometry, load_model(device="cpu").plan)
    assert geometry.resampled(NETWORK_SPACING_MM).matches(bundled)
