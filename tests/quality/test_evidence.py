"""What a margin and an image show of an organ, worked by hand."""

import numpy as np
import pytest

from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.quality.evidence import examine, gaps_mm

GRID = Geometry((20, 10, 10), np.diag([10.0, 10.0, 10.0, 1.0]))  # a voxel is 1 ml


def examined(*boxes, ahead=3.0):
    margins = np.full((len(boxes), *GRID.shape), -2, np.float16)
    for margin, box in zip(margins, boxes, strict=True):
        margin[box] = ahead
    image = np.full(GRID.shape, 60, np.float32)
    return examine(OrganMaps(margins, ("liver", "spleen")[: len(boxes)], GRID), image)


INSIDE = (slice(12, 16), slice(3, 7), slice(3, 7))


def test_confidence_is_the_mean_probability_against_the_next_organ_and_entropy_its_bits():
    liver = examined(INSIDE)["liver"]
    sure = 1 / (1 + np.exp(-3))
    assert liver.confidence == pytest.approx(sure)
    assert liver.entropy == pytest.approx(-(sure * np.log2(sure) + (1 - sure) * np.log2(1 - sure)), abs=1e-5)
    assert examined(INSIDE, ahead=0.001)["liver"].entropy == pytest.approx(1, abs=1e-4)


def test_volume_hu_and_place_are_those_of_the_box():
    liver = examined(INSIDE)["liver"]
    assert liver.volume_ml == pytest.approx(64)
    assert liver.hu == 60
    assert not liver.cut
    np.testing.assert_allclose(liver.centre_mm, [135, 45, 45])
    assert examined((slice(12, 16), slice(3, 7), slice(0, 4)))["liver"].cut


def test_points_lie_four_mm_apart_however_fine_the_grid():
    fine = Geometry((24, 24, 24), np.diag([1.0, 2.0, 6.0, 1.0]))
    margins = np.full((1, *fine.shape), -3, np.float16)
    margins[0, 8:16, 8:16, 8:16] = 3
    points = examine(OrganMaps(margins, ("liver",), fine), np.zeros(fine.shape, np.float32))["liver"].points_mm
    assert [sorted(set(axis)) for axis in points.T] == [[8, 12], [16, 20, 24, 28], [48, 54, 60, 66, 72, 78, 84, 90]]


def test_an_absent_organ_has_no_evidence_and_a_single_voxel_some():
    assert examined((slice(0, 0),) * 3) == {}
    assert len(examined((slice(5, 6),) * 3)["liver"].points_mm) == 1


def test_gaps_lie_between_the_nearest_points():
    found = examined((slice(2, 5),) * 3, (slice(10, 13), slice(2, 5), slice(2, 5)))
    assert gaps_mm(found, 70.0) == {"liver": {"spleen": 60}, "spleen": {"liver": 60}}  # 4 to 10, 10 mm each
    assert gaps_mm(found, 50.0)["liver"] == {"spleen": np.inf}
