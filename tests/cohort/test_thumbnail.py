"""A case's small picture."""

import numpy as np
import phantom_balls
import pytest
from PIL import Image

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.cohort.thumbnail import draw_thumbnail, thumbnail_path, write_thumbnail
from abdoseg.image.volume import Labelmap


def test_a_thumbnail_is_a_small_coronal_slice_with_outlines(tmp_path):
    volume, truth = phantom_balls.scan()
    organs = {BY_NAME[organ].label: organ for organ in phantom_balls.ORGANS}
    labelmap = Labelmap(truth, volume.geometry, volume.stored, organs)
    write_thumbnail(volume, labelmap, tmp_path, "a")
    write_thumbnail(volume, labelmap, tmp_path, "a")
    path = thumbnail_path(tmp_path, "a")
    assert path.stat().st_size < 8_000
    with Image.open(path) as picture:
        assert picture.size[0] <= 128 and picture.size[1] <= 96
        colours = np.asarray(picture).astype(int)
    assert (colours.max(axis=2) - colours.min(axis=2)).max() > 60  # an outline, on grey


def test_of_a_thin_slab_it_is_an_axial_slice():
    volume, truth = phantom_balls.scan(spacing=(2.0, 2.0, 1.0))
    labelmap = Labelmap(truth, volume.geometry, volume.stored, {1: "liver"})
    width, height = draw_thumbnail(volume, labelmap).size
    assert width / height == pytest.approx(80 / 60, rel=0.03)


def test_without_organs_it_is_the_middle_slice():
    volume, truth = phantom_balls.scan()
    empty = Labelmap(np.zeros_like(truth), volume.geometry, volume.stored, {})
    colours = np.asarray(draw_thumbnail(volume, empty)).astype(int)
    assert (colours.max(axis=2) == colours.min(axis=2)).all()
    assert colours.any()
