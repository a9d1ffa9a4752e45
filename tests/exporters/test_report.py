"""The HTML report of a case: what it says, well-formed, fetching nothing."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import chromium
from organs import make, relabelled, remapped
from PIL import Image

from abdoseg.exporters.job import export
from abdoseg.exporters.report import warnings
from abdoseg.rendering.viewer import MOST_TRIANGLES, ViewerOrgan, viewer_scene

CHROMIUM = next(
    (path for name in ("chromium", "google-chrome", "chromium-browser") if (path := shutil.which(name))), ""
)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
RECORD = {
    "case": "phantom",
    "scan": "secret/name.nii.gz",
    "versions": {"abdoseg": "0.1.0"},
    "model": {"digest": "abc123"},
    "seconds": {"read": 0.5, "network": 2.25},
    "peak_memory_bytes": 2**30,
    "quality": {"liver": {"confidence": 0.97, "reasons": []}, "spleen": {"confidence": 0.7, "reasons": ["doubtful"]}},
    "changes": ["spleen: 0.2 ml of small pieces dropped"],
    "warnings": ["spleen: reaches the scan's left border; its volume is a lower bound"],
}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (file,) = export(make(record=RECORD), folder, ["report"])
    return file


def browse(page, *arguments):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle",
               "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--virtual-time-budget=4000",
               f"--user-data-dir={page.parent / 'profile'}"]  # fmt: skip
    return subprocess.run(
        [*command, *arguments, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_it_has_volumes_flags_warnings_and_how_it_was_made(page):
    text = page.read_text()
    for words in ("left kidney", "cut: left", "0.97", "doubtful", "a lower bound", "small pieces dropped", "abc123"):
        assert words in text
    assert "seconds: network" in text
    assert "1.00 GB" in text
    assert "secret" not in text


def test_it_is_well_formed_and_fetches_nothing(page):
    tags = Tags()
    tags.feed(page.read_text())
    assert tags.open == []
    links = [value for _, attributes in tags.seen for name, value in attributes.items() if name in ("src", "href")]
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org)", page.read_text())


def test_of_another_tools_labels_it_claims_nothing_and_without_a_scan_it_has_no_hu(page, tmp_path):
    (file,) = export(make(scan=None), tmp_path, ["report"])
    for words in ("segmented by abdoseg", "mean (HU)"):
        assert words in page.read_text()
        assert words not in file.read_text()


def test_without_a_record_the_labels_tell_what_to_look_at():
    job = make()
    job = relabelled(job, np.where(job.labelmap.labels == 3, 0, job.labelmap.labels))
    shown = warnings(job)
    assert shown == [
        "left kidney: not found",
        "spleen: reaches the scan's left border; its volume is a lower bound",
    ]


def test_a_case_without_scan_and_organs_has_a_page(tmp_path):
    job = make(scan=None)
    empty = relabelled(job, np.zeros_like(job.labelmap.labels))
    (file,) = export(empty, tmp_path, ["report"])
    assert "not found" in file.read_text()
    assert "<canvas" not in file.read_text()


def test_names_are_escaped(tmp_path):
    (file,) = export(make(case="a<b>&c"), tmp_path, ["report"])
    assert "<h1>a&lt;b&gt;&amp;c</h1>" in file.read_text()


def test_the_same_input_gives_the_same_bytes(page, tmp_path):
    (file,) = export(make(record=RECORD), tmp_path, ["report"])
    assert file.read_bytes() == page.read_bytes()


@needs_chromium
def test_chromium_draws_the_organs_and_complains_of_nothing(page, tmp_path):
    picture = tmp_path / "page.png"
    shown = browse(page, "--window-size=1200,2400", f"--screenshot={picture}", "--dump-dom", "--enable-logging=stderr")
    complaints = [line for line in shown.stderr.splitlines() if "CONSOLE" in line and "GPU stall" not in line]
    assert complaints == []
    assert 'data-ready="yes"' in shown.stdout
    assert "seen from the front" in shown.stdout
    with Image.open(picture) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    for colour in ((221, 130, 101), (86, 156, 214), (157, 108, 162)):  # liver, right kidney, spleen, lit from the front
        hue = shown / np.maximum(shown.max(axis=2, keepdims=True), 1)
        near = np.abs(hue - np.array(colour) / max(colour)).max(axis=2) < 0.05
        assert near.sum() > 1500


def test_it_scrolls_through_slices_with_windows_contours_and_lesions(tmp_path):
    (file,) = export(make(record=RECORD), tmp_path, ["report"])
    coloured = """
        const canvas = document.querySelector('[data-plane=axial] canvas'), {width, height} = canvas;
        const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
        let left = 0, right = 0, bright = 0;
        for (let n = 0; n < pixels.length; n += 4) {
          if (pixels[n] > pixels[n + 2] + 60) (n / 4 % width < width / 2 ? left++ : right++);
          bright += pixels[n + 1];
        }
        return [left, right, bright / width / height];"""
    caption = "return document.querySelector('[data-plane=axial] output').textContent"

    press = """document.querySelector('[data-plane=axial] canvas').dispatchEvent(
        new KeyboardEvent('keydown', {{key: '{}'}}))"""

    def settled(browser):
        browser.wait_for("return true", frames=3)

    with chromium(tmp_path / "driver.log") as browser:
        browser.open(file)
        browser.wait_for("return document.getElementById('slices')?.dataset.ready === 'yes'")
        settled(browser)
        left, right, abdomen = browser.run(coloured)
        assert left > 100 > right  # the liver's contour, on the left as the patient's right
        assert browser.run(caption) == "axial S 8.0 mm, slice 14"
        browser.run(press.format("ArrowUp"))
        settled(browser)
        assert browser.run(caption) == "axial S 12.0 mm, slice 15"
        browser.click("[data-overlay=none]")
        settled(browser)
        assert browser.run(coloured)[0] == 0
        browser.click("[data-window=bone]")
        settled(browser)
        assert browser.run(coloured)[2] < abdomen
        browser.click("[data-overlay=contours]")
        browser.click("[data-organ=liver]")
        browser.click("[data-organ=liver_tumour]")
        settled(browser)
        assert browser.run(coloured)[0] == 0
        browser.run(press.format("PageDown"))
        settled(browser)
        assert browser.run(caption) == "axial I 28.0 mm, slice 5"
        browser.click("[data-lesion='0']")
        settled(browser)
        assert browser.run(caption) == "axial S 12.0 mm, slice 15"
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        expected = ("WebGL", "Canvas2D", "GPU stall")  # of the test's own machine and of reading pixels back
        assert [text for text in browser.complaints() if not any(word in text for word in expected)] == []


def test_a_lesion_table_stands_in_it_where_there_are_lesions(page, tmp_path):
    assert "Numbered from the largest on" in page.read_text()
    job = make()
    (file,) = export(relabelled(job, np.where(job.labelmap.labels == 5, 1, job.labelmap.labels)), tmp_path, ["report"])
    assert "Numbered from the largest on" not in file.read_text()


def test_the_burden_stands_in_it_where_lesions_were_looked_for(page, tmp_path):
    job = make(record=RECORD | {"lesions": {"liver_tumour": [{"number": 1, "volume_ml": 0.9}]}})
    (row,) = [row for row in job.rows if row.organ == "liver"]
    text = page.read_text()
    assert f">{row.with_lesions_ml:.1f}</td>" in text and f">{row.burden_percent:.1f}</td>" in text
    (file,) = export(job, tmp_path, ["report"])
    assert "volume_ml" not in file.read_text()  # the record's lesions are in their own table
    healthy = remapped(job, organs={label: organ for label, organ in job.labelmap.organs.items() if label < 5})
    (file,) = export(healthy, tmp_path, ["report"], overwrite=True)
    assert "burden" not in file.read_text()


def test_meshes_of_many_organs_are_thinned_so_that_the_page_stays_small():
    job = make().with_surfaces()
    organs = [ViewerOrgan(row.organ, job.surfaces[row.organ], (1, 2, 3), False) for row in job.found] * 4
    packed = viewer_scene(organs).data["solids"]
    assert sum(len(solid["triangles"]) for solid in packed) < MOST_TRIANGLES * 6 * 4 / 3 + 100 * len(organs)
