"""The tables. Their schema on disk comes from the migrations alone; a test compares the two.

A table has its keys and what queries select by as columns; everything else is the JSON of a core dataclass in
`record`, so that a new field of a record needs no migration.
"""

from __future__ import annotations

from typing import ClassVar

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


class MetaRow(SQLModel, table=True):
    """Facts about the file itself: `version` is the gpumod that opened it last."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str
