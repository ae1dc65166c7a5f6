"""Statements on the queue of jobs. Each change is one statement that names what it expects to find."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    inspect,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import aliased
from sqlmodel import col

from gpumod.core.job import JobId, JobPhase, JobRecord, JobState, Progress, Window
from gpumod.core.names import LeaseId
from gpumod.core.service import Desired
from gpumod.store.codec import Decoder, clean, encode
from gpumod.store.tables import JobRow, JobWaitRow, SampleRow
from gpumod.store.windows import window_open

_PHASES = {phase.value: phase for phase in JobPhase}
_LIVE = (JobState.QUEUED.value, JobState.RUNNING.value)
_BAD = (JobState.FAILED.value, JobState.CANCELLED.value)

_table = inspect(JobRow).local_table
_number, _id, _state = col(JobRow.number), col(JobRow.id), col(JobRow.state)


@dataclass(frozen=True, slots=True)
class Held:
    """What a job's owner keeps before it changes the box."""

    former: Desired | None = None
    restore: bool = False
    lease: LeaseId | None = None


@dataclass(frozen=True, slots=True)
class Claimant:
    """Whose writes a job takes: those of its present attempt."""

    job: JobId
    owner: str
    attempt: int

    def matches(self) -> ColumnElement[bool]:
        """The condition for it to be the job's owner."""
        return and_(
            _id == self.job,
            col(JobRow.owner) == self.owner,
            col(JobRow.attempt) == self.attempt,
            _state == JobState.RUNNING.value,
        )


def read(row: Row[Any], decoder: Decoder) -> JobRecord | None:
    """The job in a row; None where its record cannot be read."""
    name = f"jobs {row.id!r}"
    record = decoder.decode_or_none(JobRecord, row.record, name)
    if record is None:
        return None
    held = decoder.decode_or_none(Held, row.held, f"{name} held") or Held()
    return replace(
        record,
        state=JobState(row.state),
        attempt=row.attempt,
        owner=row.owner,
        heartbeat=row.heartbeat,
        phase=_PHASES.get(row.phase),
        started=row.started,
        ended=row.ended,
        cancel_asked=bool(row.cancel_asked),
        reason=row.reason,
        progress=decoder.decode_or_none(Progress, row.progress, f"{name} progress") or Progress(),
        former=held.former,
        restore=held.restore,
        lease=held.lease,
    )


def submit(connection: Connection, job: JobRecord, keep: int, decoder: Decoder) -> JobRecord:
    """Keep a new job, or answer the one that has its id, or its dedupe key while it is queued or running."""
    values = {
        **_columns(job),
        "id": job.id,
        "priority": job.request.priority,
        "dedupe": clean(job.request.dedupe),
        "not_before": job.request.not_before,
        "window": None if job.request.window is None else encode(job.request.window),
        "record": encode(job),
    }
    if connection.execute(insert(JobRow).values(values).on_conflict_do_nothing()).rowcount == 0:
        return _twin(connection, job.id, clean(job.request.dedupe), decoder)
    for needed in dict.fromkeys(job.request.after):
        connection.execute(insert(JobWaitRow).values(job=job.id, waits_for=needed))
    fail_waiting(connection, job.created)
    _prune(connection, keep)
    return _present(connection, job.id, decoder)


def _columns(job: JobRecord) -> dict[str, object]:
    return {
        "state": job.state.value,
        "attempt": job.attempt,
        "owner": job.owner,
        "heartbeat": job.heartbeat,
        "phase": job.phase,
        "started": job.started,
        "ended": job.ended,
        "cancel_asked": job.cancel_asked,
        "reason": clean(job.reason),
        "progress": encode(job.progress),
        "held": encode(Held(job.former, job.restore, job.lease)),
    }


def _twin(connection: Connection, job: str, dedupe: str, decoder: Decoder) -> JobRecord:
    same_key = and_(literal(dedupe) != "", col(JobRow.dedupe) == dedupe, _state.in_(_LIVE))
    found = select(_id).where(or_(_id == job, same_key)).order_by((_id == job).desc())
    return _present(connection, connection.execute(found).scalars().first() or job, decoder)


