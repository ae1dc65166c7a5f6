"""Which plots a target gets. They are chosen by what was measured, not by the suite's name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gpumod.bench.report.plots import Dots, Point, Series, dot_plot, line_plot
from gpumod.bench.report.shapes import shape_of
from gpumod.bench.report.tables import as_number, by_size, full_id, leading, name

if TYPE_CHECKING:
    from gpumod.bench.report.document import ReportMetric, ReportSample, ReportTarget

_MOST: Final = 40
"""Plots for one target."""
_FAR: Final = 8.0
"""Settings whose largest is so many times the smallest are drawn on a logarithmic axis."""

Figure = tuple[str, str]
"""Caption and SVG."""


def figures(suite: str, target: ReportTarget) -> list[Figure]:
    """The plots: samples of each number, numbers by their setting, and over time."""
    groups = _groups(suite, target)
    made = [
        *(one for metrics in groups for one in _samples(suite, metrics)),
        *(one for metrics in groups for one in _by_setting(metrics)),
        *(one for metrics in groups for one in _over_time(metrics, target.samples)),
        *_of_cases(target.samples),
    ]
    return made[:_MOST]


def _groups(suite: str, target: ReportTarget) -> list[list[ReportMetric]]:
    """Metrics by formula: those of the headline first, then all others of which one end is better."""
    first = leading(suite, target.metrics)
    rest = [one for one in target.metrics if one not in first and one.larger_is_better is not None]
    groups: dict[str, list[ReportMetric]] = {}
    for metric in (*first, *rest):
        if metric.value is not None:
            groups.setdefault(metric.formula, []).append(metric)
    return [sorted(those, key=lambda one: by_size(one.setting)) for those in groups.values()]


def _samples(suite: str, metrics: Sequence[ReportMetric]) -> Iterator[Figure]:
    rows = [
        Dots(one.setting or name(one), _numbers(one.by_case), one.value, one.low, one.high) for one in metrics
    ]
    if max(len(row.values) for row in rows) < 2:
        return
    first = metrics[0]
    scale = shape_of(suite).scale(first.formula, first.unit)
    if first.unit == "points" and all(value in {0.0, 1.0} for row in rows for value in row.values):
        # Rights and wrongs, told in points of a hundred.
        rows = [
            Dots(row.label, [100 * one for one in row.values], row.value, row.low, row.high) for row in rows
        ]
    caption = f"{_title(first)}: samples and interval"
    yield caption, dot_plot(caption, rows, first.unit, scale)


def _by_setting(metrics: Sequence[ReportMetric]) -> Iterator[Figure]:
    points = [
        Point(setting, one.value, one.low, one.high)
        for one in metrics
        if (setting := as_number(one.setting)) is not None and one.value is not None
    ]
    if len(points) < 2:
        return
    least, most = points[0].x, points[-1].x
    caption = f"{_title(metrics[0])} by setting"
    drawn = line_plot(
        caption,
        [Series(caption, points)],
        metrics[0].unit,
        "",
        logarithmic=least > 0 and most / least >= _FAR,
    )
    yield caption, drawn


def _over_time(metrics: Sequence[ReportMetric], samples: Sequence[ReportSample]) -> Iterator[Figure]:
    """In the order in which samples were taken: what drifts is seen here."""
    began = min((one.at for one in samples), default=0.0)
    series = []
    for metric in metrics:
        points = _points(metric, samples, began)
        if len(points) > 1:
            series.append(Series(metric.setting or name(metric), points))
    if series:
        caption = f"{_title(metrics[0])} over time"
        yield caption, line_plot(caption, series, metrics[0].unit, "s")


def _points(metric: ReportMetric, samples: Sequence[ReportSample], began: float) -> list[Point]:
    found = []
    for sample in samples:
        value = sample.numbers.get(full_id(metric))
        if value is not None and math.isfinite(value):
            found.append(Point(sample.at - began, value))
    return found


def _of_cases(samples: Sequence[ReportSample]) -> Iterator[Figure]:
    """What every suite has: scores, and how long cases took."""
    began = min((one.at for one in samples), default=0.0)
    scores = [Point(one.at - began, one.score) for one in samples if one.score is not None]
    if len(scores) > 1:
        yield "Scores over time", line_plot("Scores over time", [Series("", scores)], "", "s")
    if len(samples) > 1:
        took = [Point(one.at - began, one.seconds) for one in samples]
        yield "Seconds per case over time", line_plot("Seconds per case", [Series("", took)], "s", "s")


def _numbers(by_case: Mapping[str, float | None]) -> list[float]:
    return [one for one in by_case.values() if one is not None]


def _title(metric: ReportMetric) -> str:
    return name(metric).partition(" at ")[0] if metric.setting else name(metric)
