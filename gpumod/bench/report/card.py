"""The report as one card in Markdown, ready to paste."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gpumod.bench.report.document import FORMAT
from gpumod.bench.report.quantities import duration, instant
from gpumod.bench.report.tables import headline
from gpumod.bench.report.texts import fenced, markdown_code, markdown_text

if TYPE_CHECKING:
    from gpumod.bench.report.document import Report, ReportTarget

_CODE = frozenset({"suite hash", "engine build", "model file", "command", "fingerprint", "driver"})
"""Facts that are names rather than words."""
_LONGEST = 8000


def card(report: Report) -> str:
    """The card. Every text of users, models and engines in it is escaped."""
    return "\n\n".join(_blocks(report)) + "\n"


def _blocks(report: Report) -> Iterator[str]:
    job = report.job
    label = f" ({markdown_text(job.label)})" if job.label else ""
    yield f"# {markdown_code(job.suite)} on {', '.join(markdown_code(one) for one in job.targets)}{label}"
    distrust = [f"**Do not trust this report:** {markdown_text(one, 2000)}" for one in report.warnings]
    for target in report.targets:
        subject = markdown_code(target.target)
        distrust += [
            f"**Do not trust the numbers of {subject}:** {markdown_text(one, 2000)}"
            for one in target.integrity
        ]
    if distrust:
        yield _quoted(distrust)
    seconds = None if job.started is None or job.ended is None else job.ended - job.started
    yield (
        f"Job {markdown_code(job.id)}, {job.state}; started {instant(job.started)}, "
        f"took {duration(seconds)}. Intervals are of 95 %, *n* is the number of samples."
    )
    for target in report.targets:
        yield from _target(job.suite, target)
    yield f"To measure it again:\n\n{fenced(report.reproduce, 'sh')}"
    yield f"<sub>{FORMAT}</sub>"


def _quoted(lines: Sequence[str]) -> str:
    return "\n".join(f"> - {line}" for line in lines)


def _target(suite: str, target: ReportTarget) -> Iterator[str]:
    yield f"## {markdown_code(target.target)}"
    if target.notes:
        yield "\n".join(f"- {markdown_text(one, 2000)}" for one in target.notes)
    tables = headline(suite, target)
    for table in tables:
        title = f"**{markdown_text(table.title)}**\n\n" if table.title else ""
        yield title + _table(table.head, (tuple(map(markdown_text, row)) for row in table.rows))
    if not tables:
        yield "No numbers: not measured."
    if target.outcomes:
        rows = ((markdown_code(name), str(count)) for name, count in target.outcomes.items())
        yield _table(("outcome", "samples"), rows)
    if target.facts:
        yield _table(
            ("what ran", ""), ((_name(one.name), _value(one.name, one.value)) for one in target.facts)
        )


def _name(name: str) -> str:
    return markdown_text(name)


def _value(name: str, value: str) -> str:
    wrap = markdown_code if name.rpartition(": ")[2] in _CODE else markdown_text
    return wrap(value, _LONGEST)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already."""
    lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
