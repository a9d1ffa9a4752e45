"""Volumes, HU and touched faces of organs, worked by hand."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Geometry, Labelmap, Stored
from abdoseg.image.volumetry import boxes, measure, read_volumes, write_volumes

ORGANS = {1: "liver", 2: "kidney_right", 4: "spleen"}


def labelmap(labels, spacing=(1.0, 2.0, 5.0)):
    geometry = Geometry(labels.shape, np.diag([*spacing, 1.0]))
    return Labelmap(labels.astype(np.uint8), geometry, Stored(geometry), ORGANS)


def test_two_voxels_of_ten_cubic_millimetres_are_a_fiftieth_of_a_millilitre():
    labels = np.zeros((5, 5, 5))
    labels[2, 2, 2:4] = 1
    hu = np.zeros((5, 5, 5), dtype=np.int16)
    hu[2, 2, 2:4] = 40, 60
    liver, kidney, spleen = measure(labelmap(labels), hu)
    assert (liver.voxels, liver.volume_ml, liver.mean_hu, liver.sd_hu) == (2, pytest.approx(0.02), 50, 10)
    assert liver.complete is True
    assert (kidney.voxels, kidney.volume_ml, kidney.mean_hu, kidney.complete) == (0, 0, None, None)
    assert spleen.label == 4


@pytest.mark.parametrize(
    ("index", "faces"),
    [
        ((0, 2, 2), ("left",)),
        ((4, 2, 2), ("right",)),
        ((2, 0, 2), ("posterior",)),
        ((2, 4, 4), ("anterior", "superior")),
        ((2, 2, 0), ("inferior",)),
    ],
)
def test_an_organ_at_the_border_keeps_its_volume_and_names_the_faces(index, faces):
    labels = np.zeros((5, 5, 5))
    labels[index] = 1
    row = measure(labelmap(labels))[0]
    assert (row.voxels, row.complete, row.touches, row.mean_hu) == (1, False, faces, None)


def test_the_order_of_the_axes_in_memory_does_not_matter():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (6, 7, 8)).astype(np.uint8)
    hu = rng.integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    rows = measure(labelmap(labels), hu)
    assert rows == measure(labelmap(np.asfortranarray(labels)), hu)
    assert rows == measure(labelmap(labels), hu[::-1][::-1])
    spleen = hu[labels == 4].astype(float)
    assert rows[2].mean_hu == pytest.approx(spleen.mean())
    assert rows[2].sd_hu == pytest.approx(spleen.std())


def stored_as(array, axes, signs):
    """The same canonical array, with its axes in memory in another order and direction."""
    turned = tuple(slice(None, None, sign) for sign in signs)
    return np.asfortranarray(array.transpose(axes)[turned])[turned].transpose(np.argsort(axes))


def test_all_48_orders_of_axes_give_the_same_rows_and_boxes():
    rng = np.random.default_rng(0)
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:5, 1:8, 3:6] = rng.integers(0, 2, (3, 7, 3))
    labels[6:8, 0:3, 0:5] = 4
    hu = rng.integers(-1000, 1000, labels.shape).astype(np.int16)
    rows, found = measure(labelmap(labels), hu), boxes(labels)
    assert found == {1: (slice(2, 5), slice(1, 8), slice(3, 6)), 4: (slice(6, 8), slice(0, 3), slice(0, 5))}
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned, turned_hu = stored_as(labels, axes, signs), stored_as(hu, axes, signs)
            assert np.array_equal(turned, labels)
            assert boxes(turned) == found
            assert measure(labelmap(turned), turned_hu) == rows


def test_labels_of_nothing_have_no_boxes():
    assert boxes(np.zeros((4, 5, 6), np.uint8)) == {}


def test_an_organ_with_lesions_has_its_volume_with_and_without_them():
    labels = np.zeros((5, 5, 5))
    labels[1:4, 1:4, 1:4] = 1
    labels[2, 2, 1:4] = 5
    with_tumours = replace(labelmap(labels, (10, 10, 10)), organs={1: "liver", 4: "spleen", 5: "liver_tumour"})
    liver, spleen, tumour = measure(with_tumours)
    assert (liver.volume_ml, liver.with_lesions_ml) == pytest.approx((24, 27))
    assert liver.burden_percent == pytest.approx(100 / 9)
    assert spleen.with_lesions_ml is tumour.with_lesions_ml is tumour.burden_percent is None
    assert measure(labelmap(labels))[0].with_lesions_ml is None  # nobody looked for lesions


def test_a_tiny_organ_never_reads_as_zero_in_the_csv(tmp_path):
    labels = np.zeros((3, 3, 3))
    labels[1, 1, 1] = 2
    write_volumes(measure(labelmap(labels, (0.1, 0.1, 0.1))), tmp_path / "v.csv", {"mesh_ml": {"kidney_right": 0.5}})
    rows = list(csv.DictReader((tmp_path / "v.csv").read_text().splitlines()))
    assert float(rows[1]["volume_ml"]) == pytest.approx(1e-6)
    assert [row["mesh_ml"] for row in rows] == ["", "0.5", ""]
    assert [row["complete"] for row in rows] == ["", "true", ""]


def test_a_scan_on_another_grid_is_refused():
    with pytest.raises(GeometryError, match="does not lie under"):
        measure(labelmap(np.zeros((3, 3, 3))), np.zeros((3, 3, 4)))


def test_one_slice_touches_both_of_its_faces():
    labels = np.zeros((3, 3, 1))
    labels[1, 1, 0] = 1
    assert measure(labelmap(labels))[0].touches == ("inferior", "superior")


def test_boxes_that_are_known_need_not_be_tight():
    rng = np.random.default_rng(0)
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:5, 1:8, 3:6] = 1
    labels[6, 0, 0] = 2
    hu = rng.integers(-1000, 1000, labels.shape).astype(np.int16)
    wide = (slice(1, 9), slice(0, 8), slice(0, 7))
    assert measure(labelmap(labels), hu, {1: wide, 2: wide}) == measure(labelmap(labels), hu)
    assert measure(labelmap(labels), hu)[0].touches == ("anterior",)


def test_the_csv_is_read_as_it_was_written_and_another_s_is_not(tmp_path):
    labels = np.zeros((3, 3, 3))
    labels[0, 1, 1] = labels[1, 1, 1] = 1
    rows = measure(labelmap(labels), np.full((3, 3, 3), 50, np.int16))
    rows[0] = replace(rows[0], volume_ml=0.02, with_lesions_ml=0.02, burden_percent=1.5)
    write_volumes(rows, tmp_path / "v.csv", {"mesh_ml": {}})
    assert read_volumes(tmp_path / "v.csv") == rows
    (tmp_path / "other.csv").write_text("organ,size\nliver,large\n")
    assert read_volumes(tmp_path / "other.csv") == read_volumes(tmp_path / "absent.csv") == []
