"""The one report of a matrix: phases, deltas, comparisons, and every job's own report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gpumod.cli.matrix import Leg
from gpumod.cli.session import Session
from gpumod.client.calls import encode
from gpumod.client.job_calls import Compared, Job
from gpumod.core.errors import GpumodError
from gpumod.core.job import Result
from gpumod.core.units import format_duration

_EARLIER: Final = 50
"""So many earlier results of a suite and target are looked at for a comparable one."""
_HEADING: Final = re.compile(r"^(?=#{1,5} )", re.MULTILINE)
_MARKUP: Final = re.compile(r"([\\|`*_<>\[\]#])")


@dataclass(frozen=True, slots=True)
class Phase:
    """How long a leg took, in seconds; None where it has not come so far.

    Args:
        waited: from its queueing to its begin.
        measuring: of it, taking samples.
        around: of it, switching there and putting the box back.
    """

    suite: str
    target: str
    job: str
    state: str
    waited: float | None
    took: float | None
    measuring: float | None
    around: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A leg against the last comparable one; `compared` is None where there is none."""

    suite: str
    target: str
    earlier: str
    compared: Compared | None


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """Everything that a matrix found out."""

    label: str
    reproduce: str
    phases: tuple[Phase, ...]
    compared: Compared | None
    not_compared: str
    deltas: tuple[Delta, ...]
    results: tuple[Result, ...]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "format": "gpumod.matrix/1",
            "label": self.label,
            "reproduce": self.reproduce,
            "phases": [asdict(phase) for phase in self.phases],
            "comparison": encode(self.compared),
            "not_compared": self.not_compared,
            "deltas": [
                {
                    "suite": one.suite,
                    "target": one.target,
                    "earlier": one.earlier,
                    "comparison": encode(one.compared),
                }
                for one in self.deltas
            ],
            "results": encode(self.results),
        }


def gather(session: Session, label: str, reproduce: str, legs: Sequence[Leg]) -> MatrixReport:
    """Ask the daemon for everything that the report has."""
    done = [leg for leg in legs if leg.done and leg.job is not None]
    refs = [f"{leg.job.id}/{leg.target}" for leg in done if leg.job is not None]
    compared, why = _compared(session, refs)
    jobs = list(dict.fromkeys(leg.job.id for leg in done if leg.job is not None))
    results = tuple(one for job in jobs for one in session.client.results(job))
    own: set[str] = {leg.job.id for leg in legs if leg.job is not None}
    deltas = tuple(_delta(session, one, own) for one in results)
    return MatrixReport(label, reproduce, tuple(map(_phase, legs)), compared, why, deltas, results)


def _compared(session: Session, refs: Sequence[str]) -> tuple[Compared | None, str]:
    if len(refs) < 2:
        return None, "Nothing to compare: fewer than two legs were done."
    try:
        return session.client.compare(*refs), ""
    except GpumodError as error:
        return None, error.detail


def _delta(session: Session, result: Result, own: set[str]) -> Delta:
    """Against the newest earlier result of the same state of the suite, with the same parameters."""
    earlier = session.client.results(None, suite=result.suite, target=result.target, limit=_EARLIER)
    for one in earlier:
        same = (one.suite_hash, one.parameters) == (result.suite_hash, result.parameters)
        if one.job not in own and same and one.ended <= result.started and not one.integrity:
            names = f"{one.job}/{one.target}", f"{result.job}/{result.target}"
            return Delta(result.suite, result.target, names[0], _compared(session, names)[0])
    return Delta(result.suite, result.target, "", None)


def _phase(leg: Leg) -> Phase:
    job = leg.job
    if job is None:
        return Phase(leg.suite, leg.target, "", "refused", None, None, None, None, leg.refused)
    waited = None if job.started is None else job.started - job.created
    took = _took(job)
    measuring = job.progress.seconds or None
    around = None if took is None or measuring is None else max(0.0, took - measuring)
    return Phase(leg.suite, leg.target, job.id, job.state.value, waited, took, measuring, around, job.reason)


def _took(job: Job) -> float | None:
    return None if job.started is None or job.ended is None else job.ended - job.started


def markdown(session: Session, report: MatrixReport) -> str:
    """The report, ready to paste; jobs' own reports come last."""
    parts = [*_head(report), *_deltas(report)]
    parts.append("## Side by side\n")
    parts.append(_below(report.compared.markdown) if report.compared else f"{report.not_compared}\n")
    done = dict.fromkeys(phase.job for phase in report.phases if phase.state == "done")
    parts += [_below(session.client.report(job, "markdown")) for job in done]
    return "\n".join(parts).rstrip() + "\n"


def _head(report: MatrixReport) -> Iterator[str]:
    yield f"# Benchmarks: {_plain(report.label)}\n"
    if report.results:
        began, ended = min(one.started for one in report.results), max(one.ended for one in report.results)
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began))
        yield f"Measured from {at}, in {format_duration(ended - began)}.\n"
    for result in report.results:
        for sentence in result.integrity:
            yield f"> **Do not trust {result.suite} on {_plain(result.target)}: {_plain(sentence)}**\n"
    yield f"The same again: `{report.reproduce}`\n" if report.reproduce else ""
    yield "## Phases\n\n| leg | job | state | waited | took | measuring | switching and putting back |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    for one in report.phases:
        reason = f": {_plain(one.reason)}" if one.reason and one.state != "done" else ""
        times = " | ".join(map(_time, (one.waited, one.took, one.measuring, one.around)))
        leg = f"{_plain(one.suite)} on {_plain(one.target)}"
        yield f"| {leg} | {one.job or '-'} | {one.state}{reason} | {times} |"
    yield ""


def _deltas(report: MatrixReport) -> Iterator[str]:
    yield "## Since the last comparable leg\n"
    for one in report.deltas:
        name = f"**{_plain(one.suite)} on {_plain(one.target)}**"
        if one.compared is None:
            yield f"- {name}: there is none with the same suite and parameters."
            continue
        comparison = one.compared.comparisons[0]
        yield f"- {name}, against {_plain(one.earlier)}: {_plain(comparison.credit)}"
        found = [finding for pair in comparison.pairs for finding in pair.findings]
        shown = [finding for finding in found if finding.verdict in {"higher", "lower"}]
        yield from (f"  - {_plain(finding.sentence)}" for finding in shown)
        if not shown:
            tests = sum(finding.p is not None for finding in found)
            yield f"  - no difference shown by any of {tests} tests"
    yield ""


def _below(text: str) -> str:
    """A document under a heading of this one."""
    return _HEADING.sub("#", text)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _plain(text: object) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))
