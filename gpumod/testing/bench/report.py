"""Findings as a table for people and as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from gpumod.testing.bench.numbers import Figure, Finding, Goal, Skipped, Spread

_HEAD = ("what", "ours", "beside", "ratio", "difference", "goal")


def as_json(
    findings: Sequence[Finding], skipped: Sequence[Skipped], machine: dict[str, object]
) -> dict[str, object]:
    """One document: the machine, every finding with the goals it missed, and what was skipped."""
    return {
        "machine": machine,
        "findings": [asdict(one) | {"missed": [asdict(goal) for goal in one.missed()]} for one in findings],
        "skipped": [asdict(one) for one in skipped],
    }


def table(findings: Sequence[Finding]) -> str:
    """A Markdown table: medians, with the least and the most in brackets."""
    rows = [_HEAD, *(_row(one) for one in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [_line(row, widths) for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def verdict(findings: Sequence[Finding]) -> str:
    """Which goals were missed, in sentences."""
    missed = [(one, goal) for one in findings for goal in one.missed()]
    if not missed:
        return "Every goal was met." if any(one.goals for one in findings) else "No goal was checked."
    return "\n".join(
        f"Missed: {one.name}: {_goal(one, goal).removesuffix(' missed')}." for one, goal in missed
    )


def _row(one: Finding) -> tuple[str, ...]:
    beside = f"{one.beside}: {_spread(one.other, one.unit)}" if one.other else ""
    return (
        one.name,
        _spread(one.ours, one.unit),
        beside,
        _spread(one.ratio, "x"),
        _spread(one.difference, one.unit),
        "; ".join(_goal(one, goal) for goal in one.goals),
    )


def _goal(one: Finding, goal: Goal) -> str:
    unit = "x" if goal.figure is Figure.RATIO else one.unit
    outcome = "missed" if goal in one.missed() else "met"
    figure = "" if goal.figure is Figure.OURS else f"{goal.figure.value} "
    return f"{figure}< {number(goal.below)} {unit} {outcome}"


def _spread(one: Spread | None, unit: str) -> str:
    if one is None:
        return ""
    if one.count == 1:
        return f"{number(one.median)} {unit}"
    return f"{number(one.median)} {unit} ({number(one.least)} to {number(one.most)})"


def number(value: float) -> str:
    """With as many digits as say something."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
