"""The page of two time points: its table of patients, and the pictures of each lesion in both scans."""

from dataclasses import replace

import numpy as np
from phantom_livers import MOVED, A, B, C, time_point

from abdoseg.evaluation.changes import STATUS
from abdoseg.evaluation.follow import follow
from abdoseg.evaluation.follow_page import case_section, cases_table, follow_page


def test_lesions_that_were_not_looked_for_are_not_counted_as_none():
    seen, unsearched = time_point([A]), time_point(searched=False)
    cases = [follow("x", before, after) for before, after in ((seen, unsearched), (unsearched, unsearched))]
    headers, rows = cases_table(cases)
    first = headers.index("lesions before")
    assert [[cell and cell.text for cell in row[first : first + 4]] for row in rows] == [["1", *[None] * 3], [None] * 4]
    assert [row[-1].text for row in rows] == ["lesions not looked for after", "lesions not looked for before and after"]


def test_the_page_shows_slices_where_both_scans_are_at_hand():
    before, after = time_point([A, B], with_scan=True), time_point([A, C], MOVED, with_scan=True)
    found = follow("x", before, after)
    section = case_section(found, before, after)
    assert len(section.pictures) == 3
    assert all(picture.std() > 10 for picture, _, _ in section.pictures)
    page = follow_page([section])
    assert page.count("data:image/jpeg") == 3
    assert all(f"<dt>{status.replace('_', ' ')}</dt>" in page for status in STATUS)
    assert case_section(found, before, replace(after, scan=None)).pictures == []


def test_each_picture_shows_the_lesion_and_rings_the_place_where_there_is_none():
    before, after = time_point([A, B], with_scan=True), time_point([A], MOVED, with_scan=True)
    section = case_section(follow("x", before, after), before, after)
    half = section.pictures[1][0].shape[1] // 2
    ring = (section.pictures[1][0] == (232, 234, 238)).all(axis=2)
    none = (section.pictures[0][0] == (232, 234, 238)).all(axis=2)
    assert np.count_nonzero(ring[:, half:]) > np.count_nonzero(none[:, half:]) + 20
