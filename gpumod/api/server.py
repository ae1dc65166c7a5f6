"""Serving the application: uvicorn without its signal handling and its idle polling."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from fastapi import FastAPI
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from gpumod.api.context import Context

    Listen = Callable[[socket.socket, Callable[[], HttpToolsProtocol]], Awaitable[None]]

_GRACE = 5.0
"""Seconds for requests to finish once the server is told to stop."""


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        stop: asyncio.Event,
        context: Context,
        on_started: Callable[[], None],
        listen: Listen | None,
    ) -> None:
        super().__init__(config)
        self._listen = listen
        self._stop = stop
        self._context = context
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals are the daemon's."""
        yield

    async def main_loop(self) -> None:
        """Wait to be told; the base class looks ten times a second. A tick sets the Date header."""
        self._on_started()
        while not self._stop.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, or have somebody in front listen who hands connections over."""
        if self._listen is None:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            self.should_exit = True
            return
        self.servers = []
        for one in sockets or ():
            await self._listen(one, self._protocol)
        self.started = True

    def _protocol(self) -> HttpToolsProtocol:
        made: HttpToolsProtocol = self.config.http_protocol_class(  # type: ignore[call-arg, assignment]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams first: they would never end by themselves."""
        self._context.streams.close()
        await super().shutdown(sockets)


async def serve(
    app: FastAPI,
    sockets: Sequence[socket.socket],
    stop: asyncio.Event,
    *,
    on_started: Callable[[], None] = lambda: None,
    listen: Listen | None = None,
    grace: float = _GRACE,
) -> None:
    """Serve on bound sockets, TCP and Unix alike, until `stop` is set; then finish what is under way.

    The sockets are closed at the end. `on_started` is called once requests are answered. After `grace`
    seconds, requests that have not finished are broken off; switches never are. `listen` takes a socket, and
    what makes a protocol for a request: whoever stands in front of the application listens in its place.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody may say where a request comes from but the socket it came through.
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    await _Server(config, stop, app.state.context, on_started, listen).serve(list(sockets))
