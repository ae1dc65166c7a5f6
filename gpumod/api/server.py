"""Serving the application: uvicorn without its signal handling and its idle polling."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Sequence

    from fastapi import FastAPI

    from gpumod.api.context import Context

_GRACE = 5.0
"""Seconds for requests to finish once the server is told to stop."""


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, stop: asyncio.Event, context: Context, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
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
    grace: float = _GRACE,
) -> None:
    """Serve on bound sockets, TCP and Unix alike, until `stop` is set; then finish what is under way.

    The sockets are closed at the end. `on_started` is called once requests are answered. After `grace`
    seconds, requests that have not finished are broken off; switches never are.
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
    await _Server(config, stop, app.state.context, on_started).serve(list(sockets))
