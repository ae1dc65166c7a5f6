"""Statements on samples, results and schedules."""

from __future__ import annotations

from sqlalchemy import Connection, Exists, delete, exists, literal, select
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col

from gpumod.core.job import JobId, JobState, Result, Sample, Schedule, ScheduleId
from gpumod.store.codec import Decoder, clean, encode
from gpumod.store.records import put
from gpumod.store.tables import JobRow, ResultRow, SampleRow, ScheduleRow


def add_sample(connection: Connection, job: JobId, attempt: int, sample: Sample) -> bool:
    """Keep a sample of a running job's present attempt; whether it was taken, or was there before."""
    present = _present(job, attempt)
    columns = ["job", "target", "case", "attempt", "record"]
    values = [job, clean(sample.target), clean(sample.case), attempt, encode(sample)]
    given = select(*(literal(value) for value in values)).where(present)
    statement = insert(SampleRow).from_select(columns, given).on_conflict_do_nothing()
    if connection.execute(statement).rowcount > 0:
        return True
    return bool(connection.execute(select(present)).scalar_one())


def _present(job: JobId, attempt: int) -> Exists:
    """The condition for a job to run in this attempt."""
    return exists().where(
        col(JobRow.id) == job,
        col(JobRow.attempt) == attempt,
        col(JobRow.state) == JobState.RUNNING.value,
    )


def samples(connection: Connection, job: JobId, target: str | None, decoder: Decoder) -> tuple[Sample, ...]:
    """The samples that can be read, in the order in which they were taken."""
    number = col(SampleRow.number)
    found = select(number, col(SampleRow.record)).where(col(SampleRow.job) == job).order_by(number)
    if target is not None:
        found = found.where(col(SampleRow.target) == target)
    read = (decoder.decode_or_none(Sample, text, f"samples {key}") for key, text in connection.execute(found))
    return tuple(sample for sample in read if sample is not None)


def save_result(connection: Connection, result: Result, attempt: int, keep: int) -> bool:
    """Keep a result of a running job's present attempt, and only the newest `keep` of all; whether it was."""
    if not connection.execute(select(_present(result.job, attempt))).scalar_one():
        return False
    number, target = col(ResultRow.number), clean(result.target)
    connection.execute(
        delete(ResultRow).where(col(ResultRow.job) == result.job, col(ResultRow.target) == target)
    )
    values = {"job": result.job, "target": target, "suite": clean(result.suite), "record": encode(result)}
    connection.execute(insert(ResultRow).values(values))
    older = select(number).order_by(number.desc()).offset(keep).limit(-1)
    connection.execute(delete(ResultRow).where(number.in_(older)))
    return True


def results(
    connection: Connection, job: JobId | None, suite: str, target: str, limit: int, decoder: Decoder
) -> tuple[Result, ...]:
    """The results that can be read, newest first."""
    number = col(ResultRow.number)
    found = select(number, col(ResultRow.record)).order_by(number.desc()).limit(limit)
    if job is not None:
        found = found.where(col(ResultRow.job) == job)
    if suite:
        found = found.where(col(ResultRow.suite) == suite)
    if target:
        found = found.where(col(ResultRow.target) == target)
    read = (decoder.decode_or_none(Result, text, f"results {key}") for key, text in connection.execute(found))
    return tuple(result for result in read if result is not None)


def save_schedule(connection: Connection, schedule: Schedule) -> None:
    """Keep a schedule."""
    put(connection, ScheduleRow(id=schedule.id, record=encode(schedule)))


def delete_schedule(connection: Connection, schedule: ScheduleId) -> bool:
    """Forget a schedule."""
    return connection.execute(delete(ScheduleRow).where(col(ScheduleRow.id) == schedule)).rowcount > 0


def schedules(connection: Connection, decoder: Decoder) -> tuple[Schedule, ...]:
    """All schedules that can be read, by their ids."""
    rows = connection.execute(select(ScheduleRow).order_by(col(ScheduleRow.id)))
    read = (decoder.decode_or_none(Schedule, row.record, f"schedules {row.id!r}") for row in rows)
    return tuple(schedule for schedule in read if schedule is not None)
