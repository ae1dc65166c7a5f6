"""Connections to engines: kept while they are of use, by service, generation and port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from gpumod.core.names import ServiceId
from gpumod.gateway.exchange import Door, Passage
from gpumod.gateway.http.heads import AnswerHeads
from gpumod.gateway.http.limits import Limits

_HOST = "127.0.0.1"
_Key = tuple[ServiceId, int, int]


class Listener(Protocol):
    """Who uses a connection to an engine, for one request."""

    def answered(self, data: bytes) -> None:
        """Bytes of the engine's answer."""
        ...

    def lost(self, error: Exception | None) -> None:
        """The engine has closed the connection, or it broke."""
        ...

    def engine_full(self) -> None:
        """The engine takes no more for now."""
        ...

    def engine_ready(self) -> None:
        """The engine takes bytes again."""
        ...


class EngineConnection(asyncio.Protocol):
    """One connection to an engine; it belongs to the pool, or to who took it."""

    __slots__ = ("_gone", "_orphan", "_pool", "heads", "idle_since", "key", "transport", "user")

    transport: asyncio.Transport

    def __init__(self, pool: Pool, key: _Key) -> None:
        self._pool = pool
        self.key = key
        self.user: Listener | None = None
        self.idle_since = 0.0
        self.heads = AnswerHeads(pool.limits)
        self._gone = False
        self._orphan = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        if self.user is not None:
            self.user.answered(data)
        else:
            self.transport.abort()  # nobody asked

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        user, self.user = self.user, None
        if user is not None:
            user.lost(exc)
        self._pool.lost(self)

    def pause_writing(self) -> None:
        if self.user is not None:
            self.user.engine_full()

    def resume_writing(self) -> None:
        if self.user is not None:
            self.user.engine_ready()

    @property
    def usable(self) -> bool:
        """Whether another request can be sent: it is open, and the last one was taken whole."""
        return self._open and not self.transport.get_write_buffer_size()

    @property
    def _open(self) -> bool:
        """Whether anything may be asked of the transport; uvloop's raise once their handle is closed."""
        return not self._gone and not self.transport.is_closing()

    def pause_reading(self) -> None:
        """Let the engine wait with what it sends, unless it is gone."""
        if not self._orphan and self._open:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the engine sends."""
        if self._open:
            self.transport.resume_reading()

    def orphan(self) -> None:
        """The engine is gone: read what it has left in the system's buffer, however slow the client is.

        Else the request would seem to be inside the engine's next attempt until its client has read on.
        """
        self._orphan = True
        self.resume_reading()

    def cut(self) -> None:
        """Close at once. Its user hears nothing of it: an engine that reads of it stops generating."""
        self.user = None
        self.transport.abort()


class Pool:
    """Keeps idle connections, and makes new ones.

    Args:
        door: knows which generations are of use.
        clock: monotonic seconds.
    """

    def __init__(self, door: Door, limits: Limits, clock: Callable[[], float]) -> None:
        self._door = door
        self.limits = limits
        self._clock = clock
        self._idle: dict[_Key, list[EngineConnection]] = {}
        self._open: dict[_Key, set[EngineConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._closed = False
        door.subscribe(self._changed)

    @property
    def idle(self) -> int:
        """How many idle connections are kept."""
        return sum(map(len, self._idle.values()))

    def take(self, passage: Passage) -> EngineConnection | None:
        """An idle connection to where a passage goes, the one used last; None where there is none."""
        idle = self._idle.get((passage.service, passage.generation, passage.port))
        while idle:
            one = idle.pop()
            if one.usable:
                return one
            one.transport.abort()
        return None

    def connect(
        self, passage: Passage, on_connected: Callable[[EngineConnection | None], None]
    ) -> asyncio.Task[None]:
        """Make a connection; `on_connected` gets None if the engine takes none."""
        key = (passage.service, passage.generation, passage.port)
        task = asyncio.get_running_loop().create_task(self._connect(key, on_connected))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    async def _connect(self, key: _Key, on_connected: Callable[[EngineConnection | None], None]) -> None:
        loop = asyncio.get_running_loop()
        made: EngineConnection | None = None
        try:
            async with asyncio.timeout(self.limits.connect_time):
                _, made = await loop.create_connection(lambda: EngineConnection(self, key), _HOST, key[2])
        except (OSError, TimeoutError):
            made = None
        if made is not None:
            # Not before: uvloop tells nobody of a connection that is lost because its making was cancelled.
            self._open.setdefault(key, set()).add(made)
        on_connected(made)

    def release(self, one: EngineConnection, *, keep: bool) -> None:
        """Give back a connection after its answer was read whole; `keep` is what the engine said."""
        one.user = None
        idle = self._idle.setdefault(one.key, [])
        wanted = keep and not self._closed and len(idle) < self.limits.pooled
        if wanted and one.usable and self._door.current(one.key[0], one.key[1]):
            one.idle_since = self._clock()
            idle.append(one)
        else:
            one.transport.close()

    def lost(self, one: EngineConnection) -> None:
        """A connection is gone."""
        same = self._open.get(one.key)
        if same is not None:
            same.discard(one)
            if not same:
                del self._open[one.key]
        idle = self._idle.get(one.key)
        if idle and one in idle:
            idle.remove(one)

    def _changed(self) -> None:
        for key in [key for key in self._idle if not self._door.current(key[0], key[1])]:
            for one in self._idle.pop(key):
                one.transport.close()
        for key in [key for key in self._open if self._door.gone(key[0], key[1])]:
            for one in tuple(self._open[key]):
                one.orphan()

    def sweep(self, now: float) -> None:
        """Close what was idle for too long."""
        before = now - self.limits.pooled_time
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= before:
                idle.pop(0).transport.close()
            if not idle:
                del self._idle[key]

    def close(self) -> None:
        """Close idle connections and stop making new ones; those in use are closed after their answer."""
        self._closed = True
        for task in self._connecting:
            task.cancel()
        for idle in self._idle.values():
            for one in idle:
                one.transport.close()
        self._idle.clear()

    async def closed(self) -> None:
        """Wait until nothing is being made any more."""
        await asyncio.gather(*self._connecting, return_exceptions=True)
