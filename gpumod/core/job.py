"""Benchmark jobs: what is asked for, how far it is, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from gpumod.core.names import LeaseId
from gpumod.core.service import Desired

JobId = NewType("JobId", str)
ScheduleId = NewType("ScheduleId", str)


class JobState(StrEnum):
    """Where a job is. A job that waits for a time, a window or another job is still `queued`."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it, unless it is retried."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


class JobPhase(StrEnum):
    """What a running job does now. Each is a point at which a crash has to be survived."""

    CLAIMED = "claimed"
    SWITCHING = "switching"
    """To the target, or between targets."""
    MEASURING = "measuring"
    RESTORING = "restoring"
    """Back to what the box was before the job."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time of day in which a job may begin; it may cross midnight.

    Args:
        start: minutes after midnight.
        end: minutes after midnight; a job that runs is not stopped by it.
        timezone: an IANA name, for example `Europe/Berlin`.
    """

    start: int
    end: int
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a job shall do.

    Args:
        suite: its name.
        targets: presets or modes, measured one after the other.
        parameters: the suite's, JSON values.
        priority: larger ones first; equal ones in the order in which they were submitted.
        after: jobs that have to be done first; if one of them fails or is cancelled, this one fails.
        not_before: unix time.
        window: when it may begin.
        dedupe: of several jobs with the same key, at most one is queued or running.
        label: for people.
        by: who submitted it.
    """

    suite: str
    targets: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    priority: int = 0
    after: tuple[JobId, ...] = ()
    not_before: float | None = None
    window: Window | None = None
    dedupe: str = ""
    label: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is.

    Args:
        done: samples taken, over all targets.
        total: samples to take; None before that is known.
        target: the one at work.
        case: the case at work.
        seconds: spent measuring so far; with `done`, the time to go follows.
    """

    done: int = 0
    total: int | None = None
    target: str = ""
    case: str = ""
    seconds: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """The time to go, if the rest is like what was done; None where nothing is known of that."""
        if self.total is None or self.done == 0:
            return None
        return self.seconds / self.done * (self.total - self.done)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job.

    Args:
        attempt: grows with every claim; what an earlier attempt still writes is refused.
        owner: the daemon that runs it.
        heartbeat: when its owner last said that it lives.
        former: what the box was when the job first began, to be put back.
        restore: whether `former` is still to be put back.
        lease: what it holds the box by.
        reason: why it failed or was cancelled, or what it waits for.
    """

    id: JobId
    request: JobRequest
    state: JobState
    created: float
    attempt: int = 0
    owner: str = ""
    heartbeat: float | None = None
    phase: JobPhase | None = None
    started: float | None = None
    ended: float | None = None
    progress: Progress = Progress()
    former: Desired | None = None
    restore: bool = False
    lease: LeaseId | None = None
    cancel_asked: bool = False
    reason: str = ""
    schedule: ScheduleId | None = None


class Outcome(StrEnum):
    """How one case ended. Only `ok` and `wrong` say something about the model's answer as such."""

    OK = "ok"
    WRONG = "wrong"
    TIMEOUT = "timeout"
    CUT = "cut"
    """The answer ended at the token limit."""
    NO_CODE = "no_code"
    SYNTAX_ERROR = "syntax_error"
    EMPTY = "empty"
    """The request succeeded and nothing was said."""
    REFUSED = "refused"
    """The server answered with an error."""
    DISCONNECTED = "disconnected"
    SANDBOX = "sandbox"
    """The sandbox failed: nothing is known of the answer."""

    @property
    def of_the_model(self) -> bool:
        """Whether the model answered at all; else the case says nothing about it."""
        return self not in {Outcome.REFUSED, Outcome.DISCONNECTED, Outcome.SANDBOX}


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one case, kept as soon as it is there.

    Args:
        target: which target.
        case: the case's key, unique within target and suite.
        score: points, on the suite's scale; None where there are none.
        numbers: metrics of this case by formula id.
        details: what a reader of the report may want to see, JSON values.
        at: when it began.
        seconds: how long it took.
    """

    target: str
    case: str
    outcome: Outcome
    score: float | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)
    at: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A number over all samples of a target.

    Args:
        formula: its formula id: numbers are compared only under the same one.
        value: the estimate; None where no sample says anything.
        unit: for example `tokens/s`, `s`, `points`, `share`.
        low: the lower end of its interval.
        high: the upper end.
        count: samples behind it.
        larger_is_better: None where neither is.
        by_case: the values behind it by case, for paired tests.
    """

    formula: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    count: int = 0
    larger_is_better: bool | None = None
    by_case: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found out about one target.

    Args:
        suite_version: the suite's own.
        suite_hash: of its texts, data and checkers.
        parameters: the suite's, with every default filled in.
        provenance: what ran and on what, captured: engine build, argv, files, card, driver, host load.
        integrity: sentences: why this result should not be trusted; empty is good.
        outcomes: how many samples ended how.
    """

    job: JobId
    target: str
    suite: str
    suite_version: str
    suite_hash: str
    parameters: Mapping[str, object]
    provenance: Mapping[str, object]
    metrics: tuple[Metric, ...]
    outcomes: Mapping[str, int]
    started: float
    ended: float
    integrity: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job that is submitted again and again.

    Args:
        cron: five fields: minute, hour, day of month, month, day of week.
        timezone: an IANA name.
        request: the job; its `dedupe` becomes the schedule's and the minute's, so no firing counts twice.
    """

    id: ScheduleId
    cron: str
    timezone: str
    request: JobRequest
    created: float
    enabled: bool = True
    last: float | None = None
