"""Plots as SVG, made of nothing but shapes: colours come from the page's style, by their classes. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from gpumod.bench.report.axes import Axis, axis_of, tick_texts
from gpumod.bench.report.quantities import shown_in
from gpumod.bench.report.texts import plain

WIDTH: Final = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 176, 48, 12, 28
_ROW: Final = 30
_HEIGHT: Final = 240
_LABEL: Final = 26
_MOST_DOTS: Final = 300
_MOST_JOINED: Final = 40
"""More points than these are not joined by a line, which would hide them."""
_MOST_ROWS: Final = 40
MOST_SERIES: Final = 6
"""As many as there are colours and marks."""


@dataclass(frozen=True, slots=True)
class Dots:
    """A row of a dot plot: the samples, their estimate and its interval."""

    label: str
    values: Sequence[float]
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a series; `low` and `high` are the ends of its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one kind."""

    label: str
    points: Sequence[Point]


def dot_plot(title: str, rows: Sequence[Dots], unit: str, scale: tuple[float, float] | None = None) -> str:
    """Every sample as a dot, with the estimate and its interval, a row for each setting."""
    rows, unit, scale = _rows_shown(rows[:_MOST_ROWS], unit, scale)
    numbers = [one for row in rows for one in (*row.values, row.value, row.low, row.high) if one is not None]
    axis = axis_of(filter(math.isfinite, numbers), _LEFT, WIDTH - _RIGHT, scale)
    bottom = _TOP + _ROW * len(rows)
    parts = [_ticks_below(axis, unit, bottom)]
    for number, row in enumerate(rows):
        parts.append(_dots(row, axis, _TOP + _ROW * number + _ROW / 2))
    what = f"{title}: dots are samples, the bar is the 95 % interval, the line in it the estimate"
    return _svg(what, bottom + _BOTTOM, parts)


def line_plot(
    title: str, series: Sequence[Series], unit: str, x_unit: str, *, logarithmic: bool = False
) -> str:
    """Points of some series over one axis, joined in the order of that axis."""
    series, unit = _series_shown(series[:MOST_SERIES], unit)
    points = [point for one in series for point in one.points]
    across = axis_of((point.x for point in points), _LEFT, WIDTH - _RIGHT)
    if logarithmic:
        least = min(point.x for point in points)
        across = Axis(least / 1.1, across.high, across.start, across.end, logarithmic=True)
    ends = [one for point in points for one in (point.y, point.low, point.high) if one is not None]
    up = axis_of(ends, _TOP + _HEIGHT, _TOP)
    parts = [_ticks_left(up, unit), _ticks_across(across, x_unit, points if logarithmic else ())]
    parts += [_line(one, across, up, number) for number, one in enumerate(series)]
    legend = _legend(series) if len(series) > 1 else ""
    return _svg(title, _TOP + _HEIGHT + _BOTTOM + (18 if legend else 0), [*parts, legend])


def _rows_shown(
    rows: Sequence[Dots], unit: str, scale: tuple[float, float] | None
) -> tuple[list[Dots], str, tuple[float, float] | None]:
    """The rows in the unit that people read: GiB, %, ms."""
    factor, shown = shown_in(unit, _largest(one for row in rows for one in (*row.values, row.value)))
    made = [
        Dots(row.label, [one * factor for one in row.values], *(_by(one, factor) for one in _ends(row)))
        for row in rows
    ]
    return made, shown, None if scale is None else (scale[0] * factor, scale[1] * factor)


def _ends(row: Dots) -> tuple[float | None, float | None, float | None]:
    return row.value, row.low, row.high


def _series_shown(series: Sequence[Series], unit: str) -> tuple[list[Series], str]:
    factor, shown = shown_in(unit, _largest(point.y for one in series for point in one.points))
    made = [
        Series(
            one.label,
            [Point(at.x, at.y * factor, _by(at.low, factor), _by(at.high, factor)) for at in one.points],
        )
        for one in series
    ]
    return made, shown


def _largest(numbers: Iterable[float | None]) -> float:
    return max((abs(one) for one in numbers if one is not None and math.isfinite(one)), default=0.0)