def _present(connection: Connection, job: str, decoder: Decoder) -> JobRecord:
    row = connection.execute(select(_table).where(_id == job)).one()
    return read(row, decoder) or decoder.decode(JobRecord, row.record, f"jobs {job!r}")


def _prune(connection: Connection, keep: int) -> None:
    """Forget all but the newest ended jobs, and those that a queued job waits for."""
    ended = _state.not_in(_LIVE)
    waiting = aliased(JobRow)
    needed = exists().where(
        col(JobWaitRow.waits_for) == _id,
        col(JobWaitRow.job) == waiting.id,
        col(waiting.state) == JobState.QUEUED.value,
    )
    older = select(_number).where(ended).order_by(_number.desc()).offset(keep).limit(-1)
    connection.execute(delete(JobRow).where(_number.in_(older), ~needed))


def fail_waiting(connection: Connection, now: float) -> None:
    """Fail queued jobs that wait for one that will not be done, and those that wait for them, and so on."""
    needed = aliased(JobRow)
    hopeless = (
        select(_id, col(JobWaitRow.waits_for), col(needed.state))
        .join(JobWaitRow, col(JobWaitRow.job) == _id)
        .outerjoin(needed, col(needed.id) == col(JobWaitRow.waits_for))
        .where(_state == JobState.QUEUED.value, or_(col(needed.id).is_(None), col(needed.state).in_(_BAD)))
        # Of several causes the one with the smallest id is written last, and stays.
        .order_by(col(JobWaitRow.waits_for).desc())
    )
    while found := connection.execute(hopeless).all():
        for job, cause, state in found:
            ending = {"failed": "failed", "cancelled": "was cancelled"}.get(state, "is not known")
            reason = f"job {cause}, which has to be done first, {ending}"
            values = {"state": JobState.FAILED.value, "ended": now, "reason": reason}
            connection.execute(update(JobRow).where(_id == job).values(values))


def job(connection: Connection, job: JobId, decoder: Decoder) -> JobRecord | None:
    """One job."""
    row = connection.execute(select(_table).where(_id == job)).first()
    return None if row is None else read(row, decoder)


def jobs(
    connection: Connection, states: Collection[JobState], limit: int, decoder: Decoder
) -> tuple[JobRecord, ...]:
    """The latest jobs that can be read, newest first."""
    found = select(_table).order_by(_number.desc()).limit(limit)
    if states:
        found = found.where(_state.in_([state.value for state in states]))
    records = (read(row, decoder) for row in connection.execute(found))
    return tuple(record for record in records if record is not None)


def claim(connection: Connection, owner: str, now: float, stale: float, decoder: Decoder) -> JobRecord | None:
    """Take the next job. One whose row cannot be read is failed, so that it does not hold up the others."""
    while True:
        row = connection.execute(
            update(JobRow)
            .where(_number == _next(now, stale, _closed(connection, now, decoder)))
            .values(
                state=JobState.RUNNING.value,
                attempt=col(JobRow.attempt) + 1,
                owner=owner,
                heartbeat=now,
                started=func.coalesce(col(JobRow.started), now),
                phase=func.coalesce(col(JobRow.phase), JobPhase.CLAIMED.value),
            )
            .returning(*_table.c)
        ).first()
        if row is None:
            return None
        record = read(row, decoder)
        if record is not None:
            return record
        values = {"state": JobState.FAILED.value, "ended": now, "reason": "its row cannot be read"}
        connection.execute(update(JobRow).where(_id == row.id).values(values))
        fail_waiting(connection, now)


def _next(now: float, stale: float, closed: list[str]) -> Any:
    # The absolute value: after the clock was put back, a job's last heartbeat lies in the future.
    lost = and_(_state == JobState.RUNNING.value, func.abs(now - col(JobRow.heartbeat)) >= stale)
    running, needed = aliased(JobRow), aliased(JobRow)
    free = ~exists().where(col(running.state) == JobState.RUNNING.value)
    unmet = exists().where(
        col(JobWaitRow.job) == _id,
        ~exists()
        .where(col(needed.id) == col(JobWaitRow.waits_for), col(needed.state) == JobState.DONE.value)
        .correlate(JobWaitRow),
    )
    may_begin = and_(
        _state == JobState.QUEUED.value,
        free,
        func.coalesce(col(JobRow.not_before), now) <= now,
        or_(col(JobRow.window).is_(None), col(JobRow.window).not_in(closed)),
        ~unmet,
    )
    order = (case((_state == JobState.RUNNING.value, 0), else_=1), col(JobRow.priority).desc(), _number)
    return (
        select(_number)
        .where(or_(lost, may_begin))
        .order_by(*order)
        .limit(1)
        .correlate(None)
        .scalar_subquery()
    )


