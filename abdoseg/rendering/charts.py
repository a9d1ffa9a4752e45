"""Charts as SVG for pages and files: box plots, scatter plots, Bland-Altman plots, curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10

import numpy as np
from markupsafe import Markup, escape

WIDTH = 520
LEGEND = 170  # px beside curves
LEFT, RIGHT, TOP, BOTTOM = 136, 18, 10, 44  # margins in px
ROW = 44  # px a box


@dataclass(frozen=True)
class DataPoint:
    """A value and what to call it; x only where the plot has two axes."""

    y: float
    name: str
    x: float = 0.0


@dataclass(frozen=True)
class Series:
    """Points of one organ or quantity. colour: CSS."""

    label: str
    colour: str
    points: tuple[DataPoint, ...]


def box_plot(series: Sequence[Series], title: str, limits: tuple[float, float] | None = None) -> Markup:
    """One box a series along a common axis: median, quartiles, whiskers to the last point within 1.5 box widths.

    Every point is drawn too and says its name under the pointer. limits: where the axis at least reaches. Infinite
    values stand beyond the axis' end, marked as such. Source: Tukey 1977, Exploratory Data Analysis.
    """
    finite = [point.y for one in series for point in one.points if isfinite(point.y)]
    infinite = any(not isfinite(point.y) for one in series for point in one.points)
    axis = _Axis.around([*finite, *(limits or ())], LEFT, WIDTH - RIGHT - (34 if infinite else 0))
    height = TOP + ROW * len(series) + BOTTOM
    parts = [_grid(axis, TOP, height - BOTTOM), _axis_title(title, (LEFT + WIDTH - RIGHT) / 2, height - 6)]
    for row, one in enumerate(series):
        middle = TOP + ROW * (row + 0.5)
        parts.append(f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(one.label)}</text>')
        parts.append(_box([point.y for point in one.points if isfinite(point.y)], axis, middle, one.colour))
        for number, point in enumerate(one.points):
            place = axis.px(point.y) if isfinite(point.y) else WIDTH - RIGHT - 8
            jitter = (number * 0.618034 % 1 - 0.5) * 16
            parts.append(_dot(place, middle + jitter, one.colour, f"{point.name}: {_short(point.y)}"))
    if infinite:
        parts.append(f'<text class="soft" x="{WIDTH - RIGHT - 8}" y="{height - BOTTOM + 16}" '
                     'text-anchor="middle">inf</text>')  # fmt: skip
    words = "; ".join(f"{one.label}: {_in_words([point.y for point in one.points])}" for one in series)
    return _svg(height, f"{title} by organ. {words}", parts)


def scatter(series: Sequence[Series], across: str, up: str) -> Markup:
    """y against x on equal scales, with the line on which both are the same."""
    values = [value for one in series for point in one.points for value in (point.x, point.y)]
    height = 380
    horizontal = _Axis.around([0, *values], 62, WIDTH - RIGHT)
    vertical = _Axis.around([0, *values], height - BOTTOM, TOP)
    low, high = horizontal.low, horizontal.high
    line = (f'<line x1="{horizontal.px(low):.1f}" y1="{vertical.px(low):.1f}" x2="{horizontal.px(high):.1f}" '
            f'y2="{vertical.px(high):.1f}" stroke="currentColor" stroke-dasharray="4 4" opacity=".5"/>')  # fmt: skip
    parts = [*_frame(horizontal, vertical, across, up, height), line, *_dots(series, horizontal, vertical, across, up)]
    return _svg(height, f"{up} against {across}, {len(values) // 2} points", parts)


def bland_altman(series: Sequence[Series], across: str, up: str) -> Markup:
    """Differences against means, with their mean and the limits of agreement, mean ± 1.96 sd.

    Source: Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    differences = np.array([point.y for one in series for point in one.points] or [0.0])
    mean, sd = float(differences.mean()), float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    height = 380
    horizontal = _Axis.around([0, *[point.x for one in series for point in one.points]], 62, WIDTH - RIGHT)
    vertical = _Axis.around([0, mean - 2.2 * sd, mean + 2.2 * sd, *differences], height - BOTTOM, TOP)
    parts = _frame(horizontal, vertical, across, up, height)
    for value, name in ((mean, "mean"), (mean - 1.96 * sd, "−1.96 sd"), (mean + 1.96 * sd, "+1.96 sd")):
        y = vertical.px(value)
        dashes = "" if name == "mean" else ' stroke-dasharray="5 4"'
        parts.append(f'<line x1="62" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor"'
                     f'{dashes} opacity=".55"/>')  # fmt: skip
        parts.append(f'<text class="soft" x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">'
                     f"{name} {_short(value)}</text>")  # fmt: skip
    parts += _dots(series, horizontal, vertical, across, up)
    agreement = f"mean {_short(mean)}, limits {_short(mean - 1.96 * sd)} to {_short(mean + 1.96 * sd)}"
    return _svg(height, f"{up} against {across}: {agreement}", parts)


