"""The numbers of a report in tables, for cards and pages alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpumod.bench.formulas import AT
from gpumod.bench.report.quantities import NOT_MEASURED, interval, quantity
from gpumod.bench.report.shapes import shape_of

if TYPE_CHECKING:
    from gpumod.bench.report.document import ReportMetric, ReportTarget
    from gpumod.bench.report.shapes import Grid

NO_INTERVAL = "none"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are texts that are still to be escaped."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def headline(suite: str, target: ReportTarget) -> tuple[Table, ...]:
    """What a reader wants to know first."""
    shape = shape_of(suite)
    grids = [_grid(grid, target.metrics) for grid in shape.grids]
    in_grids = {formula for grid in shape.grids for formula in grid.formulas.values()}
    single = [one for one in leading(suite, target.metrics) if one.formula not in in_grids]
    singles = _singles(single)
    made = tuple(one for one in (*grids, singles) if one.rows)
    return made or ((_singles(target.metrics),) if target.metrics else ())


def _singles(metrics: Iterable[ReportMetric]) -> Table:
    return Table("", ("number", "value", "95 % interval", "n"), tuple(map(_row, metrics)))


def leading(suite: str, metrics: Iterable[ReportMetric]) -> list[ReportMetric]:
    """The metrics of the headline, in its order; those of its grids first."""
    shape = shape_of(suite)
    if not shape.first:
        return [one for one in metrics if one.larger_is_better is not None]
    columns = [formula for grid in shape.grids for formula in grid.formulas.values()]
    places: list[tuple[int, ReportMetric]] = []
    for metric in metrics:
        place = shape.leads(metric.formula)
        if metric.formula in columns:
            places.append((columns.index(metric.formula), metric))
        elif place is not None:
            places.append((len(columns) + place, metric))
    return [metric for _, metric in sorted(places, key=lambda one: one[0])]


def every(target: ReportTarget) -> Table:
    """All numbers."""
    return Table(
        "All numbers",
        ("number", "value", "95 % interval", "n", "formula"),
        tuple((*_row(one), full_id(one)) for one in target.metrics),
    )


def full_id(metric: ReportMetric) -> str:
    """The formula's id with the setting."""
    return f"{metric.formula}{AT}{metric.setting}" if metric.setting else metric.formula


def name(metric: ReportMetric) -> str:
    """What a number is called: its formula's id without suite and version, and its setting."""
    words = metric.formula.split(".")
    core = words[1:-1] if len(words) > 2 else words
    text = " ".join(core).replace("_", " ")
    return f"{text} at {metric.setting}" if metric.setting else text


def with_interval(metric: ReportMetric) -> str:
    """Value, interval and number of samples in one cell."""
    if metric.value is None:
        return f"{NOT_MEASURED} (n = {metric.count})"
    ends = _ends(metric)
    return f"{quantity(metric.value, metric.unit)} ({f'{ends}, ' if ends else ''}n = {metric.count})"


def _ends(metric: ReportMetric) -> str:
    return interval(metric.low, metric.high, metric.unit, metric.value)


def _row(metric: ReportMetric) -> tuple[str, ...]:
    return (
        name(metric),
        quantity(metric.value, metric.unit),
        _ends(metric) or NO_INTERVAL,
        str(metric.count),
    )


def _grid(grid: Grid, metrics: Sequence[ReportMetric]) -> Table:
    """A row for each setting, in the order of their sizes; columns that have nothing at all are left out."""
    cells = {(one.formula, one.setting): with_interval(one) for one in metrics}
    columns = {
        name: formula
        for name, formula in grid.formulas.items()
        if any(formula == measured for measured, _ in cells)
    }
    settings = dict.fromkeys(setting for formula, setting in cells if formula in columns.values())
    rows = tuple(
        (setting, *(cells.get((formula, setting), NOT_MEASURED) for formula in columns.values()))
        for setting in sorted(settings, key=by_size)
    )
    return Table(grid.title, (grid.setting, *columns), rows)


def by_size(setting: str) -> tuple[bool, float, str]:
    """What sorts settings: numbers by their size, before texts."""
    number = as_number(setting)
    return (number is None, number or 0.0, setting)


def as_number(setting: str) -> float | None:
    """A setting as a number, if it is one."""
    return float(setting) if setting.isascii() and setting.isdecimal() else None
