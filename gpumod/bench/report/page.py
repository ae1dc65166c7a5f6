"""The report as one HTML file: no script, nothing loaded from anywhere, every text escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gpumod.bench.report.document import FORMAT
from gpumod.bench.report.figures import figures
from gpumod.bench.report.quantities import NOT_MEASURED, duration, instant
from gpumod.bench.report.tables import Table, every, headline
from gpumod.bench.report.texts import compact, plain

if TYPE_CHECKING:
    from gpumod.bench.report.document import Report, ReportSample, ReportTarget

_STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_IN_FILE: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
POLICY: Final = f"{_IN_FILE}; frame-ancestors 'none'; sandbox"
"""The content security policy that the page is served with. It has it in itself too, as far as it can."""

_MOST_SAMPLES: Final = 2000
"""Rows of the table of samples; the JSON has all of them."""
_MOST_DETAIL: Final = 6000
"""Characters of one sample's details ..."""
_MOST_DETAILS: Final = 3_000_000
"""... and of all of them."""


def page(report: Report) -> str:
    """The page."""
    job = report.job
    title = plain(f"{job.suite} on {', '.join(job.targets)}")
    body = "\n".join(_body(report, title))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_IN_FILE)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{FORMAT}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(report: Report, title: str) -> Iterator[str]:
    job = report.job
    yield f"<main>\n<h1>{escape(title)}</h1>"
    if job.label:
        yield f"<p>{_text(job.label)}</p>"
    yield from _distrust(report)
    seconds = None if job.started is None or job.ended is None else job.ended - job.started
    by = f", submitted by {_text(job.by)}" if job.by else ""
    yield (
        f"<p>Job <code>{_text(job.id)}</code>, {_text(job.state)}; started {instant(job.started)}, took "
        f"{duration(seconds)}{by}. Intervals are of 95 %, <i>n</i> is the number of samples.</p>"
    )
    budget = _MOST_DETAILS // max(1, len(report.targets))
    for target in report.targets:
        yield from _target(job.suite, target, budget)
    yield f"<h2>To measure it again</h2>\n<pre><code>{escape(report.reproduce)}</code></pre>"
    yield f'<p class="faint">{FORMAT}</p>\n</main>'


def _distrust(report: Report) -> Iterator[str]:
    sentences = [_text(one, 2000) for one in report.warnings]
    for target in report.targets:
        sentences += [f"<b>{_text(target.target)}</b>: {_text(one, 2000)}" for one in target.integrity]
    if sentences:
        items = "".join(f"<li>{one}</li>" for one in sentences)
        yield f'<div class="distrust" role="alert"><h2>Do not trust these numbers</h2><ul>{items}</ul></div>'


def _target(suite: str, target: ReportTarget, budget: int) -> Iterator[str]:
    yield f"<section>\n<h2>{_text(target.target)}</h2>"
    if target.notes:
        yield f"<ul>{''.join(f'<li>{_text(one, 2000)}</li>' for one in target.notes)}</ul>"
    tables = headline(suite, target)
    for table in tables:
        yield _table(table.title or "Numbers", table.head, table.rows)
    if not tables:
        yield f"<p>No numbers: {NOT_MEASURED}.</p>"
    if target.outcomes:
        rows = [(key, str(count)) for key, count in target.outcomes.items()]
        yield _table("How samples ended", ("outcome", "samples"), rows)
    drawn = figures(suite, target)
    if drawn:
        yield "<h3>Plots</h3>"
    for caption, svg in drawn:
        yield f"<figure><figcaption>{_text(caption)}</figcaption>{svg}</figure>"
    if target.facts:
        yield _table("What ran, and on what", ("what", ""), [(one.name, one.value) for one in target.facts])
    if target.metrics:
        yield from _all_numbers(target)
    if target.samples:
        yield from _samples(target.samples, budget)
    yield "</section>"


def _all_numbers(target: ReportTarget) -> Iterator[str]:
    table: Table = every(target)
    yield f"<details><summary>All {len(table.rows)} numbers, and what they are</summary>"
    yield _table(table.title, table.head, table.rows)
    told = {one.formula: one.definition for one in target.metrics if one.definition}
    if told:
        items = "".join(
            f"<dt><code>{_text(key)}</code></dt><dd>{_text(one, 2000)}</dd>" for key, one in told.items()
        )
        yield f"<dl>{items}</dl>"
    yield "</details>"


def _samples(samples: Sequence[ReportSample], budget: int) -> Iterator[str]:
    shown = samples[:_MOST_SAMPLES]
    more = "" if len(shown) == len(samples) else f", of which {len(shown)} are here"
    yield f"<details><summary>{len(samples)} samples{more}</summary>"
    head = ("case", "outcome", "score", "began", "took", "why", "details")
    cells = "".join(f'<th scope="col">{one}</th>' for one in head)
    yield f'<div class="wide"><table><caption>Samples</caption><thead><tr>{cells}</tr></thead><tbody>'
    for sample in shown:
        row = _sample(sample, min(budget, _MOST_DETAIL))
        budget -= len(row)
        yield row
    yield "</tbody></table></div></details>"


def _sample(sample: ReportSample, longest: int) -> str:
    score = "" if sample.score is None else f"{sample.score:g}"
    cells = (_text(sample.outcome), score, instant(sample.at), duration(sample.seconds), _text(_why(sample)))
    told = json.dumps({**sample.numbers, **sample.details}, indent=1, ensure_ascii=False)
    if longest < 200:
        details = '<span class="faint">in the JSON</span>'
    else:
        cut = told if len(told) <= longest else f"{told[:longest]}…"
        details = f"<details><summary>show</summary><pre>{_lines(cut)}</pre></details>"
    return (
        f'<tr><th scope="row">{_text(sample.case)}</th>'
        f"{''.join(f'<td>{one}</td>' for one in cells)}<td>{details}</td></tr>"
    )


def _why(sample: ReportSample) -> str:
    """What the suite says about how it ended, in whatever member it says it."""
    told = (sample.details.get(key) for key in ("why", "error", "note", "complaints"))
    return next((compact(one) for one in told if one), "")


def _lines(text: str) -> str:
    """A text of several lines; each without control characters."""
    return "\n".join(escape(plain(one, _MOST_DETAIL)) for one in text.split("\n"))


def _text(text: object, longest: int = 400) -> str:
    return escape(plain(text, longest))


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    columns = "".join(f'<th scope="col">{_text(one)}</th>' for one in head)
    lines = "".join(_row(row) for row in rows)
    return (
        f'<div class="wide"><table><caption>{_text(title)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _row(row: Sequence[str]) -> str:
    first, *rest = row
    cells = "".join(f"<td>{_text(one, 8000)}</td>" for one in rest)
    return f'<tr><th scope="row">{_text(first)}</th>{cells}</tr>'
