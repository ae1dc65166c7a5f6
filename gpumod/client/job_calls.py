"""The requests of the REST API on jobs, results and schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpumod.client.calls import PLANNING, Call, given
from gpumod.client.naming import name, segment
from gpumod.core.comparison import ComparisonReport
from gpumod.core.job import JobRecord, JobState, Result, Sample, Schedule, Window


@dataclass(frozen=True)
class Job(JobRecord):
    """A job, and for how many more seconds it measures, as far as that is known."""

    seconds_left: float | None = None


@dataclass(frozen=True)
class ScheduledJob(Schedule):
    """A schedule, and when it fires next; None: never."""

    next: float | None = None


@dataclass(frozen=True)
class Compared(ComparisonReport):
    """Results side by side, and the same as Markdown."""

    markdown: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job does.

    Args:
        suite: its name.
        targets: presets or modes, measured one after the other.
        parameters: the suite's, JSON values; what is not given has the suite's default.
        priority: larger ones first.
        window: when it may begin.
        label: for people.
    """

    suite: str
    targets: Sequence[str]
    parameters: Mapping[str, object] | None = None
    priority: int = 0
    window: Window | None = None
    label: str = ""

    def body(self) -> dict[str, object]:
        """As it is sent."""
        return given(
            suite=name(self.suite, "suite"),
            targets=[name(one, "preset or mode") for one in self.targets],
            parameters=None if self.parameters is None else dict(self.parameters),
            priority=self.priority,
            window=asdict(self.window) if self.window else None,
            label=self.label,
        )


def submit(
    work: Work,
    *,
    after: Sequence[str],
    not_before: float | None,
    dedupe: str,
    idempotency_key: str | None,
) -> Call[Job]:
    """Queue a job."""
    body = work.body() | given(
        after=[name(one, "job") for one in after], not_before=not_before, dedupe=dedupe
    )
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call("POST", "jobs", Job, body=body, seconds=PLANNING, headers=headers)


def jobs(states: Sequence[JobState | str], limit: int) -> Call[tuple[Job, ...]]:
    """The latest jobs."""
    return Call("GET", "jobs", tuple[Job, ...], {"state": [str(one) for one in states], "limit": limit})


def job(id_: str) -> Call[Job]:
    """One job."""
    return Call("GET", f"jobs/{segment(id_, 'job')}", Job)


def cancel(id_: str) -> Call[Job]:
    """Cancel a job."""
    return Call("POST", f"jobs/{segment(id_, 'job')}/cancel", Job, body={}, seconds=PLANNING)


def retry(id_: str, *, afresh: bool) -> Call[Job]:
    """Queue an ended job again."""
    return Call("POST", f"jobs/{segment(id_, 'job')}/retry", Job, body={"afresh": afresh}, seconds=PLANNING)


def samples(id_: str) -> Call[tuple[Sample, ...]]:
    """What a job has measured so far."""
    return Call("GET", f"jobs/{segment(id_, 'job')}/samples", tuple[Sample, ...])


def report(id_: str, format_: str) -> Call[str]:
    """The report on a job, as text."""
    return Call("GET", f"jobs/{segment(id_, 'job')}/report", str, {"format": format_}, seconds=PLANNING)


def report_schema() -> Call[dict[str, Any]]:
    """The JSON Schema of reports."""
    return Call("GET", "reports/schema", dict[str, Any])


def results(id_: str | None, suite: str, target: str, limit: int) -> Call[tuple[Result, ...]]:
    """What jobs found out."""
    params: dict[str, str | int | float | bool | list[str]] = {"limit": limit}
    asked = {"job": id_, "suite": suite, "target": target}
    params |= {kind: name(value, kind) for kind, value in asked.items() if value}
    return Call("GET", "results", tuple[Result, ...], params)


def schedules() -> Call[tuple[ScheduledJob, ...]]:
    """Every schedule."""
    return Call("GET", "schedules", tuple[ScheduledJob, ...])


def schedule(id_: str) -> Call[ScheduledJob]:
    """One schedule."""
    return Call("GET", f"schedules/{segment(id_, 'schedule')}", ScheduledJob)


def save_schedule(id_: str, cron: str, work: Work, *, timezone: str, enabled: bool) -> Call[ScheduledJob]:
    """Keep a schedule."""
    body = {"cron": cron, "timezone": timezone, "enabled": enabled, "job": work.body()}
    return Call("PUT", f"schedules/{segment(id_, 'schedule')}", ScheduledJob, body=body, seconds=PLANNING)


def delete_schedule(id_: str) -> Call[ScheduledJob]:
    """Forget a schedule."""
    return Call("DELETE", f"schedules/{segment(id_, 'schedule')}", ScheduledJob)


def compare(results: Sequence[str | Mapping[str, object]]) -> Call[Compared]:
    """Put results side by side."""
    body = {"results": [one if isinstance(one, str) else dict(one) for one in results]}
    return Call("POST", "comparisons", Compared, body=body, seconds=PLANNING)