def _closed(connection: Connection, now: float, decoder: Decoder) -> list[str]:
    """Those windows of queued jobs in which none may begin now."""
    window = col(JobRow.window)
    queued = select(window).where(_state == JobState.QUEUED.value).distinct()
    texts = [text for text in connection.execute(queued).scalars() if text is not None]
    found = {text: decoder.decode_or_none(Window, text, f"jobs window {text}") for text in texts}
    return [text for text, kept in found.items() if kept is None or not window_open(kept, now)]


def beat(
    connection: Connection,
    claimant: Claimant,
    now: float,
    phase: JobPhase | None,
    progress: Progress | None,
    reason: str | None,
    decoder: Decoder,
) -> JobRecord | None:
    """Keep a sign of life."""
    values: dict[str, object] = {"heartbeat": now}
    if phase is not None:
        values["phase"] = phase.value
    if progress is not None:
        values["progress"] = encode(progress)
    if reason is not None:
        values["reason"] = clean(reason)
    if not _change(connection, claimant.matches(), values):
        return None
    return _present(connection, claimant.job, decoder)


def hold(connection: Connection, claimant: Claimant, held: Held) -> bool:
    """Keep what has to be put back."""
    return _change(connection, claimant.matches(), {"held": encode(held)})


def finish(connection: Connection, claimant: Claimant, state: JobState, now: float, reason: str) -> bool:
    """End a job. A cancelled one keeps the reason that it was cancelled for, unless a new one is given."""
    kept = col(JobRow.reason) if state is JobState.CANCELLED else literal("")
    values = {
        "state": state.value,
        "ended": now,
        "phase": None,
        "reason": clean(reason) if reason else kept,
    }
    done = _change(connection, claimant.matches(), values)
    if done:
        fail_waiting(connection, now)
    return done


def ask_cancel(
    connection: Connection, job_id: JobId, now: float, reason: str, decoder: Decoder
) -> JobRecord | None:
    """End a queued job, or mark a running one; an ended one is left."""
    queued = _state == JobState.QUEUED.value
    values = {
        "state": case((queued, JobState.CANCELLED.value), else_=_state),
        "ended": case((queued, now), else_=col(JobRow.ended)),
        "cancel_asked": True,
        "reason": clean(reason),
    }
    if _change(connection, and_(_id == job_id, _state.in_(_LIVE)), values):
        fail_waiting(connection, now)
    return job(connection, job_id, decoder)


def requeue(
    connection: Connection, job_id: JobId, now: float, decoder: Decoder, *, keep_samples: bool
) -> JobRecord | None:
    """Queue an ended job again, a done one only afresh; where its key lives in another, answer that one."""
    settled = (*_LIVE, JobState.DONE.value) if keep_samples else _LIVE
    row = connection.execute(select(_table).where(_id == job_id, _state.not_in(settled))).first()
    record = None if row is None else read(row, decoder)
    if row is None or record is None:
        return None
    live = select(_id).where(col(JobRow.dedupe) == row.dedupe, _state.in_(_LIVE))
    if row.dedupe and (other := connection.execute(live).scalars().first()):
        return _present(connection, other, decoder)
    if not keep_samples:
        connection.execute(delete(SampleRow).where(col(SampleRow.job) == job_id))
    fresh = JobRecord(
        id=record.id,
        request=record.request,
        state=JobState.QUEUED,
        created=record.created,
        attempt=record.attempt,
        progress=record.progress if keep_samples else Progress(),
    )
    _change(connection, _id == job_id, _columns(fresh))
    fail_waiting(connection, now)
    return _present(connection, job_id, decoder)


def _change(connection: Connection, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    return connection.execute(update(JobRow).where(where).values(values)).rowcount > 0
