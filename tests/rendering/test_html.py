"""HTML pages and PNG pictures: escaped, exact, sortable."""

import io

import numpy as np
import pytest
from browser import chromium
from PIL import Image

from abdoseg.rendering.html import Cell, environment, png

BODY = """{% call parts.section(title, title, title) %}{{ parts.table([title], [[title]], caption=title, name=title) }}
{{ parts.facts([(title, title)]) }}{{ parts.note(title) }}{{ parts.figure(picture, title, title) }}{% endcall %}"""


def page(body, title="Test", lead="", foot="", **values):
    """A page with this body, a template."""
    template = environment().from_string("{% extends 'page.html' %}{% block body %}" + body + "{% endblock %}")
    return template.render(title=title, lead=lead, foot=foot, **values)


def table(headers, rows, sortable=False):
    body = "{{ parts.table(headers, rows, sortable=sortable, name='t') }}"
    return page(body, headers=headers, rows=rows, sortable=sortable)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1, 3)])
def test_a_png_holds_every_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(picture)))) == picture).all()
    assert png(picture) == png(picture.copy())


def test_text_is_escaped_everywhere():
    evil = "<script>alert(1)</script>"
    whole = page(BODY, evil, lead=evil, foot=evil, picture=np.zeros((2, 2), np.uint8))
    assert evil not in whole
    assert whole.count("&lt;script&gt;") == 16


def test_numbers_stand_on_the_right_and_names_head_their_rows():
    found = table(["Organ", "ml", "Note"], [["liver", 1500.0, "whole"], ["spleen", float("nan"), ""]])
    assert '<th scope="row">liver</th>' in found
    assert '<td class="number" data-sort="1500.0">1500</td>' in found
    assert '<td class="number" data-sort=""></td>' in found
    assert "<td>whole</td>" in found


def test_text_after_a_number_keeps_its_distance_in_a_dense_table(tmp_path):
    (tmp_path / "page.html").write_text(table(["case", *"abcdefghi"], [["x", *map(float, range(8)), "text"]]))
    with chromium(tmp_path / "driver.log", width=1100) as browser:
        browser.open(tmp_path / "page.html")
        cells = "[...document.querySelectorAll('.dense .number + :not(.number)')]"
        padding = browser.run(f"return {cells}.map(cell => parseFloat(getComputedStyle(cell).paddingLeft))")
        assert padding == [14, 14]  # of the header and the cell


def test_a_table_sorts_numbers_as_numbers_and_empty_cells_last(tmp_path):
    values = [Cell("10", 10), Cell("9", 9), Cell("", None), Cell("inf", float("inf")), Cell("-1", -1)]
    rows = [[f"r{number}", value] for number, value in enumerate(values)]
    path = tmp_path / "page.html"
    path.write_text(table(["Name", "Value"], rows, True), encoding="utf-8")
    names = "return [...document.querySelectorAll('#t tbody th')].map(cell => cell.textContent).join(' ')"
    with chromium(tmp_path / "driver.log") as browser:
        browser.open(path)
        browser.click("#t thead th:nth-child(2) button")
        assert browser.run(names) == "r4 r1 r0 r3 r2"
        browser.click("#t thead th:nth-child(2) button")
        assert browser.run(names) == "r3 r0 r1 r4 r2"
        browser.click("#t thead th:nth-child(1) button")
        assert browser.run(names) == "r0 r1 r2 r3 r4"
        assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
        assert browser.complaints() == []
