"""The front door: makes a connection's protocol, watches deadlines, and ends everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gpumod.gateway.exchange import Door
from gpumod.gateway.http.connection import ClientConnection
from gpumod.gateway.http.guest import ControlFactory
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.upstream import Pool

_BACKLOG = 1024
# A service manager that made the socket goes on listening on it: its file has to stay.
_KEEP_SOCKET: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


def _notice_the_vanished(listener: socket.socket, seconds: int) -> None:
    """Have the system ask silent clients whether they are there; accepted connections inherit it (tcp(7)).

    Else an engine would work for nobody, and a silent websocket would count as a request for ever.
    """
    probes = 4
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, seconds // 2))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 2 // probes))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)


class FrontDoor:
    """All connections of clients; called, it makes the protocol for a new one.

    Args:
        door: decides about requests.
        control: makes a protocol of uvicorn's for what is not the gateway's; without it that is answered 404.
        clock: monotonic seconds.

    Attributes:
        pool: connections to engines.
        kept: bytes of bodies that are kept for requests under way.
        draining: whether each answer is the last one of its connection.
    """

    def __init__(
        self,
        door: Door,
        *,
        control: ControlFactory | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.door = door
        self.control = control
        self.limits = limits or Limits()
        self.clock = clock
        self.pool = Pool(door, self.limits, clock)
        self.draining = False
        self.kept = 0
        self._connections: set[ClientConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def __call__(self) -> ClientConnection:
        """A protocol for a new connection."""
        return ClientConnection(self)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def listen(self, listener: socket.socket) -> None:
        """Serve on a bound socket, TCP or Unix; it is closed with `stop_accepting`."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(self, sock=listener, backlog=_BACKLOG, **_KEEP_SOCKET)
        else:
            _notice_the_vanished(listener, self.limits.vanished)
            server = await loop.create_server(self, sock=listener, backlog=_BACKLOG)
        self._servers.append(server)

    def made(self, connection: ClientConnection) -> None:
        """A connection is there."""
        self._connections.add(connection)
        self._empty.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick, self._tick)

    def lost(self, connection: ClientConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _tick(self) -> None:
        self._timer = None
        self.sweep()
        if self._connections or self.pool.idle:
            self._timer = asyncio.get_running_loop().call_later(self.limits.tick, self._tick)

    def sweep(self) -> None:
        """Attend to every deadline that has come. One timer for all: a request sets none."""
        now = self.clock()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.overdue(now)
        self.pool.sweep(now)

    def stop_accepting(self) -> None:
        """Take no new connections."""
        for server in self._servers:
            server.close()

    def wind_down(self) -> None:
        """Close what is idle; each answer under way is the last one of its connection."""
        self.draining = True
        for connection in list(self._connections):
            connection.drain()

    async def drain(self, deadline: float) -> int:
        """Let running requests finish, and close what is idle; how many connections are left then."""
        self.wind_down()
        # A time-out is told by the number that is returned.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), max(0.0, deadline - self.clock()))
        return len(self._connections)

    def break_off(self) -> None:
        """Tell all whose answers are not whole that they end here; their connections then close."""
        self.wind_down()
        for connection in list(self._connections):
            connection.break_off()

    def abort(self) -> None:
        """Cut everything at once."""
        for connection in list(self._connections):
            connection.cut_off()
        self.pool.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Stop accepting, cut what is left, and wait until all of it is gone."""
        self.stop_accepting()
        self.abort()
        await self._empty.wait()
        await self.pool.closed()
        for server in self._servers:
            await server.wait_closed()
