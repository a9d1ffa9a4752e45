"""Slices, their captions and contact sheets: which way is up and right, scale and places in millimetres."""

import numpy as np
import pytest
from PIL import Image

from abdoseg.errors import GeometryError
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume
from abdoseg.rendering import SliceStyle, preview
from abdoseg.rendering.captions import annotate, captioned_size, volume_text
from abdoseg.rendering.contact_sheet import TILE_PX, profiles, spread
from abdoseg.rendering.slices import View, draw_outline, draw_slice, fit_view, whole_grid, windowed


def case(shape=(30, 20, 10), spacing=(2.0, 2.0, 5.0), origin=(-20.0, -30.0, 100.0)):
    """A liver on the patient's right, in front and below; a spleen of one voxel."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    geometry = Geometry(shape, affine)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[20:26, 14:18, 1:4] = 1
    labels[5, 5, 8:9] = 4
    stored = Stored(geometry)
    hu = np.full(shape, 40, dtype=np.int16)
    return Volume(hu, geometry, stored), Labelmap(labels, geometry, stored, {1: "liver", 4: "spleen"})


def redness(picture):
    return picture[:, :, 0].astype(int) - picture[:, :, 2]


def test_the_patients_right_hangs_on_the_left_and_anterior_on_top():
    volume, labelmap = case()
    view = fit_view(volume.geometry, "axial", (200, 300))
    rows, columns = np.nonzero(
        redness(draw_slice(view, 2, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle())) > 15
    )
    assert columns.max() < view.size_px[1] / 2
    assert rows.max() < view.size_px[0] / 2


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_superior_hangs_on_top_and_anterior_on_the_left(plane):
    volume, labelmap = case()
    view = fit_view(volume.geometry, plane, (200, 300))
    index = {"coronal": 15, "sagittal": 22}[plane]
    rows, columns = np.nonzero(
        redness(draw_slice(view, index, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle())) > 15
    )
    assert rows.min() > view.size_px[0] / 2
    assert columns.max() < view.size_px[1] / 2


def test_five_millimetre_slices_are_drawn_five_millimetres_thick():
    volume, _ = case()
    assert View(volume.geometry, "axial", 2.0, whole_grid(volume.geometry)).size_px == (80, 120)
    assert View(volume.geometry, "coronal", 2.0, whole_grid(volume.geometry)).size_px == (100, 120)
    assert View(volume.geometry, "sagittal", 2.0, whole_grid(volume.geometry)).size_px == (100, 80)


def test_positions_are_patient_millimetres():
    volume, _ = case()
    assert View(volume.geometry, "axial", 1.0, whole_grid(volume.geometry)).position_mm(3) == 115
    assert View(volume.geometry, "sagittal", 1.0, whole_grid(volume.geometry)).position_mm(3) == -14


@pytest.mark.parametrize("size", [(40, 60), (20, 30), (400, 600)])
def test_an_organ_of_one_voxel_is_seen_at_any_scale(size):
    volume, labelmap = case()
    view = fit_view(volume.geometry, "axial", size)
    drawn = draw_slice(view, 8, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle())
    assert np.ptp(drawn.reshape(-1, 3), axis=0).max() > 20


def test_a_contour_alone_leaves_the_inside_as_it_is():
    volume, labelmap = case()
    view = fit_view(volume.geometry, "axial", (400, 600))
    plain = draw_slice(view, 0, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle())
    contour = draw_slice(view, 2, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle(overlay="contour"))
    filled = draw_slice(view, 2, volume.voxels, labelmap.labels, labelmap.organs, SliceStyle(overlay="fill"))
    centre = (20 - 16) * 20, (30 - 23) * 20
    assert (contour[centre] == plain[centre]).all()
    assert (filled[centre] != plain[centre]).any()
    assert (draw_outline(view, 2, labelmap.labels, plain, (255, 255, 255)) != plain).any()


def test_the_window_maps_its_ends_to_black_and_white():
    assert windowed(np.array([[-161, -160, 40, 240, 3000]]), (-160, 240)).tolist() == [[0, 0, 127, 255, 255]]


def test_the_sheet_is_the_same_bytes_for_the_same_input():
    volume, labelmap = case()
    first, second = preview(volume, labelmap), preview(volume, labelmap, labelmap)
    assert first.tobytes() == preview(volume, labelmap).tobytes()
    assert first.size == second.size
    assert first.tobytes() != second.tobytes()


def test_the_sheet_needs_neither_scan_nor_organs():
    volume, labelmap = case()
    empty = Labelmap(np.zeros_like(labelmap.labels), labelmap.geometry, labelmap.stored, labelmap.organs)
    assert preview(None, labelmap).size == preview(volume, empty).size


def test_one_slice_makes_a_sheet():
    volume, labelmap = case((30, 20, 1))
    assert preview(volume, labelmap).width > 1000


@pytest.mark.parametrize("shape", [(30, 20, 1), (1, 20, 10)])
def test_words_about_a_thin_picture_stay_in_its_room(shape):
    view = fit_view(Geometry(shape, np.diag([2.0, 2.0, 5.0, 1.0])), "coronal", TILE_PX)
    height, width = captioned_size(view)
    sheet = Image.new("RGB", (600, 600))
    annotate(sheet, view, 0, (300 - view.size_px[1] // 2, 300 - view.size_px[0] // 2))
    left, top, right, bottom = sheet.getbbox()
    assert 300 - width / 2 <= left < right <= 300 + width / 2
    assert 300 - height / 2 <= top < bottom <= 300 + height / 2


def test_a_truth_on_another_grid_is_refused():
    with pytest.raises(GeometryError, match="not one grid"):
        preview(case()[0], case((30, 20, 11))[1])


def test_slices_are_spread_so_that_a_small_organ_is_met():
    _, labelmap = case()
    assert spread(profiles(labelmap)[2], 2) == [8, 2]
    assert spread(np.zeros(10), 2) == [7, 2]


def test_volumes_are_written_for_people():
    assert [volume_text(v) for v in (1523.4, 12.34, 0.0412, 0)] == ["1523 ml", "12.3 ml", "0.041 ml", "0.0 ml"]
