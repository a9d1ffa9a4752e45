"""Follow-up of phantom livers: lesions matched, split, merged, new, vanished; what is refused; volumes; diameters."""

import json
from dataclasses import replace

import numpy as np
import pytest
from phantom_livers import ORGANS, Motion, grid, liver

from abdoseg.errors import DatasetError
from abdoseg.evaluation.follow import STATUS, Change, TimePoint, as_json, follow
from abdoseg.evaluation.follow_page import case_section, cases_table, follow_page
from abdoseg.image.lesions import measure_lesions
from abdoseg.image.volume import Volume
from abdoseg.image.volumetry import measure

MOVED = Motion((35, -20, 40), (6, -8, 10), bend_mm=2)
A, B, C = ((40, 10, 20), 12), ((-90, 30, 25), 9), ((10, -20, -50), 7)


def point(lesions=(), motion=None, searched=True, with_scan=False, **place):
    """A time point; after a motion on another grid."""
    geometry = grid(**place) if motion is None else grid(motion.shift_mm, (3.0, 3.0, 5.0), "LPS", **place)
    organs = ORGANS if searched else {label: organ for label, organ in ORGANS.items() if label < 5}
    labelmap = liver(geometry, lesions, motion or Motion(), organs)
    scan = None
    if with_scan:
        hu = np.array([-100, 100, 150, 150, 120, 60], np.int16)[labelmap.labels]
        scan = Volume(hu, labelmap.geometry, labelmap.stored)
    found = measure_lesions(labelmap) if searched else None
    return TimePoint("x", labelmap, tuple(measure(labelmap)), found, scan)


def titles(found):
    return {lesion.title: lesion.status for lesion in found.lesions}


def test_lesions_are_matched_whatever_the_motion_and_their_order():
    grown = (C[0], 13)
    found = follow("x", point([A, B, C]), point([A, B, grown], MOVED))
    assert titles(found) == {"1 → 2": "matched", "2 → 3": "matched", "3 → 1": "matched"}
    assert found.warnings == ()
    assert all(lesion.distance_mm < 5 for lesion in found.lesions)
    third = found.lesions[2]
    assert third.longest_axial_mm.before == pytest.approx(14, abs=3)
    assert third.longest_axial_mm.after == pytest.approx(26, abs=3)
    assert third.volume_ml.percent == pytest.approx(100 * (13**3 / 7**3 - 1), rel=0.25)


def test_new_and_vanished_lesions_are_named():
    found = follow("x", point([A, B]), point([A, C], MOVED))
    assert titles(found) == {"1 → 1": "matched", "2 → –": "vanished", "– → 2": "new"}
    gone, new = found.lesions[1:]
    assert (gone.volume_ml.after, gone.volume_ml.percent) == (0, -100)
    assert (new.volume_ml.before, new.volume_ml.percent) == (0, None)


def test_a_lesion_that_falls_apart_has_split_and_the_way_back_merged():
    parts = [((32, 10, 20), 6), ((48, 10, 20), 5)]
    split = follow("x", point([A, B]), point([*parts, B], MOVED))
    assert titles(split) == {"1 → 2 + 3": "split", "2 → 1": "matched"}
    assert split.lesions[0].longest_axial_mm.after == pytest.approx(22, abs=4)
    merged = follow("x", point([*parts, B]), point([A, B], MOVED))
    assert sorted(titles(merged).values()) == ["matched", "merged"]


def test_two_small_neighbours_are_matched_each_with_its_own():
    near = [((40, 10, 20), 5), ((40, 25, 20), 4)]
    found = follow("x", point(near), point(near, MOVED))
    assert titles(found) == {"1 → 1": "matched", "2 → 2": "matched"}


def test_a_lesion_that_the_other_scan_does_not_reach_is_neither_new_nor_vanished():
    after = point([A, B, C], MOVED)
    part = after.lesions[2].box[2].stop  # all slices up to the end of C, the lowest
    cut = replace(
        after.labelmap,
        labels=after.labelmap.labels[:, :, part:],
        geometry=after.labelmap.geometry.cropped((0, 0, part), after.labelmap.labels.shape),
    )
    found = follow("x", point([A, B, C]), TimePoint("x", cut, tuple(measure(cut)), measure_lesions(cut)))
    assert titles(found) == {"1 → 1": "matched", "2 → 2": "matched", "3 → –": "out_of_view"}
    assert found.lesions[2].volume_ml == Change(found.lesions[2].before[0].volume_ml, None)
    assert any("liver with lesions: cut by the scan's border after" in text for text in found.warnings)


