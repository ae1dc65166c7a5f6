"""Events: those that wait are written in one transaction, so that they never hold up the journal."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col

from gpumod.core.errors import StoreError
from gpumod.core.events import Event
from gpumod.store.codec import Decoder, clean, encode
from gpumod.store.tables import EventRow
from gpumod.store.worker import Worker

_GROUP = 32
"""Events in one transaction at most: what a step of the journal may have to wait for."""
_INSERT = insert(EventRow).inline()


class _New(NamedTuple):
    """An event without a number, and its JSON."""

    event: Event
    record: str


class EventLog:
    """Gathers the events that wait for the writer, and has it write them group by group, in order."""

    def __init__(self, writer: Worker, keep: int, decoder: Decoder) -> None:
        self._writer = writer
        self._keep = keep
        self._decoder = decoder
        self._waiting: deque[tuple[_New, asyncio.Future[Event]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def append(self, event: Event) -> Event:
        """Keep an event; the answer has its number, and its data as they will be read back.

        Raises:
            StoreError: it could not be written.
        """
        new = _New(event, encode(event))
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.append((new, waiter))
        if self._task is None:
            self._task = asyncio.create_task(self._write_groups(), name="store-events")
        return await waiter

    async def drain(self) -> None:
        """Return once everything that waits was written, or could not be."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _write_groups(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
                await self._write([event for event, _ in group], [waiter for _, waiter in group])
        finally:
            self._task = None

    async def _write(self, events: list[_New], waiters: list[asyncio.Future[Event]]) -> None:
        written: list[Event] = []
        failure: StoreError | None = None
        try:
            written = await self._writer.run_lightly(_append, events, self._keep, self._decoder)
        except StoreError as error:
            failure = error
        finally:
            for place, waiter in enumerate(waiters):
                if waiter.done():
                    continue
                if written:
                    waiter.set_result(written[place])
                elif failure:
                    waiter.set_exception(StoreError(failure.detail, failure.facts))
                else:
                    waiter.cancel()


def _append(connection: Connection, events: list[_New], keep: int, decoder: Decoder) -> list[Event]:
    written = []
    for event, record in events:
        columns = {
            "at": event.at,
            "kind": event.kind.value,
            "subject": clean(event.subject),
            "record": record,
        }
        seq = connection.execute(_INSERT, columns).lastrowid
        written.append(replace(decoder.decode(Event, record, f"events {seq}"), seq=seq))
    connection.execute(delete(EventRow).where(col(EventRow.seq) <= written[-1].seq - keep))
    return written


def events(connection: Connection, after: int, limit: int, decoder: Decoder) -> tuple[Event, ...]:
    """Events with a larger number that can be read, oldest first."""
    number = col(EventRow.seq)
    rows = connection.execute(
        select(number, col(EventRow.record)).where(number > after).order_by(number).limit(limit)
    )
    found = ((seq, decoder.decode_or_none(Event, text, f"events {seq}")) for seq, text in rows)
    return tuple(replace(event, seq=seq) for seq, event in found if event is not None)
