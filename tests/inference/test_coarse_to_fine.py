"""The region of interest holds the organs, padded, and is the whole body where a coarse pass could only lose."""

from dataclasses import replace

import numpy as np
import pytest
from phantom_balls import HU, ORGANS, SPACING, model, scan

from abdoseg.image.volume import Geometry
from abdoseg.inference import coarse_to_fine as module
from abdoseg.inference.coarse_to_fine import coarse_to_fine, region_of_interest
from abdoseg.inference.sliding_window import body_box, sliding_window
from abdoseg.segmentation import segment

OUTPUT_ORGANS = ORGANS[:4]
FLOOR = -125.0


def with_roi(**changes):
    known = model()
    return replace(known, plan=replace(known.plan, **{"roi_downsampling": 2, **changes}))


@pytest.fixture(autouse=True)
def _small_scans_are_worth_it(monkeypatch):
    monkeypatch.setattr(module, "WORTH_VOXELS", 0)
    monkeypatch.setattr(module, "MISSING_ML", 0)  # of four organs most of these scans have one


def body_with(*places, shape=(100, 90, 80)):
    """A body of 75 HU to every border but the first planes; cubes of liver of 8 voxels that begin at `places`."""
    image = np.full(shape, 75.0, np.float32)
    image[:30] = -1000
    for i, j, k in places:
        image[i : i + 8, j : j + 8, k : k + 8] = HU["liver"]
    return image


def grid_of(image):
    return Geometry(image.shape, np.diag([*SPACING, 1]))


def region(known, image, organs=OUTPUT_ORGANS):
    return region_of_interest(known, image, organs, body_box(image, FLOOR))


def test_the_region_is_what_was_found_and_the_padding_within_the_body():
    box = region(with_roi(), body_with((60, 40, 32), (68, 40, 70)))
    # 20 mm are 10 voxels of 2 mm and 7 of 3 mm; the body begins 8 voxels before its first plane
    assert box == (slice(50, 86), slice(30, 58), slice(25, 80))
    assert region(with_roi(), body_with((30, 0, 0))) == (slice(22, 48), slice(0, 18), slice(0, 15))


def test_a_crumb_does_not_enlarge_the_region():
    image = body_with((60, 40, 32))
    image[90:94, 80:84, 70:72] = HU["liver"]  # 0.4 ml
    assert region(with_roi(), image) == region(with_roi(), body_with((60, 40, 32)))


@pytest.mark.parametrize("block", [2, 3, 4])
def test_an_image_that_blocks_do_not_divide_is_seen_to_its_end(block):
    image = np.full((61, 47, 31), 75.0, np.float32)
    image[53:, 39:, 23:] = HU["liver"]
    box = region(with_roi(roi_downsampling=block), image)
    assert [part.stop for part in box] == [61, 47, 31]


@pytest.mark.parametrize(
    ("changes", "organs"),
    [({"roi_downsampling": None}, OUTPUT_ORGANS), ({}, ORGANS)],
    ids=["the plan does not say how coarse", "an organ that is no output organ is named"],
)
def test_without_a_measured_downsampling_the_region_is_the_whole_body(changes, organs):
    image = body_with((60, 40, 32))
    assert region(with_roi(**changes), image, organs) == body_box(image, FLOOR)


def test_the_region_of_a_small_scan_is_the_whole_body(monkeypatch):
    monkeypatch.setattr(module, "WORTH_VOXELS", 10**9)
    image = body_with((60, 40, 32))
    assert region(with_roi(), image) == body_box(image, FLOOR)


def test_the_region_of_a_scan_thinner_than_a_block_is_the_whole_body():
    image = body_with((60, 40, 0), shape=(100, 90, 1))
    assert region(with_roi(), image) == body_box(image, FLOOR)


def test_where_nothing_is_found_the_region_is_the_whole_body():
    assert region(with_roi(), body_with()) == body_box(body_with(), FLOOR)


def test_for_an_organ_that_the_coarse_pass_misses_the_region_goes_to_all_sides(monkeypatch):
    monkeypatch.setattr(module, "MISSING_ML", 5)
    image = body_with((60, 40, 70), shape=(100, 90, 200))  # a cube has 6 ml
    for n, organ in enumerate(OUTPUT_ORGANS[1:3]):
        image[60:68, 60:68, 60 + 10 * n : 68 + 10 * n] = HU[organ]
    assert region(with_roi(), image) == (slice(22, 100), slice(0, 90), slice(10, 128))  # the spleen is missing
    image[60:68, 30:38, 70:78] = HU[OUTPUT_ORGANS[3]]
    assert region(with_roi(), image) == (slice(50, 78), slice(20, 78), slice(53, 85))


def test_an_image_of_air_has_a_region_too():
    air = np.full((40, 30, 20), -1000.0, np.float32)
    assert region(with_roi(), air) == (slice(0, 40), slice(0, 30), slice(0, 20))


def test_a_scan_gets_the_labels_that_it_would_have_got_without():
    volume, truth = scan(shape=(160, 120, 90), spacing=(1.0, 1.0, 1.5))
    found = segment(volume, with_roi())
    np.testing.assert_array_equal(found.labelmap.labels, segment(volume, model()).labelmap.labels)
    assert set(np.unique(truth)) == set(np.unique(found.labelmap.labels))


def test_only_the_region_is_computed():
    image = body_with((60, 40, 32))
    values = coarse_to_fine(with_roi(), image, grid_of(image), OUTPUT_ORGANS).margins
    inside = region(with_roi(), image)
    np.testing.assert_array_equal(values[:, *inside], sliding_window(model(), image, region=inside)[:, *inside])
    assert (values[:, :45] == -1).all()
    assert (values[:, :, 63:] == -1).all()


@pytest.mark.parametrize(("deep", "followed"), [(30, True), (20, False)])
def test_the_region_grows_to_the_bodys_end_where_its_face_cuts_an_organ(deep, followed):
    image = body_with((60, 40, 32))
    image[62, 30 : 30 + deep, 34:80] = HU["liver"]  # a sheet too thin for the coarse pass, and longer than the padding
    values = coarse_to_fine(with_roi(roi_downsampling=4), image, grid_of(image), OUTPUT_ORGANS).margins
    assert region(with_roi(roi_downsampling=4), image)[2].stop < 60
    # its section is 120 mm2, or 80
    assert (values[0, 62, 30 : 30 + deep, 60:80] > 0).all() == followed
    assert (values[0, 62, 40:48, 34:40] > 0).all()
