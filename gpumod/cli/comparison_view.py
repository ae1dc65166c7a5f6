"""Comparisons as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gpumod.cli.layout import Block, Cell, Column, Row, Table, Text, line
from gpumod.core.comparison import Comparison, ComparisonReport, Finding, Pair, Recommendation, Side
from gpumod.core.units import format_size


def comparison_blocks(report: ComparisonReport) -> list[Block]:
    """Each suite's comparison, then what they say for modes."""
    blocks: list[Block] = []
    for one in report.comparisons:
        blocks += [*_comparison(one), Text(())]
    for recommendation in report.recommendations:
        blocks += _recommendation(recommendation)
    return blocks


def _comparison(one: Comparison) -> Iterator[Block]:
    yield line(f"{one.suite}: {' against '.join(side.name for side in one.sides)}", "head")
    for sentence in one.not_comparable:
        yield line(f"NOT COMPARABLE: {sentence}", "bad")
    for sentence in one.warnings:
        yield line(sentence, "warn")
    yield from (_side(side) for side in one.sides)
    if one.axes:
        columns = (Column("differs in"), *(Column(side.name, shrinks=True) for side in one.sides))
        rows = tuple(Row((Cell(axis.name), *map(Cell, axis.values))) for axis in one.axes)
        yield Table(columns, rows)
    yield line(one.credit, "warn" if len(one.axes) > 1 else "")
    for pair in one.pairs:
        yield from _pair(pair)


def _side(side: Side) -> Text:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(side.started))
    outcomes = ", ".join(f"{count} {name}" for name, count in side.outcomes.items()) or "no sample"
    label = f" ({side.label})" if side.label else ""
    return line(f"{side.name}{label}: job {side.job}, {at}, {outcomes}", "dim", lead=2)


def _pair(pair: Pair) -> Iterator[Block]:
    yield Text(())
    columns = (
        Column("number"),
        Column(pair.first, right=True),
        Column(pair.second, right=True),
        Column("verdict"),
    )
    rows = tuple(
        Row(
            (
                Cell(one.formula),
                Cell(_value(one.first, one.unit)),
                Cell(_value(one.second, one.unit)),
                Cell(one.verdict, _style(one)),
            )
        )
        for one in pair.findings
    )
    yield Table(columns, rows)
    for one in pair.findings:
        if one.verdict != "not tested":
            yield line(f"{one.formula}: {one.sentence}", _style(one), lead=2)
    yield from (line(note, "dim") for note in pair.notes)


def _style(finding: Finding) -> str:
    return {True: "good", False: "bad", None: ""}[finding.better]


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return format_size(round(value)) if unit == "bytes" else f"{value:.4g}"


def _recommendation(one: Recommendation) -> Iterator[Block]:
    yield line(f"{one.second} instead of {one.first}?", "head")
    yield from (line(reason, lead=2) for reason in one.reasons)
    yield from (line(command, "good", lead=2) for command in one.commands)
