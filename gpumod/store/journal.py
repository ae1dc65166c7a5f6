"""Jobs on the journal: switches and their steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, RowMapping, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col

from gpumod.core.names import ModeId, SwitchId
from gpumod.core.service import Desired
from gpumod.core.switch import Phase, StepRecord, SwitchRecord, SwitchRequest, SwitchState
from gpumod.store import records
from gpumod.store.codec import Decoder, encode
from gpumod.store.tables import StepRow, SwitchRow

_OPEN = tuple(state.value for state in SwitchState if not state.ended)
_SWITCHES = select(SwitchRow)


def begin_switch(connection: Connection, record: SwitchRecord, keep: int, decoder: Decoder) -> None:
    """Open a switch with its planned steps; keep the newest `keep` switches.

    One switch runs at a time: an older one that still is open could not be ended at its time, and is ended
    here, or the next daemon would take it up again.
    """
    for stale in _open_switches(connection, decoder):
        if stale.id != record.id:
            reason = stale.reason or f"its end was never recorded; {record.id} came after it"
            update_switch(
                connection, replace(stale, state=SwitchState.FAILED, ended=record.started, reason=reason)
            )
    update_switch(connection, record)
    connection.execute(delete(StepRow).where(col(StepRow.switch) == record.id))
    for step in record.steps:
        write_step(connection, record.id, step)
    number = col(SwitchRow.number)
    older = select(number).order_by(number.desc()).offset(keep).limit(-1)
    connection.execute(delete(SwitchRow).where(number.in_(older)))


def update_switch(connection: Connection, record: SwitchRecord) -> None:
    """Write the switch's own fields. One that could not be begun for want of disk is written now."""
    own = {
        "state": record.state.value,
        "source": record.source,
        "target": record.target,
        "started": record.started,
        "record": encode(replace(record, steps=())),
    }
    statement = insert(SwitchRow).values(id=record.id, **own)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=own))


def commit_switch(connection: Connection, record: SwitchRecord, desired: Desired) -> None:
    """End a switch and set the desired state; the caller's transaction makes it one act."""
    update_switch(connection, record)
    records.save_desired(connection, desired)


def write_step(connection: Connection, switch: SwitchId, step: StepRecord) -> None:
    """Write a step's state."""
    row = StepRow(
        switch=switch,
        phase=step.phase.value,
        index=step.index,
        state=step.state.value,
        record=encode(step),
    )
    records.put(connection, row)


def open_switch(connection: Connection, decoder: Decoder) -> SwitchRecord | None:
    """The latest switch that has not ended, with its steps."""
    found = _open_switches(connection, decoder)
    return _with_steps(connection, found[-1], decoder) if found else None


def switch(connection: Connection, switch: SwitchId, decoder: Decoder) -> SwitchRecord | None:
    """One switch with its steps."""
    row = connection.execute(_SWITCHES.where(col(SwitchRow.id) == switch)).mappings().first()
    return None if row is None else _with_steps(connection, _switch(row, decoder), decoder)


def switches(connection: Connection, limit: int, decoder: Decoder) -> tuple[SwitchRecord, ...]:
    """The latest switches, newest first."""
    rows = connection.execute(_SWITCHES.order_by(col(SwitchRow.number).desc()).limit(limit)).mappings()
    return tuple(_switch(row, decoder) for row in rows)


def _open_switches(connection: Connection, decoder: Decoder) -> list[SwitchRecord]:
    rows = connection.execute(
        _SWITCHES.where(col(SwitchRow.state).in_(_OPEN)).order_by(col(SwitchRow.number))
    )
    return [_switch(row, decoder) for row in rows.mappings()]


def _switch(row: RowMapping, decoder: Decoder) -> SwitchRecord:
    """The record; what the columns alone tell where its JSON cannot be read, since recovery depends on it."""
    record = decoder.decode_or_none(SwitchRecord, row["record"], f"switches {row['id']!r}")
    return record or SwitchRecord(
        id=SwitchId(row["id"]),
        request=SwitchRequest(mode=ModeId(row["target"])),
        source=ModeId(row["source"]),
        target=ModeId(row["target"]),
        state=SwitchState(row["state"]),
        started=row["started"],
        reason="its record cannot be read",
    )


def _with_steps(connection: Connection, record: SwitchRecord, decoder: Decoder) -> SwitchRecord:
    chosen = select(col(StepRow.phase), col(StepRow.index), col(StepRow.record))
    rows = connection.execute(chosen.where(col(StepRow.switch) == record.id))
    found: Iterable[StepRecord | None] = [
        decoder.decode_or_none(StepRecord, text, f"steps {record.id!r} {phase} {index}")
        for phase, index, text in rows
    ]
    phases = list(Phase)
    steps = sorted((step for step in found if step), key=lambda step: (phases.index(step.phase), step.index))
    return replace(record, steps=tuple(steps))
