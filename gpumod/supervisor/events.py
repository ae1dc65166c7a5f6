"""The event bus: numbered by the store, followed by any number of readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gpumod.core.errors import StoreError
from gpumod.core.events import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gpumod.core.ports import Clock, Store

_log = logging.getLogger(__name__)
_BACKLOG = 1000
"""Events that a reader may fall behind before it is cut off; it can resume by number."""


class _News(NamedTuple):
    """An event for those who listen now. One that the disk could not keep has the last one's number."""

    event: Event
    kept: bool = True


_Reader: TypeAlias = "asyncio.Queue[_News | None]"


class EventBus:
    """Implements the `Events` port.

    Publishing only queues: one task gives each event its number in the store and hands it on.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._queue: asyncio.Queue[tuple[float, EventKind, str, str, Mapping[str, object]] | None] = (
            asyncio.Queue()
        )
        self._readers: set[_Reader] = set()
        self._recent: deque[Event] = deque(maxlen=_BACKLOG)
        self._last = 0
        self.trouble = ""
        """Why the last event could not be kept; empty when it was."""
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to number and hand on events."""
        self._task = asyncio.create_task(self._pump(), name="events")

    def publish(self, kind: EventKind, subject: str, message: str, **data: object) -> None:
        """Tell everyone, the daemon's log included; never blocks and never raises."""
        if kind is not EventKind.STEP:
            _log.info("%s", message)
        if not self._closed:
            self._queue.put_nowait((self._clock.now(), kind, str(subject), message, data))

    async def flush(self) -> None:
        """Wait until everything published so far was handed on."""
        await self._queue.join()

    async def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after a number (None: only new ones), then those to come.

        Ends when the bus closes or when the reader has fallen too far behind.
        """
        reader: _Reader = asyncio.Queue(_BACKLOG)
        self._readers.add(reader)
        seen = self._last if after is None else after
        try:
            if after is not None:
                while page := await self._since(seen):
                    for event in page:
                        seen = event.seq
                        yield event
            while not self._closed or not reader.empty():
                news = await reader.get()
                if news is None:
                    return
                if news.event.seq > seen or not news.kept:
                    seen = max(seen, news.event.seq)
                    yield news.event
        finally:
            self._readers.discard(reader)

    async def close(self) -> None:
        """Hand on what is queued, then end all readers."""
        if self._closed:
            return
        self._closed = True
        self._queue.put_nowait(None)
        if self._task is not None:
            await self._task
        for reader in tuple(self._readers):
            self._end(reader)

    async def _since(self, after: int) -> tuple[Event, ...]:
        if self._recent and self._recent[0].seq <= after + 1:
            return tuple(event for event in self._recent if event.seq > after)
        return await self._store.events(after)

    async def _pump(self) -> None:
        while (item := await self._queue.get()) is not None:
            at, kind, subject, message, data = item
            try:
                news = _News(await self._store.append_event(at, kind, subject, message, data))
                self.trouble = ""
            except StoreError as error:
                self.trouble = error.detail
                _log.error("event not kept (%s): %s", error.detail, message)
                news = _News(Event(self._last, at, kind, subject, message, data), kept=False)
            self._hand_on(news)
            self._queue.task_done()
        self._queue.task_done()

    def _hand_on(self, news: _News) -> None:
        self._last = max(self._last, news.event.seq)
        if news.kept:
            self._recent.append(news.event)
        for reader in tuple(self._readers):
            try:
                reader.put_nowait(news)
            except asyncio.QueueFull:
                self._readers.discard(reader)
                self._end(reader)

    @staticmethod
    def _end(reader: _Reader) -> None:
        with contextlib.suppress(asyncio.QueueEmpty):
            while reader.full():
                reader.get_nowait()
        reader.put_nowait(None)
