"""The store: one SQLite file, one thread that writes, one that reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy import Connection

from gpumod import __version__
from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.events import Event, EventKind
from gpumod.core.footprint import Measurement
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId, SwitchId
from gpumod.core.ports import Clock
from gpumod.core.retention import DEFAULT_RETENTION, Retention
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.switch import StepRecord, StepState, SwitchRecord
from gpumod.store import events, journal, records
from gpumod.store.codec import Decoder
from gpumod.store.jobs import SqliteJobStore
from gpumod.store.schema import prepare
from gpumod.store.tables import AnswerRow
from gpumod.store.worker import Access, Worker


async def open_store(
    path: Path, clock: Clock, *, bounds: Bounds = DEFAULT_BOUNDS, retention: Retention = DEFAULT_RETENTION
) -> SqliteStore:
    """Open the store, after creating it or bringing its schema up to date.

    Raises:
        NewerSchemaError: a newer gpumod wrote the file.
        StoreError: the file cannot be used; the sentence says why and what to do.
    """
    store = SqliteStore(path, clock, bounds, retention)
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    return store


class SqliteStore:
    """Implements the `Store` port.

    A write is one transaction and returns once it survives the end of the daemon, and a loss of power where
    it has to: what records an act that was done (a service's state, a step's end, an event) needs no sync of
    its own, since no process outlives the power; what has to be known before an act does. A write is done
    even if the task that waits for it is cancelled. After an error the next call tries again from a new
    connection: a disk that was full works again as soon as there is space.

    Attributes:
        job_store: the jobs in the same file, kept by the same threads.
    """

    def __init__(self, path: Path, clock: Clock, bounds: Bounds, retention: Retention) -> None:
        self._path = path
        self._clock = clock
        self._bounds = bounds
        self._retention = retention
        self._writer = Worker("store-write", path, Access.WRITE, busy=bounds.store_locked)
        self._reader = Worker("store-read", path, Access.READ, busy=bounds.store_locked)
        self._decoder = Decoder(str(path))
        self._events = events.EventLog(self._writer, retention.events, self._decoder)
        self.job_store = SqliteJobStore(self._writer, self._reader, self._decoder, clock, retention)

    async def open(self) -> None:
        """Check the file and its schema; `open_store` calls it once."""
        await self._writer.call(partial(prepare, self._path, busy=self._bounds.store_locked))
        await self._writer.run(records.note_version, __version__)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Sentences about rows that were met and could not be read. They stay in the file as they are."""
        return tuple(self._decoder.unreadable.values())

    async def save_service(self, record: ServiceRecord) -> None:
        """Keep a service's record, in place of the former one."""
        await self._writer.run_lightly(records.save_service, record)

    async def services(self) -> tuple[ServiceRecord, ...]:
        """All records that can be read; the others are logged and named in `unreadable`."""
        return await self._reader.run(records.services, self._decoder)

    async def delete_service(self, service: ServiceId) -> None:
        """Forget a service; its generation counter and sticky port stay."""
        await self._writer.run(records.delete_service, service)

    async def next_generation(self, service: ServiceId) -> int:
        """A number never given before for this service."""
        return await self._writer.run(records.next_generation, service)

    async def sticky_ports(self) -> dict[ServiceId, int]:
        """The ports that services had."""
        return await self._reader.run(records.sticky_ports)

    async def save_port(self, service: ServiceId, port: int) -> None:
        """Remember a service's port."""
        await self._writer.run(records.save_port, service, port)

    async def desired(self) -> Desired | None:
        """What the box should be; the mode without overrides where these cannot be read."""
        return await self._reader.run(records.desired, self._decoder)

    async def save_desired(self, desired: Desired) -> None:
        """Set what the box should be."""
        await self._writer.run(records.save_desired, desired)

    async def begin_switch(self, record: SwitchRecord) -> None:
        """Open a switch with its planned steps; one that was never ended before is failed."""
        await self._writer.run(journal.begin_switch, record, self._retention.switches, self._decoder)

    async def update_switch(self, record: SwitchRecord) -> None:
        """Change the switch's own fields; its steps are left."""
        await self._writer.run(journal.update_switch, record)

    async def commit_switch(self, record: SwitchRecord, desired: Desired) -> None:
        """End a switch and set the desired state in one transaction."""
        await self._writer.run(journal.commit_switch, record, desired)

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        """Write a step's state before or after its act.

        Raises:
            StoreError: also when the switch was never begun.
        """
        ahead = step.state in {StepState.PLANNED, StepState.RUNNING}
        write = self._writer.run if ahead else self._writer.run_lightly
        await write(journal.write_step, switch, step)

    async def open_switch(self) -> SwitchRecord | None:
        """The switch that had not ended, with its steps."""
        return await self._reader.run(journal.open_switch, self._decoder)

    async def switch(self, switch: SwitchId) -> SwitchRecord | None:
        """One switch with its steps."""
        return await self._reader.run(journal.switch, switch, self._decoder)

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first, without steps."""
        return await self._reader.run(journal.switches, limit, self._decoder)

    async def save_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        await self._writer.run(records.save_lease, lease)

    async def delete_lease(self, lease: LeaseId) -> None:
        """Forget a lease."""
        await self._writer.run(records.delete_lease, lease)

    async def leases(self) -> tuple[Lease, ...]:
        """All leases, expired ones included, the one that ends first coming first."""
        return await self._reader.run(records.leases, self._decoder)

    async def add_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        await self._writer.run(records.add_measurement, measurement, self._retention.measurements)

    async def measurements(self) -> tuple[Measurement, ...]:
        """All measurements, oldest first."""
        return await self._reader.run(records.measurements, self._decoder)

    async def append_event(
        self, at: float, kind: EventKind, subject: str, message: str, data: Mapping[str, object]
    ) -> Event:
        """Keep an event and give it its number. The answer's `data` is as JSON keeps it."""
        return await self._events.append(Event(0, at, kind, subject, message, data))

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        return await self._reader.run(events.events, after, limit, self._decoder)

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint of the request, JSON of the answer) kept under an idempotency key."""
        since = self._clock.now() - self._retention.idempotency
        return await self._reader.run(records.idempotent, key, since)

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:
        """Keep an answer under an idempotency key; old ones are dropped after a day."""
        row = AnswerRow(key=key, fingerprint=fingerprint, answer=answer, at=at)
        await self._writer.run(records.save_idempotent, row, at - self._retention.idempotency)

    async def close(self) -> None:
        """Write what was asked for, fold the log into the file, and end the threads."""
        await self._events.drain()
        await self._reader.close()
        await self._writer.close(_checkpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _checkpoint(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
