"""The picture of a turning body: sides, up, and what hides what."""

import numpy as np
import pytest
from organs import make

from abdoseg.image.mesh import surface
from abdoseg.image.volume import Geometry
from abdoseg.rendering.rasterizer import make_scene, render, view_matrix

SIZE = (80, 120)


def block(centre, half=(6, 6, 6), size=60):
    """A box about `centre`, RAS mm from the middle of a cube of 60 mm."""
    mask = np.zeros((size,) * 3, dtype=bool)
    start = [size // 2 + c - h for c, h in zip(centre, half, strict=True)]
    mask[tuple(slice(s, s + 2 * h) for s, h in zip(start, half, strict=True))] = True
    affine = np.eye(4)
    affine[:3, 3] = -size / 2
    return surface(mask, Geometry(mask.shape, affine))


def where(picture, channel):
    """Rows and columns where one channel is well above the others."""
    others = [c for c in range(3) if c != channel]
    return np.nonzero(picture[:, :, channel].astype(int) - picture[:, :, others].max(axis=2) > 25)


RED, BLUE = (220, 30, 30), (30, 30, 220)


def test_from_the_front_the_patients_right_is_on_the_left():
    picture = render(make_scene([(block((15, 0, 0)), RED, False), (block((-15, 0, 0)), BLUE, False)]), 0, SIZE)
    assert where(picture, 0)[1].max() < 60 < where(picture, 2)[1].min()


def test_half_a_turn_later_it_is_on_the_right():
    picture = render(make_scene([(block((15, 0, 0)), RED, False), (block((-15, 0, 0)), BLUE, False)]), 180, SIZE)
    assert where(picture, 2)[1].max() < 60 < where(picture, 0)[1].min()


def test_superior_is_on_top():
    picture = render(make_scene([(block((0, 0, 15)), RED, False), (block((0, 0, -15)), BLUE, False)]), 0, SIZE)
    assert where(picture, 0)[0].max() < where(picture, 2)[0].min() + 4


def test_what_is_in_front_hides_what_is_behind():
    solids = [(block((0, 15, 0), (12, 5, 12)), RED, False), (block((0, -10, 0), (5, 5, 5)), BLUE, False)]
    assert len(where(render(make_scene(solids), 0, SIZE), 2)[0]) == 0
    assert len(where(render(make_scene(solids), 180, SIZE), 2)[0]) > 20


def test_a_lesion_is_seen_through_the_organ_around_it():
    organ, lesion = block((0, 0, 0), (20, 20, 20)), block((0, 0, 0), (6, 6, 6))
    hidden = render(make_scene([(organ, RED, False), (lesion, BLUE, False)]), 0, SIZE)
    seen = render(make_scene([(organ, RED, False), (lesion, BLUE, True)]), 0, SIZE)
    assert hidden[40, 60, 2] < seen[40, 60, 2]
    assert seen[40, 60, 0] > 50


def test_the_view_is_a_rotation_and_the_eye_looks_down_a_little():
    for turn in (0, 33, 180):
        matrix = view_matrix(turn)
        assert matrix @ matrix.T == pytest.approx(np.eye(3))
        assert np.linalg.det(matrix) == pytest.approx(1)
        assert matrix[2, 2] > 0


def test_a_flat_disc_covers_its_fraction_of_the_picture_to_the_pixel():
    made = block((0, 0, 0), (20, 20, 20))
    picture = render(make_scene([(made, (200, 200, 200), False)]), 0, (200, 200))
    covered = (picture.max(axis=2) > 30).sum()
    tall = 20 * np.cos(np.radians(14)) * 2 + 20 * np.sin(np.radians(14)) * 2
    scale = 0.47 * min(200 / np.hypot(20, 20), 200 / (20 * np.cos(np.radians(14)) + 28.3 * np.sin(np.radians(14))))
    assert covered == pytest.approx(40 * tall * scale**2, rel=0.05)


def test_nothing_makes_an_empty_picture_and_bytes_are_the_same_each_time():
    assert len(np.unique(render(make_scene([]), 0, SIZE).reshape(-1, 3), axis=0)) == 1
    surfaces = make().with_surfaces().surfaces
    solids = [(surface, RED, organ == "liver_tumour") for organ, surface in surfaces.items()]
    assert render(make_scene(solids), 40, SIZE).tobytes() == render(make_scene(solids), 40, SIZE).tobytes()