def test_livers_of_two_shapes_are_not_matched_and_the_dice_is_said():
    ball = liver(grid(), [A, B], lobes=[((0, 0, 0), (95, 40, 30))])
    other = TimePoint("x", ball, tuple(measure(ball)), measure_lesions(ball))
    found = follow("x", point([A, B]), other)
    assert found.registration.dice < 0.8
    assert f"Dice of {found.registration.dice:.2f}" in found.warnings[-1]
    assert not found.compared and found.misfits
    assert {lesion.status for lesion in found.lesions} == {"not_compared"}
    assert found.diameters_mm == Change(None, None)
    assert found.volumes[0].change.difference is not None


def test_a_scan_that_was_not_searched_has_no_lesions_that_vanished():
    found = follow("x", point([A]), point([], MOVED, searched=False))
    assert titles(found) == {"1 → –": "not_compared"}
    assert "not looked for after" in found.warnings[0]
    assert not found.misfits
    volumes = {change.quantity: change.change for change in found.volumes}
    assert volumes["liver_with_lesions"].percent == pytest.approx(0, abs=3)
    assert volumes["liver"].after is None


def test_lesions_that_were_not_looked_for_are_not_counted_as_none():
    seen, unsearched = point([A]), point(searched=False)
    cases = [follow("x", before, after) for before, after in ((seen, unsearched), (unsearched, unsearched))]
    headers, rows = cases_table(cases)
    first = headers.index("lesions before")
    assert [[cell and cell.text for cell in row[first : first + 4]] for row in rows] == [["1", *[None] * 3], [None] * 4]
    assert [row[-1].text for row in rows] == ["lesions not looked for after", "lesions not looked for before and after"]


def test_healthy_livers_have_nothing_to_match():
    found = follow("x", point(), point((), MOVED))
    assert (found.lesions, found.registration, found.warnings) == ((), None, ())
    assert {change.quantity: change.percent for change in found.volumes}["spleen"] == pytest.approx(0, abs=4)


def test_a_scan_without_a_liver_is_refused():
    before = point([A])
    empty = replace(before.labelmap, labels=np.zeros_like(before.labelmap.labels))
    with pytest.raises(DatasetError, match="y, after: no liver"):
        follow("x", before, TimePoint("y", empty, tuple(measure(empty)), ()))


def test_the_sum_of_diameters_is_of_what_was_measurable_before():
    small = ((0, 30, 0), 3)
    found = follow("x", point([A, B, small]), point([(A[0], 16), small, C], MOVED))
    assert found.diameters_mm.before == pytest.approx(24 + 18, abs=5)
    assert found.diameters_mm.after == pytest.approx(32, abs=5)


def test_volumes_are_with_lesions_and_without_and_burden_in_points():
    found = follow("x", point([A]), point([(A[0], 16)], MOVED))
    changes = {change.quantity: change for change in found.volumes}
    whole, burden, tumour = (changes[name] for name in ("liver_with_lesions", "burden_percent", "liver_tumour"))
    assert whole.change.after == pytest.approx(changes["liver"].change.after + tumour.change.after)
    assert burden.change.after == pytest.approx(100 * tumour.change.after / whole.change.after)
    assert burden.percent is None
    assert list(changes) == [
        "liver_with_lesions", "liver", "burden_percent", "kidney_right", "kidney_left", "spleen", "liver_tumour",
    ]  # fmt: skip


def test_the_json_is_strict():
    found = follow("x", point([A, B]), point([A, C], MOVED))
    whole = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert [row["status"] for row in whole["lesions"]] == ["matched", "vanished", "new"]
    assert whole["lesions"][2]["difference_ml_percent"] is None
    assert whole["registration"]["dice"] == pytest.approx(found.registration.dice)


def test_the_page_shows_slices_where_both_scans_are_at_hand():
    before, after = point([A, B], with_scan=True), point([A, C], MOVED, with_scan=True)
    found = follow("x", before, after)
    section = case_section(found, before, after)
    assert len(section.pictures) == 3
    assert all(picture.std() > 10 for picture, _, _ in section.pictures)
    page = follow_page([section])
    assert page.count("data:image/jpeg") == 3
    assert all(f"<dt>{status.replace('_', ' ')}</dt>" in page for status in STATUS)
    assert case_section(found, before, replace(after, scan=None)).pictures == []


def test_each_picture_shows_the_lesion_and_rings_the_place_where_there_is_none():
    before, after = point([A, B], with_scan=True), point([A], MOVED, with_scan=True)
    section = case_section(follow("x", before, after), before, after)
    half = section.pictures[1][0].shape[1] // 2
    ring = (section.pictures[1][0] == (232, 234, 238)).all(axis=2)
    none = (section.pictures[0][0] == (232, 234, 238)).all(axis=2)
    assert np.count_nonzero(ring[:, half:]) > np.count_nonzero(none[:, half:]) + 20
