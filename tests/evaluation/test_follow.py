"""Follow-up of phantom livers: lesions matched, split, merged, new, vanished; what is refused; volumes."""

from dataclasses import replace

import numpy as np
import pytest
from phantom_livers import MOVED, A, B, C, grid, liver, time_point

from abdoseg.errors import DatasetError
from abdoseg.evaluation.changes import Change
from abdoseg.evaluation.follow import TimePoint, follow
from abdoseg.image.lesions import measure_lesions
from abdoseg.image.volumetry import measure


def titles(found):
    return {lesion.title: lesion.status for lesion in found.lesions}


def test_lesions_are_matched_whatever_the_motion_and_their_order():
    grown = (C[0], 13)
    found = follow("x", time_point([A, B, C]), time_point([A, B, grown], MOVED))
    assert titles(found) == {"1 → 2": "matched", "2 → 3": "matched", "3 → 1": "matched"}
    assert found.warnings == ()
    assert all(lesion.distance_mm < 5 for lesion in found.lesions)
    third = found.lesions[2]
    assert third.longest_axial_mm.before == pytest.approx(14, abs=3)
    assert third.longest_axial_mm.after == pytest.approx(26, abs=3)
    assert third.volume_ml.percent == pytest.approx(100 * (13**3 / 7**3 - 1), rel=0.25)


def test_new_and_vanished_lesions_are_named():
    found = follow("x", time_point([A, B]), time_point([A, C], MOVED))
    assert titles(found) == {"1 → 1": "matched", "2 → –": "vanished", "– → 2": "new"}
    gone, new = found.lesions[1:]
    assert (gone.volume_ml.after, gone.volume_ml.percent) == (0, -100)
    assert (new.volume_ml.before, new.volume_ml.percent) == (0, None)


def test_a_lesion_that_falls_apart_has_split_and_the_way_back_merged():
    parts = [((32, 10, 20), 6), ((48, 10, 20), 5)]
    split = follow("x", time_point([A, B]), time_point([*parts, B], MOVED))
    assert titles(split) == {"1 → 2 + 3": "split", "2 → 1": "matched"}
    assert split.lesions[0].longest_axial_mm.after == pytest.approx(22, abs=4)
    merged = follow("x", time_point([*parts, B]), time_point([A, B], MOVED))
    assert sorted(titles(merged).values()) == ["matched", "merged"]


def test_two_small_neighbours_are_matched_each_with_its_own():
    near = [((40, 10, 20), 5), ((40, 25, 20), 4)]
    found = follow("x", time_point(near), time_point(near, MOVED))
    assert titles(found) == {"1 → 1": "matched", "2 → 2": "matched"}


def test_a_lesion_that_the_other_scan_does_not_reach_is_neither_new_nor_vanished():
    after = time_point([A, B, C], MOVED)
    part = after.lesions[2].box[2].stop  # all slices up to the end of C, the lowest
    cut = replace(
        after.labelmap,
        labels=after.labelmap.labels[:, :, part:],
        geometry=after.labelmap.geometry.cropped((0, 0, part), after.labelmap.labels.shape),
    )
    found = follow("x", time_point([A, B, C]), TimePoint("x", cut, tuple(measure(cut)), measure_lesions(cut)))
    assert titles(found) == {"1 → 1": "matched", "2 → 2": "matched", "3 → –": "out_of_view"}
    assert found.lesions[2].volume_ml == Change(found.lesions[2].before[0].volume_ml, None)
    assert any("liver with lesions: cut by the scan's border after" in text for text in found.warnings)


def test_livers_of_two_shapes_are_not_matched_and_the_dice_is_said():
    ball = liver(grid(), [A, B], lobes=[((0, 0, 0), (95, 40, 30))])
    other = TimePoint("x", ball, tuple(measure(ball)), measure_lesions(ball))
    found = follow("x", time_point([A, B]), other)
    assert found.registration.dice < 0.8
    assert f"Dice of {found.registration.dice:.2f}" in found.warnings[-1]
    assert not found.compared and found.misfits
    assert {lesion.status for lesion in found.lesions} == {"not_compared"}
    assert found.diameters_mm == Change(None, None)
    assert found.volumes[0].change.difference is not None


def test_a_scan_that_was_not_searched_has_no_lesions_that_vanished():
    found = follow("x", time_point([A]), time_point([], MOVED, searched=False))
    assert titles(found) == {"1 → –": "not_compared"}
    assert "not looked for after" in found.warnings[0]
    assert not found.misfits
    volumes = {change.quantity: change.change for change in found.volumes}
    assert volumes["liver_with_lesions"].percent == pytest.approx(0, abs=3)
    assert volumes["liver"].after is None


def test_healthy_livers_have_nothing_to_match():
    found = follow("x", time_point(), time_point((), MOVED))
    assert (found.lesions, found.registration, found.warnings) == ((), None, ())
    assert {change.quantity: change.percent for change in found.volumes}["spleen"] == pytest.approx(0, abs=4)


def test_a_scan_without_a_liver_is_refused():
    before = time_point([A])
    empty = replace(before.labelmap, labels=np.zeros_like(before.labelmap.labels))
    with pytest.raises(DatasetError, match="y, after: no liver"):
        follow("x", before, TimePoint("y", empty, tuple(measure(empty)), ()))


def test_volumes_are_with_lesions_and_without_and_burden_in_points():
    found = follow("x", time_point([A]), time_point([(A[0], 16)], MOVED))
    changes = {change.quantity: change for change in found.volumes}
    whole, burden, tumour = (changes[name] for name in ("liver_with_lesions", "burden_percent", "liver_tumour"))
    assert whole.change.after == pytest.approx(changes["liver"].change.after + tumour.change.after)
    assert burden.change.after == pytest.approx(100 * tumour.change.after / whole.change.after)
    assert burden.percent is None
    assert list(changes) == [
        "liver_with_lesions", "liver", "burden_percent", "kidney_right", "kidney_left", "spleen", "liver_tumour",
    ]  # fmt: skip