def _by(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _dots(row: Dots, axis: Axis, y: float) -> str:
    parts = [_text(_LEFT - 8, y + 4, row.label, "end")]
    if row.low is not None and row.high is not None:
        left, right = axis.at(row.low), axis.at(row.high)
        parts.append(
            f'<rect class="range" fill-opacity=".25" x="{left}" y="{y - 6}" '
            f'width="{max(1.0, right - left):.1f}" height="12"/>'
        )
    for number, value in enumerate(_some(row.values)):
        # Rows of five heights, so that equal samples are seen to be several.
        height = round(y + (number * 2 % 5 - 2) * 2.5, 1)
        parts.append(f'<circle class="dot" cx="{axis.at(value)}" cy="{height}" r="2.5"/>')
    if row.value is not None and math.isfinite(row.value):
        x = axis.at(row.value)
        parts.append(
            f'<line class="estimate" stroke="currentColor" x1="{x}" x2="{x}" y1="{y - 10}" y2="{y + 10}"/>'
        )
    return "".join(parts)


def _some(values: Sequence[float]) -> list[float]:
    """The values, or every so-many-th of them."""
    there = [one for one in values if math.isfinite(one)]
    return there[:: math.ceil(len(there) / _MOST_DOTS) or 1]


def _line(series: Series, across: Axis, up: Axis, number: int) -> str:
    points = sorted(series.points, key=lambda point: point.x)
    step = math.ceil(len(points) / _MOST_DOTS) or 1
    points = points[::step]
    way = " ".join(f"{across.at(point.x)},{up.at(point.y)}" for point in points)
    parts = (
        [f'<polyline class="way s{number}" fill="none" stroke="currentColor" points="{way}"/>']
        if len(points) <= _MOST_JOINED
        else []
    )
    for point in points:
        x, y = across.at(point.x), up.at(point.y)
        if point.low is not None and point.high is not None:
            ends = f'y1="{up.at(point.low)}" y2="{up.at(point.high)}"'
            parts.append(f'<line class="whisker s{number}" stroke="currentColor" x1="{x}" x2="{x}" {ends}/>')
        parts.append(_mark(number, x, y))
    return "".join(parts)


def _mark(number: int, x: float, y: float) -> str:
    """Different by shape too, for those who do not see colours."""
    if number % 3 == 0:
        return f'<circle class="mark s{number}" cx="{x}" cy="{y}" r="3"/>'
    if number % 3 == 1:
        return f'<rect class="mark s{number}" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    corners = f"{x:.1f},{y - 4:.1f} {x - 4:.1f},{y + 3:.1f} {x + 4:.1f},{y + 3:.1f}"
    return f'<polygon class="mark s{number}" points="{corners}"/>'


def _legend(series: Sequence[Series]) -> str:
    y = _TOP + _HEIGHT + _BOTTOM + 10
    room = (WIDTH - _RIGHT) / len(series)
    return "".join(
        _mark(number, room * number + 12, y - 4) + _text(room * number + 22, y, one.label, "start", room / 7)
        for number, one in enumerate(series)
    )


def _ticks_below(axis: Axis, unit: str, bottom: float) -> str:
    return _below(axis, axis.ticks(), unit, bottom)


def _ticks_across(axis: Axis, unit: str, points: Iterable[Point]) -> str:
    """Under the points themselves, where there are any; else under round numbers."""
    numbers = sorted({point.x for point in points}) or axis.ticks()
    return _below(axis, numbers, unit, _TOP + _HEIGHT)


def _below(axis: Axis, numbers: Sequence[float], unit: str, bottom: float) -> str:
    texts = tick_texts(numbers, unit)
    return "".join(_tick_below(axis.at(one), text, bottom) for one, text in zip(numbers, texts, strict=True))


def _tick_below(x: float, text: str, bottom: float) -> str:
    grid = f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>'
    return grid + _text(x, bottom + 16, text, "middle")


def _ticks_left(axis: Axis, unit: str) -> str:
    found = []
    ticks = axis.ticks()
    for one, text in zip(ticks, tick_texts(ticks, unit), strict=True):
        y = axis.at(one)
        found.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        found.append(_text(_LEFT - 8, y + 4, text, "end"))
    return "".join(found)


def _text(x: float, y: float, text: str, anchor: str, longest: float = _LABEL) -> str:
    shown = escape(plain(text, max(4, int(longest))))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown}</text>'


def _svg(title: str, height: float, parts: Iterable[str]) -> str:
    label = escape(plain(title), quote=True)
    return (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{label}</title>{"".join(parts)}</svg>'
    )
