"""A comparison as Markdown, ready to paste."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

from gpumod.core.comparison import Comparison, ComparisonReport, Finding, Pair, Recommendation, Side
from gpumod.core.units import format_size

_MARKUP: Final = re.compile(r"([\\|`*_<>\[\]#])")
_BREAK: Final = re.compile(r"\s+")


def markdown(report: ComparisonReport) -> str:
    """The comparisons one after another, then what they say for modes."""
    parts = [line for one in report.comparisons for line in _comparison(one)]
    parts += [line for one in report.recommendations for line in _recommendation(one)]
    return "\n".join(parts).strip() + "\n"


def _comparison(one: Comparison) -> Iterator[str]:
    names = " against ".join(_plain(side.name) for side in one.sides)
    yield f"## {_plain(one.suite)}: {names}\n"
    for sentence in (*one.not_comparable, *one.warnings):
        yield f"> **{_plain(sentence)}**\n"
    yield "| result | job | measured | outcomes |\n| --- | --- | --- | --- |"
    yield from (_side(side) for side in one.sides)
    yield ""
    if one.axes:
        heads = " | ".join(_plain(side.name) for side in one.sides)
        yield f"| differs in | {heads} |\n| --- |{' --- |' * len(one.sides)}"
        for axis in one.axes:
            yield f"| {_plain(axis.name)} | {' | '.join(map(_plain, axis.values))} |"
        yield ""
    yield f"**{_plain(one.credit)}**\n"
    for pair in one.pairs:
        yield from _pair(pair)


def _side(side: Side) -> str:
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(side.started))
    outcomes = ", ".join(f"{count} {name}" for name, count in side.outcomes.items()) or "-"
    label = f" ({_plain(side.label)})" if side.label else ""
    return f"| {_plain(side.name)}{label} | {_plain(side.job)} | {at} | {_plain(outcomes)} |"


def _pair(pair: Pair) -> Iterator[str]:
    first, second = _plain(pair.first), _plain(pair.second)
    yield f"| number | {first} | {second} | verdict |\n| --- | ---: | ---: | --- |"
    for one in pair.findings:
        numbers = f"{_number(one, one.first)} | {_number(one, one.second)}"
        yield f"| {_plain(one.formula)} | {numbers} | {_plain(one.sentence)} |"
    yield ""
    yield from (f"{_plain(note)}\n" for note in pair.notes)


def _number(finding: Finding, value: float | None) -> str:
    if value is None:
        return "-"
    return format_size(round(value)) if finding.unit == "bytes" else f"{value:.4g} {_plain(finding.unit)}"


def _recommendation(one: Recommendation) -> Iterator[str]:
    yield f"### {_plain(one.second)} instead of {_plain(one.first)}?\n"
    yield from (f"- {_plain(reason)}" for reason in one.reasons)
    yield ""
    if one.commands:
        yield "\n".join(("```sh", *one.commands, "```", ""))


def _plain(text: object) -> str:
    """Text of others that cannot make markup."""
    return _MARKUP.sub(r"\\\1", _BREAK.sub(" ", str(text)))