def line_chart(
    series: Sequence[Series], title: str, across: str, up: str, limits: tuple[float, float] | None = None
) -> Markup:
    """y over x for each series, its name and last value beside the curves. limits: what the vertical axis holds.

    Points that are not finite break a curve. Up to 40 of them are marked, and say their values under the pointer.
    """
    height, right = 320, WIDTH - RIGHT
    points = [point for one in series for point in one.points if isfinite(point.y)]
    horizontal = _Axis.around([0.0, *(point.x for point in points)], 62, right)
    vertical = _Axis.around([*(limits or (0.0,)), *(point.y for point in points)], height - BOTTOM, TOP + 20)
    parts = [f'<text x="62" y="16">{escape(title)}</text>', *_frame(horizontal, vertical, across, up, height, TOP + 20)]
    for row, one in enumerate(series):
        path, joined = "", False
        for point in one.points:
            if isfinite(point.y):
                path += f"{'L' if joined else 'M'}{horizontal.px(point.x):.1f} {vertical.px(point.y):.1f}"
            joined = isfinite(point.y)
        parts.append(f'<path d="{path}" fill="none" stroke="{one.colour}" stroke-width="2" stroke-linejoin="round"/>')
        finite = [point for point in one.points if isfinite(point.y)]
        if len(finite) <= 40:
            parts += _dots([replace(one, points=tuple(finite))], horizontal, vertical, across, up)
        y = TOP + 34 + 20 * row
        last = f" {_short(finite[-1].y)}" if finite else ""
        parts.append(f'<rect x="{right + 16}" y="{y - 10}" width="12" height="12" rx="3" fill="{one.colour}"/>')
        parts.append(f'<text x="{right + 34}" y="{y}">{escape(one.label + last)}</text>')
    return _svg(height, f"{title}: {up} by {across}; {_last_values(series)}", parts, WIDTH + LEGEND)


def svg_file(charts: Sequence[Markup]) -> str:
    """Charts beside one another as the text of one SVG file, with colours for light and dark surroundings."""
    sizes = [[int(side) for side in chart.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()] for chart in charts]
    starts = [sum(wide for wide, _ in sizes[:number]) for number in range(len(sizes))]
    inside = "".join(str(chart).replace("<svg ", f'<svg x="{x}" ', 1) for chart, x in zip(charts, starts, strict=True))
    width, height = sum(wide for wide, _ in sizes), max(tall for _, tall in sizes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{_FILE_STYLE}</style><rect width="100%" height="100%" fill="var(--card)"/>{inside}</svg>\n'
    )


_FILE_STYLE = (
    ":root{--card:#fff;--ink:#1b2430;--soft:#566273;--line:#dde2e9;color:var(--ink)}"
    "@media(prefers-color-scheme:dark){:root{--card:#1a2028;--ink:#e6eaf0;--soft:#a3afbf;--line:#323b47}}"
    "text{fill:var(--ink);font:12px system-ui,sans-serif}.soft{fill:var(--soft)}"
)


