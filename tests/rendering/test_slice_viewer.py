"""Slices packed for a page: decoded again, they are the scan and the labels, at their places."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from organs import grid, make
from PIL import Image

from abdoseg.image.volume import Stored, Volume
from abdoseg.rendering import slice_viewer
from abdoseg.rendering.slice_viewer import pack_slices
from abdoseg.rendering.slices import WINDOWS, SliceStyle


def packed(job, style=None, **others):
    return pack_slices(job.labelmap, job.scan, others.get("truth"), job.found, style or SliceStyle(), job.lesions or ())


def unpacked(data, what):
    """(slices, rows, columns) as slices.js decodes them."""
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[what].split(",", 1)[1]))))
    columns, rows, slices = data["size"]
    down = picture.reshape(-1, rows, data["tiles"], columns).transpose(0, 2, 1, 3)
    return down.reshape(-1, rows, columns)[:slices]


def hung(array):
    """(slices, rows, columns) as radiologists see them: right on the left, anterior on top, the lowest first."""
    return array[::-1, ::-1].transpose(2, 1, 0)


def test_labels_come_back_exactly_and_the_scan_within_the_jpegs_error():
    job = make()
    data = packed(job)
    assert data["size"] == (66, 44, 22)
    assert data["mm"] == pytest.approx([2, 2, 4])
    assert (unpacked(data, "labels") == hung(job.labelmap.labels)).all()
    hu = np.array(data["hu"])[unpacked(data, "scan")]
    assert np.abs(hu - hung(job.scan.voxels)).mean() < 4


@pytest.mark.parametrize("hu", [-1000, -700, -150, 0, 42, 57, 240, 900, 3000])
def test_the_scale_is_fine_in_soft_tissue_and_coarse_beyond(hu):
    job = make()
    flat = replace(job, scan=replace(job.scan, voxels=np.full_like(job.scan.voxels, hu)))
    data = packed(flat)
    found = np.array(data["hu"])[unpacked(data, "scan")[10, 20, 20]]
    assert abs(found - min(hu, 1300)) <= (2.5 if -200 <= hu <= 300 else 20)


def test_places_are_the_patients_millimetres_and_numbers_the_files():
    job = make()
    data = packed(job)
    (right, across), (anterior, back), (low, up) = data["places"]
    assert (right, across) == pytest.approx((64, -2))  # the first column is the patient's right
    assert (anterior, back) == pytest.approx((42, -2))
    assert (low, up) == pytest.approx((-44, 4))
    assert data["numbers"] == [1, 1]
    geometry = job.labelmap.geometry
    affine = geometry.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, geometry.shape[2] - 1], [0, 0, 0, 1.0]])
    stored = Stored(replace(geometry, affine=affine))  # the most superior slice comes first in the file
    downwards = replace(job, labelmap=replace(job.labelmap, stored=stored))
    assert packed(downwards)["numbers"] == [22, -1]


def test_a_lesion_has_its_number_in_the_box_where_its_label_is():
    job = make().with_lesions()
    data = packed(job)
    ((left, right), (top, bottom), (low, high)) = data["lesions"][0]["box"]
    inside = unpacked(data, "labels")[low : high + 1, top : bottom + 1, left : right + 1]
    assert np.count_nonzero(inside == 5) == np.count_nonzero(job.labelmap.labels == 5) > 0
    column, row, index = data["lesions"][0]["place"]
    assert unpacked(data, "labels")[index, row, column] == 5
    assert data["numbers"][0] + index == job.lesions[0].slice_number


def test_a_large_scan_is_made_coarser_until_it_fits(monkeypatch):
    monkeypatch.setattr(slice_viewer, "MOST_BYTES", 12_000)
    geometry = grid((1.0, 1.0, 4.0), (132, 88, 22))
    job = make(geometry)
    noise = np.random.default_rng(0).normal(40, 20, geometry.shape).astype(np.int16)
    data = packed(replace(job, scan=Volume(noise, geometry, Stored(geometry))))
    assert len(base64.b64decode(data["scan"].split(",", 1)[1])) <= 12_000
    assert data["size"][2] == 22
    columns, rows, _ = data["size"]
    assert columns < 132
    assert [columns * data["mm"][0], rows * data["mm"][1]] == pytest.approx([132, 88])


def test_thin_slices_are_thinned_and_air_around_the_body_is_cut_away():
    geometry = grid((2.0, 2.0, 0.5), (66, 64, 176))
    job = make(geometry)
    voxels = np.where(job.labelmap.labels > 0, 100, -1000).astype(np.int16)
    data = packed(replace(job, scan=replace(job.scan, voxels=voxels)))
    assert data["mm"][2] == pytest.approx(1.0)
    assert data["size"][1] < 50


def test_the_chosen_window_comes_first_and_nothing_is_needed_but_labels():
    job = make(scan=None)
    data = packed(job, SliceStyle(window_hu=(0.0, 80.0)), truth=job.labelmap)
    assert list(data["windows"]) == ["as chosen", *WINDOWS]
    assert next(iter(packed(job, SliceStyle(window_hu=WINDOWS["bone"]))["windows"])) == "bone"
    assert data["scan"] is None
    assert (unpacked(data, "truth") == unpacked(data, "labels")).all()
