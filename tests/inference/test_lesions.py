"""Which lesions belong to an organ, and the organ with and without them, on blocks whose answer is known."""

import numpy as np
import pytest

from abdoseg.image.components import positive
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry, Labelmap, Stored
from abdoseg.inference.lesions import contact, merge_crumbs, merge_lesions, probability_of, split_lesions, with_lesions
from abdoseg.inference.postprocess import postprocess

ORGANS = ("liver", "spleen", "liver_tumour")
SHAPE = (40, 30, 20)
LIVER = np.s_[10:30, 5:25, 5:15]
GRID = Geometry(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
VOXEL_ML = 0.008


def maps_of(*tumours, organs=ORGANS, spleen=np.s_[32:38, 20:25, 5:15]):
    """A liver of 4000 voxels with blocks of tumour, each surer by 1 than the one before."""
    margins = np.full((len(organs), *SHAPE), -2, np.float16)
    margins[0][LIVER] = 2
    margins[1][spleen] = 2
    for n, tumour in enumerate(tumours, start=1):
        margins[:, *tumour] = np.minimum(margins[:, *tumour], -n)
        margins[-1][tumour] = n
    return OrganMaps(margins, organs, GRID)


def labels_of(maps):
    """Every organ's voxels by name; no voxel may have two, nor may a point between two voxels."""
    assert (positive(maps.margins).sum(axis=0) <= 1).all()
    between = (maps.margins[:, :-1] + maps.margins[:, 1:]) / 2
    assert ((between > 0).sum(axis=0) <= 1).all()
    return {organ: positive(maps.margin(organ)) for organ in maps.organs}


def ruled(maps, organs=ORGANS):
    merged, apart = merge_lesions(maps)
    return labels_of(split_lesions(merged, apart, organs)), apart


def test_a_tumour_in_the_liver_stays_and_the_liver_is_what_is_around_it():
    tumour = np.s_[15:20, 10:15, 7:12]
    found, apart = ruled(maps_of(tumour))
    assert found["liver_tumour"].sum() == found["liver_tumour"][tumour].sum() == 125
    assert found["liver"].sum() == 4000 - 125
    assert apart.outside_ml == {"liver_tumour": 0}


def test_a_liver_without_the_label_of_tumours_holds_them():
    found, _ = ruled(maps_of(np.s_[15:20, 10:15, 7:12]), ("liver", "spleen"))
    assert found["liver"].sum() == found["liver"][LIVER].sum() == 4000
    assert list(found) == ["liver", "spleen"]


def test_a_mass_outside_the_liver_is_no_tumour_of_it_and_is_named():
    inside, outside = np.s_[15:20, 10:15, 7:12], np.s_[33:37, 21:24, 7:12]
    found, apart = ruled(maps_of(inside, outside))
    assert found["liver_tumour"].sum() == 125
    assert apart.outside_ml == {"liver_tumour": pytest.approx(60 * VOXEL_ML)}
    assert found["liver"].sum() == 4000 - 125


def test_a_tumour_that_bulges_out_of_the_liver_stays_whole():
    bulging = np.s_[26:36, 10:20, 7:12]
    found, _ = ruled(maps_of(bulging))
    assert found["liver_tumour"].sum() == 500


def test_islands_below_a_tenth_of_a_millilitre_are_liver():
    island, lesion = np.s_[12:14, 7:9, 6:9], np.s_[20:23, 10:13, 7:9]  # 12 voxels and 18: 0.096 and 0.144 ml
    found, _ = ruled(maps_of(island, lesion))
    assert found["liver_tumour"].sum() == 18
    assert found["liver"][island].all()


@pytest.mark.parametrize("liver", [True, False])
def test_crumbs_on_the_scans_own_grid_are_liver(liver):
    labels = np.zeros(SHAPE, np.uint8)
    labels[LIVER] = 1
    labels[20:23, 10:13, 7:9], labels[29:31, 10:13, 7:9] = 5, 5  # 18 voxels, and 12 at the liver's border
    organs = {1: "liver", 5: "liver_tumour"} if liver else {5: "liver_tumour"}
    boxes = {1: LIVER, 5: np.s_[20:31, 10:13, 7:9]} if liver else {5: np.s_[20:31, 10:13, 7:9]}
    merge_crumbs(Labelmap(labels, GRID, Stored(GRID), organs), boxes)
    assert (labels == 5).sum() == (labels[20:23, 10:13, 7:9] == 5).sum() == 18
    assert (labels[29:31, 10:13, 7:9] == liver).all()
    assert boxes.get(1) == (np.s_[10:31, 5:25, 5:15] if liver else None)


def test_a_tumour_that_parts_the_liver_costs_neither_half():
    maps = maps_of(np.s_[18:22, 5:25, 5:15])
    merged, apart = merge_lesions(maps)
    after, changes = postprocess(merged, np.full(SHAPE, 100, np.float32), None)
    found = labels_of(split_lesions(after, apart, ORGANS))
    assert found["liver"][10:18].sum() == found["liver"][22:30].sum() == 1600
    assert changes["liver"].pieces == 0


def test_a_tumour_of_a_piece_of_liver_that_is_dropped_goes_with_it():
    maps = maps_of(np.s_[15:20, 10:15, 7:12])
    maps.margins[0][2:7, 5:12, 5:15] = 2
    maps.margins[:, 3:6, 7:10, 7:10] = [[[[-3]]], [[[-3]]], [[[3]]]]
    merged, apart = merge_lesions(maps)
    after, _ = postprocess(merged, np.full(SHAPE, 100, np.float32), None)
    found = labels_of(split_lesions(after, apart, ORGANS))
    assert found["liver_tumour"].sum() == 125


def test_maps_without_lesions_are_returned_as_they_are():
    maps = OrganMaps(maps_of().margins[:2], ORGANS[:2], GRID)
    merged, apart = merge_lesions(maps)
    assert merged is maps
    assert split_lesions(merged, apart, ORGANS) is maps


def test_contact_is_the_fraction_of_faces():
    piece, organ = np.zeros((2, 5, 5, 5), bool)
    piece[2, 2, 2] = True
    organ[3:] = True
    assert contact(piece, organ) == pytest.approx(1 / 6)
    assert contact(piece, np.ones_like(piece)) == 1
    assert contact(np.zeros_like(piece), organ) == 0


def test_a_liver_is_computed_with_its_tumours_and_tumours_with_their_liver():
    known = ("liver", "spleen", "liver_tumour", "pancreas")
    assert with_lesions(("liver_tumour",), known) == ("liver", "liver_tumour")
    assert with_lesions(("liver",), known) == ("liver", "liver_tumour")
    assert with_lesions(("spleen",), known) == ("spleen",)
    assert with_lesions(("liver", "spleen"), ("liver", "spleen")) == ("liver", "spleen")


def test_the_probability_follows_the_margin_between_the_grids_points():
    maps = maps_of(np.s_[15:20, 10:15, 7:12])
    at = probability_of(maps, "liver_tumour")
    inside, outside = np.array([17, 12, 9]) * 2.0, np.array([5, 5, 2]) * 2.0
    assert at(np.array([inside, outside])) == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))])
    border = np.array([[(14 + 1 / 3) * 2, 24, 18.0]])  # a third of the way from -1 or less to 1
    assert at(border)[0] == pytest.approx(1 / (1 + np.exp(1)), abs=1e-3)