@dataclass(frozen=True)
class _Axis:
    """A linear axis: values low to high lie on pixels start to stop, ticks at round steps."""

    low: float
    high: float
    step: float
    start: float
    stop: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, stop: float) -> _Axis:
        """An axis with round ends that holds all values."""
        low, high = (min(values), max(values)) if len(values) else (0.0, 1.0)
        span = (high - low) or max(abs(high), 1.0) * 0.1
        power = 10.0 ** floor(log10(span / 5))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= 6)
        bottom, top = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
        return cls(bottom, top if top > bottom else bottom + step, step, start, stop)

    def px(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        return [self.low + number * self.step for number in range(round((self.high - self.low) / self.step) + 1)]


def _box(values: Sequence[float], axis: _Axis, middle: float, colour: str) -> str:
    if not values:
        return ""
    lower, median, upper = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (upper - lower)
    inside = [value for value in values if lower - reach <= value <= upper + reach]
    x0, x1, x2, x3, x4 = (axis.px(float(value)) for value in (min(inside), lower, median, upper, max(inside)))
    return (
        f'<g stroke="currentColor"><line x1="{x0:.1f}" x2="{x4:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<line x1="{x0:.1f}" x2="{x0:.1f}" y1="{middle - 6}" y2="{middle + 6}"/>'
        f'<line x1="{x4:.1f}" x2="{x4:.1f}" y1="{middle - 6}" y2="{middle + 6}"/>'
        f'<rect x="{x1:.1f}" y="{middle - 12}" width="{max(1.0, x3 - x1):.1f}" height="24" rx="2" fill="{colour}" '
        'fill-opacity=".45"/>'
        f'<line x1="{x2:.1f}" x2="{x2:.1f}" y1="{middle - 12}" y2="{middle + 12}" stroke-width="2.5"/></g>'
    )


def _grid(axis: _Axis, top: float, bottom: float) -> str:
    lines = ""
    for value in axis.ticks():
        x = axis.px(value)
        lines += f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="var(--line)"/>'
        lines += f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(value)}</text>'
    return lines


def _frame(horizontal: _Axis, vertical: _Axis, across: str, up: str, height: int, top: int = TOP) -> list[str]:
    parts = [_grid(horizontal, top, height - BOTTOM), _axis_title(across, (62 + WIDTH - RIGHT) / 2, height - 6)]
    for value in vertical.ticks():
        y = vertical.px(value)
        parts.append(f'<line x1="62" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text class="soft" x="56" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    middle = (top + height - BOTTOM) / 2
    parts.append(f'<text class="soft" transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">'
                 f"{escape(up)}</text>")  # fmt: skip
    return parts


def _dots(series: Sequence[Series], horizontal: _Axis, vertical: _Axis, across: str, up: str) -> list[str]:
    return [
        _dot(horizontal.px(point.x), vertical.px(point.y), one.colour,
             f"{point.name}, {one.label}: {across} {_short(point.x)}, {up} {_short(point.y)}")
        for one in series for point in one.points
    ]  # fmt: skip


def _dot(x: float, y: float, colour: str, words: str) -> str:
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" stroke="var(--ink)" stroke-opacity=".6" '
            f'stroke-width=".8"><title>{escape(words)}</title></circle>')  # fmt: skip


def _axis_title(text: str, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="middle" class="soft">{escape(text)}</text>'


def _in_words(values: Sequence[float]) -> str:
    kept = [value for value in values if isfinite(value)]
    beyond = f", {len(values) - len(kept)} infinite" if len(kept) < len(values) else ""
    return (f"median {_short(float(np.median(kept)))} of {len(kept)}" if kept else "no finite value") + beyond


def _short(value: float) -> str:
    if not isfinite(value):
        return "inf" if value > 0 else "–"
    text = f"{value:.4g}" if abs(value) < 9999.5 else f"{value:.0f}"
    return text.replace("-", "−") if abs(value) > 1e-12 else "0"


def _last_values(series: Sequence[Series]) -> str:
    """Each series' last value, for those who do not see the curves."""
    last = {one.label: [point.y for point in one.points if isfinite(point.y)][-1:] for one in series}
    return ", ".join(f"{label} {_short(values[0]) if values else 'nothing yet'}" for label, values in last.items())


def _svg(height: int, words: str, parts: Sequence[str], width: int = WIDTH) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(words)}">{"".join(parts)}</svg>'
    )
