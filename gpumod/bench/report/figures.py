"""Which plots a target gets. They are chosen by what was measured, not by the suite's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeGuard

from gpumod.bench.report.plots import MOST_SERIES, Dots, Point, Series, dot_plot, line_plot
from gpumod.bench.report.shapes import shape_of
from gpumod.bench.report.tables import as_number, by_size, full_id, leading, name

if TYPE_CHECKING:
    from gpumod.bench.report.document import ReportMetric, ReportSample, ReportTarget

_MOST: Final = 40
"""Plots for one target."""
_KINDS: Final = ("pack", "level", "check")
"""Members of a sample's details that say what its case belongs to."""
_TIMES: Final = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
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
    series = [Series(one.setting or name(one), _points(one, samples)) for one in metrics]
    yield from _timed(f"{_title(metrics[0])} over time", series, metrics[0].unit)


def _points(metric: ReportMetric, samples: Sequence[ReportSample]) -> list[Point]:
    values = ((one.at, one.numbers.get(full_id(metric))) for one in samples)
    return [Point(at, value) for at, value in values if value is not None]


def _timed(caption: str, series: Sequence[Series], unit: str) -> Iterator[Figure]:
    """Series over unix time, drawn from the first point on; none where no series has two points."""
    series = [one for one in series if len(one.points) > 1]
    if not series:
        return
    times = [point.x for one in series for point in one.points]
    began, span = min(times), max(times) - min(times)
    step, word = next((step, word) for step, word in _TIMES if span >= 2 * step or step == 1)
    moved = [
        Series(one.label, [replace(point, x=(point.x - began) / step) for point in one.points])
        for one in series
    ]
    yield caption, line_plot(caption, moved, unit, word)


def _of_cases(samples: Sequence[ReportSample]) -> Iterator[Figure]:
    """What every suite has: scores, how long cases took, and the memory that was held, where it was read."""
    yield from _timed("Scores over time", _scores(samples), "")
    took = [Point(one.at, one.seconds) for one in samples]
    yield from _timed("Time that a case took, over time", [Series("", took)], "s")
    held: dict[str, list[Point]] = {}
    for sample in samples:
        for at, card, size in _memory(sample):
            held.setdefault(card, []).append(Point(at, size))
    yield from _timed(
        "Memory held over time", [Series(card, points) for card, points in held.items()], "bytes"
    )


def _scores(samples: Sequence[ReportSample]) -> list[Series]:
    """Scores by what their cases belong to, where that makes a few kinds; else all together."""
    kinds: dict[str, list[Point]] = {}
    for one in samples:
        if one.score is not None:
            kind = next((one.details[key] for key in _KINDS if isinstance(one.details.get(key), str)), "")
            kinds.setdefault(str(kind), []).append(Point(one.at, one.score))
    if len(kinds) > MOST_SERIES:
        return [Series("", [point for points in kinds.values() for point in points])]
    return [Series(kind, points) for kind, points in kinds.items()]


def _memory(sample: ReportSample) -> Iterator[tuple[float, str, float]]:
    """When, on which card and how many bytes: readings with their times, or a case's peak at its end."""
    looks, peak = sample.details.get("looks"), sample.details.get("memory_peak")
    for look in looks if isinstance(looks, list) else ():
        at, held = (look.get("at"), look.get("memory")) if isinstance(look, dict) else (None, None)
        if isinstance(at, int | float) and isinstance(held, dict):
            yield from ((float(at), card, float(size)) for card, size in held.items() if _is_size(size))
    if isinstance(peak, dict):
        at_end = sample.at + sample.seconds
        yield from ((at_end, card, float(size)) for card, size in peak.items() if _is_size(size))


def _is_size(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(by_case: Mapping[str, float | None]) -> list[float]:
    return [one for one in by_case.values() if one is not None]


def _title(metric: ReportMetric) -> str:
    return name(metric).partition(" at ")[0] if metric.setting else name(metric)
