"""The report of a job as a document: what its JSON and schema are, and what cards and pages are made from."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

FORMAT: Final = "gpumod.report/1"
"""A change that could break a reader makes a new number; members may be added under the same one."""

Seconds = Annotated[float, Field(ge=0, description="Seconds.")]
Instant = Annotated[float, Field(description="Unix time in seconds.")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class ReportJob(_Part):
    """The job that was asked for, and how it ended."""

    id: str
    state: str = Field(description="queued, running, done, failed or cancelled.")
    reason: str = Field(description="Why it failed or was cancelled, or what it waits for.")
    label: str
    by: str = Field(description="Who submitted it.")
    suite: str
    targets: list[str]
    parameters: dict[str, JsonValue]
    attempt: int
    created: Instant
    started: Instant | None
    ended: Instant | None
    schedule: str | None = Field(description="The schedule that submitted it.")


class ReportMetric(_Part):
    """One number over the samples of a target."""

    formula: str = Field(description="Formula id: numbers are compared only under the same one.")
    setting: str = Field(
        description="What it was measured at, such as a depth; empty where there is nothing."
    )
    value: float | None = Field(description="null: not measured.")
    unit: str
    low: float | None = Field(description="Lower end of the 95 % interval, null where there is none.")
    high: float | None = Field(description="Upper end of the 95 % interval, null where there is none.")
    count: int = Field(ge=0, description="Samples behind it.")
    larger_is_better: bool | None
    definition: str = Field(description="What the formula is, in words; empty where that is not known.")
    by_case: dict[str, float | None]


class ReportSample(_Part):
    """The result of one case."""

    case: str
    outcome: str
    score: float | None
    numbers: dict[str, float | None] = Field(description="By formula id.")
    details: dict[str, JsonValue]
    at: Instant
    seconds: Seconds


class ReportFact(_Part):
    """One thing that was captured about what ran."""

    name: str
    value: str


class ReportTarget(_Part):
    """What was found out about one target."""

    target: str
    complete: bool = Field(description="Whether a result was kept; without one there are no metrics.")
    suite_version: str
    suite_hash: str
    parameters: dict[str, JsonValue]
    started: Instant | None
    ended: Instant | None
    integrity: list[str] = Field(description="Why these numbers should not be trusted; empty is good.")
    notes: list[str] = Field(description="What else a reader has to know.")
    metrics: list[ReportMetric]
    outcomes: dict[str, int] = Field(description="How many samples ended how.")
    facts: list[ReportFact] = Field(description="The provenance in words.")
    provenance: dict[str, JsonValue] = Field(description="As it was captured, without secrets.")
    samples: list[ReportSample]


class Report(_Part):
    """Everything that a job found out."""

    format: Literal["gpumod.report/1"] = FORMAT
    job: ReportJob
    warnings: list[str] = Field(description="What speaks against the report as a whole; empty is good.")
    reproduce: str = Field(description="The command that submits the same job again, for a POSIX shell.")
    targets: list[ReportTarget]
