"""The tables. Their schema on disk comes from the migrations alone; a test compares the two.

A table has its keys and what queries select by as columns; everything else is the JSON of a core dataclass in
`record`, so that a new field of a record needs no migration.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel


class ServiceRow(SQLModel, table=True):
    """A service's `ServiceRecord`."""

    __tablename__ = "services"

    id: str = Field(primary_key=True)
    state: str
    generation: int
    since: float
    record: str


class GenerationRow(SQLModel, table=True):
    """The last generation that a service was given; it outlives the service's record."""

    __tablename__ = "generations"

    service: str = Field(primary_key=True)
    last: int


class PortRow(SQLModel, table=True):
    """The port that a service had; it outlives the service's record."""

    __tablename__ = "ports"

    service: str = Field(primary_key=True)
    port: int


class DesiredRow(SQLModel, table=True):
    """What the box should be: one row, whose id is 1. `record` is a `Desired`."""

    __tablename__ = "desired"

    id: int = Field(primary_key=True)
    mode: str
    since: float
    record: str


class SwitchRow(SQLModel, table=True):
    """A switch's `SwitchRecord` without its steps; `number` grows in the order of their begin."""

    __tablename__ = "switches"
    __table_args__: ClassVar = {"sqlite_autoincrement": True}

    number: int = Field(primary_key=True)
    id: str = Field(unique=True)
    state: str = Field(index=True)
    source: str
    target: str
    started: float
    record: str


class StepRow(SQLModel, table=True):
    """A step's `StepRecord`."""

    __tablename__ = "steps"

    switch: str = Field(primary_key=True, foreign_key="switches.id", ondelete="CASCADE")
    phase: str = Field(primary_key=True)
    index: int = Field(primary_key=True)
    state: str
    record: str


class LeaseRow(SQLModel, table=True):
    """A `Lease`."""

    __tablename__ = "leases"

    id: str = Field(primary_key=True)
    until: float
    record: str


class MeasurementRow(SQLModel, table=True):
    """A `Measurement`; all columns but `record` are what it is kept under."""

    __tablename__ = "measurements"

    id: int = Field(primary_key=True)
    fingerprint: str = Field(index=True)
    card_name: str
    count: int
    stage: str
    record: str


class EventRow(SQLModel, table=True):
    """An `Event`. AUTOINCREMENT: a number is never used again, those of pruned events included."""

    __tablename__ = "events"
    __table_args__: ClassVar = {"sqlite_autoincrement": True}

    seq: int = Field(primary_key=True)
    at: float
    kind: str
    subject: str
    record: str


class AnswerRow(SQLModel, table=True):
    """An answer kept under an idempotency key."""

    __tablename__ = "idempotency"

    key: str = Field(primary_key=True)
    fingerprint: str
    answer: str
    at: float = Field(index=True)


class JobRow(SQLModel, table=True):
    """A job; `number` grows in the order of submission.

    What changes after the submission is a column, so that every change is one statement. `record` is the
    `JobRecord` as it was submitted; `progress`, `held` (what is to be put back) and `window` are records too.
    The two unique indexes hold whatever a process does: one job runs at a time, a dedupe key lives once.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_running", "state", unique=True, sqlite_where=text("state = 'running'")),
        Index(
            "ix_jobs_dedupe",
            "dedupe",
            unique=True,
            sqlite_where=text("dedupe != '' AND state IN ('queued', 'running')"),
        ),
        {"sqlite_autoincrement": True},
    )

    number: int = Field(primary_key=True)
    id: str = Field(unique=True)
    state: str = Field(index=True)
    priority: int
    dedupe: str
    not_before: float | None
    window: str | None
    attempt: int
    owner: str
    heartbeat: float | None
    phase: str | None
    started: float | None
    ended: float | None
    cancel_asked: bool
    reason: str
    progress: str
    held: str
    record: str


class JobWaitRow(SQLModel, table=True):
    """A job that has to be done before another one may begin."""

    __tablename__ = "job_waits"

    job: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    waits_for: str = Field(primary_key=True, index=True)


class SampleRow(SQLModel, table=True):
    """A `Sample`; `number` grows in the order in which they were taken."""

    __tablename__ = "samples"
    __table_args__ = (UniqueConstraint("job", "target", "case"),)

    number: int = Field(primary_key=True)
    job: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    target: str
    case: str
    attempt: int
    record: str


class ResultRow(SQLModel, table=True):
    """A `Result`; it outlives its job."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("job", "target"), {"sqlite_autoincrement": True})

    number: int = Field(primary_key=True)
    job: str
    target: str = Field(index=True)
    suite: str = Field(index=True)
    record: str


class ScheduleRow(SQLModel, table=True):
    """A `Schedule`."""

    __tablename__ = "schedules"

    id: str = Field(primary_key=True)
    record: str


class MetaRow(SQLModel, table=True):
    """Facts about the file itself: `version` is the gpumod that opened it last."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str
