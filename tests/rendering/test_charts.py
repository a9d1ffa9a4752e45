"""Charts as SVG: well-formed, at the right places, with words for those who do not see them."""

import re
import xml.etree.ElementTree as ElementTree
from math import inf, nan

import pytest

from abdoseg.rendering.charts import DataPoint, Series, bland_altman, box_plot, line_chart, scatter, svg_file


def series(*values, label="liver"):
    return Series(label, "#dd8265", tuple(DataPoint(y, f"case{x}", x) for x, y in enumerate(values)))


def path_of(svg):
    """The curve's points in pixels, and where it is broken."""
    (path,) = re.findall(r'<path d="([^"]*)"', svg)
    return [(kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path)]


def test_a_curve_rises_with_its_values_and_breaks_where_there_is_none():
    points = path_of(line_chart([series(0.0, 0.5, nan, 1.0)], "Dice", "step", "Dice", (0, 1)))
    assert [kind for kind, *_ in points] == ["M", "L", "M"]
    (_, x0, y0), (_, x1, y1), (_, x3, y3) = points
    assert (y0 - y1, x1 - x0) == pytest.approx((y1 - y3, (x3 - x0) / 3), abs=0.2)


def test_the_legend_stands_beside_the_curves_with_the_last_values():
    svg = line_chart([series(0.2, 0.91), series(0.1, nan, label="<b>")], "Dice", "step", "Dice", (0, 1))
    assert ">liver 0.91</text>" in svg and ">&lt;b&gt; 0.1</text>" in svg
    curve = max(x for _, x, _ in path_of(line_chart([series(0.2, 0.9)], "Dice", "step", "Dice")))
    legend = min(float(x) for x in re.findall(r'<rect x="([\d.]+)"', svg))
    assert legend > curve
    assert 'aria-label="Dice: Dice by step; liver 0.91, &lt;b&gt; 0.1"' in svg


def test_charts_make_one_file_side_by_side():
    charts = [line_chart([series(1.0, 0.5)], "loss", "step", "loss"), line_chart([], "Dice", "step", "Dice", (0, 1))]
    root = ElementTree.fromstring(svg_file(charts))
    inner = [child for child in root if child.tag.endswith("svg")]
    assert [child.get("x") for child in inner] == ["0", inner[0].get("width")]
    assert int(root.get("width")) == sum(int(child.get("width")) for child in inner)


@pytest.mark.parametrize("values", [(), (0.5,), (0.2, 0.4, inf), (-3.0, 8.0)])
@pytest.mark.parametrize("chart", ["box", "scatter", "bland_altman", "line"])
def test_every_chart_is_well_formed_whatever_it_shows(chart, values):
    finite = [value for value in values if value != inf] if chart in ("scatter", "bland_altman") else values
    drawn = {
        "box": lambda one: box_plot([one], "Dice"),
        "scatter": lambda one: scatter([one], "truth", "prediction"),
        "bland_altman": lambda one: bland_altman([one], "mean", "difference"),
        "line": lambda one: line_chart([one], "Dice", "step", "Dice"),
    }[chart](series(*finite))
    root = ElementTree.fromstring(drawn)
    assert len(root.get("aria-label")) > 10
    assert "nan" not in drawn
