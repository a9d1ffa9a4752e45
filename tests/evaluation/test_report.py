"""The report of an evaluation: whole, self-contained, the worst first."""

import re
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from browser import chromium
from phantom_labels import body, cohort, write

from abdoseg.evaluation import evaluate, find_pairs
from abdoseg.evaluation.gallery import PREDICTION, TRUTH, draw, pictures, worst_scores
from abdoseg.evaluation.pairs import scan_files
from abdoseg.evaluation.report import report_page
from abdoseg.image.volume import Geometry

VOID = {"meta", "link", "img", "br", "line", "rect", "circle"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    truth = body()
    truth[4:6, 10:12, 6:8] = 5
    folders = cohort(tmp_path_factory.mktemp("cohort"), [0, 1, 3, 2, None], truths=[truth] * 5)
    odd = body()
    odd[odd == 4] = 0
    write(folders[0] / "c1_seg.nii.gz", odd)
    return folders


@pytest.fixture(scope="module")
def evaluation(folders):
    return evaluate(find_pairs(*folders), threads=2)


@pytest.fixture(scope="module")
def html(evaluation):
    return report_page(evaluation)


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_is_whole_and_needs_nothing_from_outside(html):
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "http" not in html.replace("http-equiv", "")
    words = re.sub(r"<(script|style)>.*?</\1>|data:image/png;base64,[^\"]+", "", html, flags=re.DOTALL)
    assert "nan" not in words.lower()


def test_the_page_says_what_must_not_be_missed(html):
    for text in ("c4", "By organ", "How it spreads", "Bland-Altman", "Worst cases", "Every case", "no prediction"):
        assert text in html


def test_every_picture_has_words(html):
    assert html.count("<img ") == html.count(' alt="')
    for label in re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', html):
        assert len(label) > 20
    assert html.count("<svg ") == html.count('role="img"')


def test_the_worst_rows_come_first_and_every_organ_has_one(evaluation):
    rows = worst_scores(evaluation.scores, 6)
    dices = [row.confusion.dice for row in rows]
    assert dices == sorted(dices)
    assert rows[0].status == "false_negative"
    assert {row.organ for row in rows} == {"liver", "kidney_right", "kidney_left", "spleen", "liver_tumour"}
    assert "no_prediction" not in {row.status for row in rows}


def test_a_picture_shows_both_contours_at_true_proportions():
    truth, prediction = body() == 1, body(3) == 1
    picture = draw(Geometry(truth.shape, np.diag([1.0, 1.0, 2.0, 1.0])), truth, prediction)
    assert picture.shape[2] == 3
    for colour in (TRUTH, PREDICTION):
        near = np.abs(picture.astype(int) - colour).max(axis=2) < 40
        assert near.sum() > 100


def test_scans_lie_under_the_pictures_when_they_fit(evaluation, tmp_path):
    hu = np.random.default_rng(0).integers(0, 80, (24, 20, 16)).astype(np.int16)
    hu[:, :, 0] = -1000
    for case in ("c0", "c1", "c2", "c3"):
        write(tmp_path / f"{case}_0000.nii.gz", hu)
    bare, over = pictures(evaluation), pictures(evaluation, tmp_path)
    assert over[0].pixels.mean() > bare[0].pixels.mean() + 30
    write(tmp_path / "c1_0000.nii.gz", hu[:20])
    write(tmp_path / "c2_0000.nii.gz", np.zeros_like(hu))
    notes = {picture.score.case: picture.notes for picture in pictures(evaluation, tmp_path)}
    assert "another grid" in notes["c1"]
    assert "every voxel is 0" in notes["c2"]


def test_a_perfect_result_has_a_page_without_a_gallery(tmp_path):
    page = report_page(evaluate(find_pairs(*cohort(tmp_path, [0])), threads=1))
    assert "Worst cases" not in page


def test_a_case_name_cannot_write_html(tmp_path):
    pred, truth = cohort(tmp_path, [2])
    (pred / "c0_seg.nii.gz").rename(pred / "<b>&x_seg.nii.gz")
    (truth / "c0.nii.gz").rename(truth / "<b>&x.nii.gz")
    page = report_page(evaluate(find_pairs(pred, truth), threads=1))
    assert "<b>&x" not in page
    assert "&lt;b&gt;&amp;x" in page


def test_a_browser_sorts_the_table_and_finds_no_error(html, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    column = "[...document.querySelectorAll('#case-table tbody tr')].map(row => row.cells[{}].textContent)"
    with chromium(tmp_path / "driver.log") as browser:
        browser.open(path)
        before = browser.run("return " + column.format(3))
        browser.click("#case-table thead th:nth-child(4) button")
        upwards = browser.run("return " + column.format(3))
        assert sorted(map(float, before)) == list(map(float, upwards)) != list(map(float, before))
        assert browser.run("return document.querySelector('#case-table th:nth-child(4)').ariaSort") == "ascending"
        browser.click("#case-table thead th:nth-child(4) button")
        assert browser.run("return " + column.format(3)) == sorted(upwards, reverse=True)
        browser.click("#case-table thead th:nth-child(9) button")  # HD95: infinite last of all numbers, dashes after
        distances = browser.run("return " + column.format(8))
        numbers = [float(text) for text in distances if text != "–"]
        assert numbers == sorted(numbers)
        assert numbers[-1] == float("inf")
        assert browser.run("return [...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints() == []


def test_tables_fit_a_screen_of_1280_pixels(html, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    with chromium(tmp_path / "driver.log", width=1280) as browser:
        browser.open(path)
        widths = browser.run("""return [...document.querySelectorAll('.scroll')].map(
            box => [box.firstElementChild.id, box.scrollWidth - box.clientWidth])""")
        assert [table for table, excess in widths if excess > 0] == []
        assert {"organ-table", "case-table", "lesion-table"} <= {table for table, _ in widths}


def test_a_narrow_screen_does_not_scroll_sideways(html, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    with chromium(tmp_path / "driver.log", width=500, height=800) as browser:
        browser.open(path)
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_phantoms_are_read_as_written(folders):
    assert nib.load(folders[1] / "c0.nii.gz").shape == (24, 20, 16)


def test_scans_are_found_among_the_labels_of_one_folder(evaluation, folders, tmp_path):
    hu = np.random.default_rng(0).integers(0, 80, (24, 20, 16)).astype(np.int16)
    hu[:, :, 0] = -1000
    for case in ("c0", "c1", "c2", "c3"):
        write(folders[1] / f"{case}_ct.nii.gz", hu)
    try:
        bare, over = pictures(evaluation), pictures(evaluation, folders[1])
    finally:
        for scan in folders[1].glob("*_ct.nii.gz"):
            scan.unlink()
    assert {picture.notes for picture in over} == {""}
    assert over[0].pixels.mean() > bare[0].pixels.mean() + 30


def test_labels_are_not_shown_as_scans(evaluation, folders):
    assert [picture.notes for picture in pictures(evaluation, folders[1])] == [p.notes for p in pictures(evaluation)]
    assert scan_files(folders[1], list(folders[1].iterdir())) == {}
