"""The index page of a cohort: self-contained, sorted, filterable, and quick with 1,000 cases."""

import re

import pytest
from browser import chromium
from results import write_results

from abdoseg.cohort.index_page import index_page, write_index
from abdoseg.cohort.table import CohortRow, read_cohort
from abdoseg.errors import OutputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_results(folder, 1000, failures=5, reports=2)
    write_index(read_cohort(folder), folder)
    return folder


def test_the_page_fetches_nothing_and_escapes_what_it_shows(cohort):
    page = (cohort / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|case000\d_report\.html|#)', page)
    assert "case0000.nii.gz: &lt;no&gt; scan" in page
    assert page.count("data:image/jpeg;base64,") == 995
    assert page.count('data-sort="0.8">0.80</td>') == 3 and page.count('data-sort="0.97">0.97</td>') == 992
    assert "spleen, volumes far from the others&#39;: case0005 (2000 ml)" in page


def test_a_former_page_is_replaced_and_another_s_is_not(cohort, tmp_path):
    rows = read_cohort(cohort)[:3]
    write_index(rows, tmp_path)
    write_index(rows, tmp_path)
    (tmp_path / "index.html").write_text("<title>My homepage</title>")
    with pytest.raises(OutputError, match="not a page of abdoseg's"):
        write_index(rows, tmp_path)


def test_links_of_strange_names_lead_to_their_reports(tmp_path):
    write_results(tmp_path, 1)
    for path in list(tmp_path.glob("case0000*")):
        path.rename(path.with_name(path.name.replace("case0000", 'a b#"1')))
    (tmp_path / 'a b#"1_report.html').write_text("")
    (tmp_path / "ledger.jsonl").unlink()
    assert 'href="a%20b%23%221_report.html"' in index_page(read_cohort(tmp_path), tmp_path)


def test_a_browser_filters_and_sorts_a_thousand_rows_without_a_complaint(cohort, tmp_path):
    with chromium(tmp_path / "driver.log") as browser:
        browser.open(cohort / "index.html")
        visible = "[...document.querySelectorAll('#case-table tbody tr')].filter(r => !r.hidden)"
        first = f"return {visible}[0].cells[1].textContent"
        count = f"return {visible}.length"
        assert (browser.run(count), browser.run(first)) == (1000, "case0000")
        assert browser.run("return document.getElementById('shown').textContent") == "1000 of 1000 cases"
        browser.click(".filter input[value=ok]")
        assert browser.run(count) == 8
        browser.run("const f = document.getElementById('find'); f.value = 'spleen large';"
                    "f.dispatchEvent(new Event('input'))")  # fmt: skip
        assert browser.run(count) == 3
        browser.click("#case-table thead th:nth-child(8) button")
        browser.click("#case-table thead th:nth-child(8) button")
        assert browser.run(first) == "case0005"
        assert browser.run("return document.querySelector('#case-table tbody a').getAttribute('href')") in (
            "case0005_report.html", "case0006_report.html",
        )  # fmt: skip
        assert browser.run("const i = document.querySelector('.preview img'); return i.naturalWidth") == 128
        assert browser.complaints() == []


def test_without_reports_the_page_names_the_command_that_makes_them(cohort, tmp_path):
    rows = read_cohort(cohort)
    assert "abdoseg export with --report on this folder" not in index_page(rows, cohort)
    assert "abdoseg export with --report on this folder" in index_page([CohortRow("a")], tmp_path)


def test_why_names_reasons_cut_organs_and_what_is_reported_of_the_scan(tmp_path):
    warnings = ("the scan is mirrored", "right kidney: reaches the scan's left border; its volume is a lower bound")
    row = CohortRow(
        "a", reasons={"spleen": ("doubtful", "unusual_hu")}, cut=("kidney_right",), warnings=warnings,
        scan_warnings=warnings[:1],
    )  # fmt: skip
    page = index_page([row], tmp_path)
    assert "the scan is mirrored; spleen: doubtful, unusual hu; cut by the scan&#39;s border: right kidney" in page


def test_the_table_needs_no_scrolling_sideways_on_a_laptop(cohort, tmp_path):
    with chromium(tmp_path / "driver.log", width=1280) as browser:
        browser.open(cohort / "index.html")
        box = "const s = document.querySelector('#case-table').parentElement; return s.scrollWidth - s.clientWidth"
        assert browser.run(box) == 0
