"""Jobs as people read them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gpumod.cli.layout import Block, Cell, Column, Row, Table, Text, line
from gpumod.client.job_calls import Job
from gpumod.core.job import JobState, Metric, Outcome, Result, Sample
from gpumod.core.units import format_duration, format_size

_STYLES: Final = {JobState.DONE: "good", JobState.FAILED: "bad", JobState.RUNNING: "warn"}


def job_phrase(job: Job) -> str:
    """What a job does, in words."""
    label = f" ({job.request.label})" if job.request.label else ""
    return f"{job.request.suite} on {', '.join(job.request.targets)}{label}"


def progress_phrase(job: Job) -> str:
    """How far a job is: phase, share, target, and the time to go."""
    if job.state is not JobState.RUNNING:
        waits = f": {job.reason}" if job.reason and not job.state.ended else ""
        return f"{job.state}{waits}"
    at = job.progress
    count = f" {at.done} of {at.total}" if at.total is not None else ""
    where = f", {at.target}" if at.target else ""
    left = f", about {format_duration(job.seconds_left)} to go" if job.seconds_left else ""
    stops = ", being cancelled" if job.cancel_asked else ""
    return f"{job.phase or job.state}{count}{where}{left}{stops}"


def jobs_blocks(jobs: Sequence[Job], now: float) -> list[Block]:
    """A table of jobs."""
    if not jobs:
        return [line("no job yet")]
    columns = (
        Column("job"),
        Column("what", shrinks=True),
        Column("state"),
        Column("took", right=True),
        Column("ago", right=True),
    )
    return [Table(columns, tuple(_row(job, now) for job in jobs))]


def _row(job: Job, now: float) -> Row:
    shown = progress_phrase(job) if job.state is JobState.RUNNING else job.state.value
    notes = (Cell(job.reason, "dim"),) if job.reason else ()
    cells = (
        Cell(job.id),
        Cell(job_phrase(job)),
        Cell(shown, _STYLES.get(job.state, "")),
        Cell(_took(job)),
        Cell(format_duration(max(0.0, now - job.created))),
    )
    return Row(cells, notes)


def _took(job: Job) -> str:
    return "" if job.started is None or job.ended is None else format_duration(job.ended - job.started)


def job_blocks(job: Job, results: Sequence[Result], samples: Iterable[Sample] = ()) -> list[Block]:
    """One job, what it found out, and from its samples what is missing and why."""
    took = f", took {_took(job)}" if _took(job) else ""
    blocks: list[Block] = [
        line(f"job {job.id}: {job_phrase(job)}", "head"),
        line(f"{progress_phrase(job)}{took}", _STYLES.get(job.state, "")),
    ]
    if job.state.ended and job.reason:
        blocks.append(line(job.reason, "dim"))
    blocks += [line(text, "dim") for text in _conditions(job)]
    order = {target: place for place, target in enumerate(job.request.targets)}
    missing = missing_lines(samples)
    for result in sorted(results, key=lambda one: order.get(one.target, len(order))):
        blocks += [Text(()), *result_blocks(result, missing.get(result.target, ()))]
    return blocks


def _conditions(job: Job) -> Iterator[str]:
    """Under which conditions a job begins, and what was asked of the suite."""
    request = job.request
    asked = {name: value for name, value in request.parameters.items() if value is not None}
    if asked:
        yield "parameters: " + ", ".join(f"{name}={_as_given(value)}" for name, value in asked.items())
    if request.priority:
        yield f"priority {request.priority}"
    if job.state is not JobState.QUEUED:
        return
    if request.after:
        yield f"after {', '.join(request.after)}"
    if request.not_before is not None:
        yield f"not before {_at(request.not_before)}"
    if request.window:
        start, end = (f"{one // 60:02}:{one % 60:02}" for one in (request.window.start, request.window.end))
        yield f"begins between {start} and {end}, {request.window.timezone}"


def result_blocks(result: Result, missing: Iterable[str] = ()) -> list[Block]:
    """One target's numbers, each with its interval, and what is missing."""
    outcomes = ", ".join(f"{count} {name}" for name, count in result.outcomes.items())
    columns = (Column("number"), Column("value", right=True), Column("interval"), Column("of", right=True))
    rows = tuple(_metric(one) for one in result.metrics)
    warnings = [line(text, "warn") for text in (*result.integrity, *missing)]
    return [line(f"{result.target}: {outcomes or 'no sample'}", "head"), *warnings, Table(columns, rows)]


def _as_given(value: object) -> str:
    """A parameter as `--param` takes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metric(metric: Metric) -> Row:
    sized = metric.unit == "bytes"
    value, low, high = (_number(one, sized=sized) for one in (metric.value, metric.low, metric.high))
    if value and not sized:
        value = f"{value} {metric.unit}"
    interval = f"{low} to {high}" if low and high else ""
    return Row((Cell(metric.formula), Cell(value or "-"), Cell(interval, "dim"), Cell(str(metric.count))))


def _number(value: float | None, *, sized: bool) -> str:
    """A number, as a size where it is in bytes; empty where there is none."""
    if value is None:
        return ""
    return format_size(round(value)) if sized else f"{value:.4g}"


def sample_line(sample: Sample) -> str:
    """One case that was measured, with the reason where it has none of the model's answers."""
    score = "" if sample.score is None else f", score {sample.score:.4g}"
    why = f": {sample_error(sample)}" if sample_error(sample) else ""
    took = format_duration(sample.seconds)
    return f"{sample.target} {sample.case}: {sample.outcome}{score}, {took}{why}"


def sample_error(sample: Sample) -> str:
    """What went wrong with a case, on one line; empty where nothing did or nothing was kept."""
    error = sample.details.get("error")
    return " ".join(error.split()) if isinstance(error, str) else ""


def unmeasured(results: Iterable[Result]) -> list[str]:
    """The targets of which no case says anything about the model."""
    silent = {outcome.value for outcome in Outcome if not outcome.of_the_model}
    return [one.target for one in results if set(one.outcomes) <= silent]


def missing_lines(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """By target: what was left out of it, and why cases were not the model's, each once with how often."""
    samples = tuple(samples)
    found: dict[str, list[str]] = {}
    for target, sentences in _left_out(samples).items():
        found.setdefault(target, []).extend(f"left out: {sentence}" for sentence in sentences)
    for target, reasons in _failures(samples).items():
        found.setdefault(target, []).extend(f"{count} {text}" for text, count in reasons.most_common())
    return found


def _left_out(samples: Iterable[Sample]) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for sample in samples:
        sentences = sample.details.get("left_out")
        if isinstance(sentences, list | tuple):
            found.setdefault(sample.target, {}).update(dict.fromkeys(map(str, sentences)))
    return found


def _failures(samples: Iterable[Sample]) -> dict[str, Counter[str]]:
    counted: dict[str, Counter[str]] = {}
    for sample in samples:
        if not sample.outcome.of_the_model:
            why = sample_error(sample) or "no reason was kept"
            counted.setdefault(sample.target, Counter())[f"{sample.outcome}: {why}"] += 1
    return counted


def _at(instant: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
