"""What requests on jobs and schedules carry, and what is added to the core values in their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from gpumod.api.bodies import TEXT, Body, Name
from gpumod.core.job import JobId, JobRecord, JobRequest, Schedule, Window

_DAY = 24 * 60
_FAR = 1e11
"""An instant beyond this is milliseconds taken for seconds, or no instant at all."""
SCHEDULE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""Shorter than other names: the ids of its jobs have the minute of the firing behind it."""


def _writable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse what Python's parser lets through and JSON does not have: infinities, lone surrogates."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text in it is not Unicode") from error
    return value


Minute = Annotated[int, Field(ge=0, le=_DAY, description="Minutes after midnight.")]
Line = Annotated[str, Field(max_length=500, pattern=TEXT)]


class WindowBody(Body):
    """When a job may begin; it may cross midnight."""

    start: Minute
    end: Minute
    timezone: Annotated[str, Field(max_length=100, pattern=TEXT, description="An IANA name.")] = "UTC"

    def window(self) -> Window:
        """As a core value."""
        return Window(self.start, self.end, self.timezone)


class WorkBody(Body):
    """What a job does."""

    suite: Name
    targets: Annotated[
        list[Name], Field(min_length=1, max_length=64, description="Presets or modes, one after the other.")
    ]
    parameters: Annotated[
        dict[str, JsonValue],
        AfterValidator(_writable),
        Field(description="The suite's; what is not given has the suite's default."),
    ] = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000, description="Larger ones first.")] = 0
    window: WindowBody | None = None
    label: Line = ""

    def request(self, by: str) -> JobRequest:
        """As a core value."""
        return JobRequest(
            suite=self.suite,
            targets=tuple(self.targets),
            parameters=self.parameters,
            priority=self.priority,
            window=self.window.window() if self.window else None,
            label=self.label,
            by=by,
        )


class JobBody(WorkBody):
    """A job to queue."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"suite": "speed", "targets": ["gemma-chat"], "label": "nightly"}]}
    )

    after: Annotated[
        list[Name], Field(max_length=64, description="Jobs that have to be done first; else it fails.")
    ] = Field(default_factory=list)
    not_before: Annotated[float | None, Field(ge=0, le=_FAR, description="Unix time.")] = None
    dedupe: Annotated[
        Line, Field(description="Of the jobs with one key, at most one is queued or running: it is answered.")
    ] = ""

    @property
    def needed(self) -> tuple[JobId, ...]:
        """The jobs that come first."""
        return tuple(JobId(one) for one in self.after)


class RetryBody(Body):
    """How to repeat a job."""

    afresh: Annotated[
        bool, Field(description="Forget what it has measured, instead of going on from there.")
    ] = False


class ScheduleBody(Body):
    """A job that is submitted again and again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "cron": "30 2 * * *",
                    "timezone": "Europe/Berlin",
                    "job": {"suite": "speed", "targets": ["gemma-chat"]},
                }
            ]
        }
    )

    cron: Annotated[
        str,
        Field(max_length=200, pattern=TEXT, description="Minute, hour, day of month, month, day of week."),
    ]
    timezone: Annotated[str, Field(max_length=100, pattern=TEXT, description="An IANA name.")] = "UTC"
    enabled: bool = True
    job: WorkBody


# --- answers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobAnswer(JobRecord):
    """A job, and for how many more seconds it measures if the rest is like what was done; null: unknown."""

    seconds_left: float | None = None


@dataclass(frozen=True)
class ScheduleAnswer(Schedule):
    """A schedule, and when it fires next; null: never."""

    next: float | None = None
