"""Server-sent events: heartbeats, resuming, slow readers, and an end when the daemon stops.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from gpumod.api.problems import problem
from gpumod.core.errors import TooManyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from gpumod.api.deps import Limits

MEDIA_TYPE: Final = "text/event-stream"
# No blank line after these: some readers would take it for the end of an empty event.
_RETRY: Final = b"retry: 1000\n"
_HEARTBEAT: Final = b": still here\n"
_log = logging.getLogger(__name__)


def event(id_: int | None, data: bytes) -> bytes:
    """One event as it is written. Data may have several lines."""
    # A lone carriage return ends a line of the stream, as progress bars in logs have it.
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    named = b"" if id_ is None else b"id: %d\n" % id_
    return named + b"\n".join(b"data: " + line for line in lines) + b"\n\n"


class Streams:
    """All open streams."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open = 0
        self.closing = asyncio.Event()

    def close(self) -> None:
        """End every stream, and each wait for a switch, soon."""
        self.closing.set()


class EventStream(Response):
    """The answer that a stream is.

    The source's next event is awaited by a task of its own, so that a heartbeat can come first
    without taking the wait back.
    """

    def __init__(self, streams: Streams, source: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._streams = streams
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream until the source, the reader or the daemon ends."""
        if self._streams.open >= self._streams.limits.streams:
            error = TooManyError(f"{self._streams.open} streams are open already: close some")
            await problem(error)(scope, receive, send)
            return
        self._streams.open += 1
        ends = (asyncio.create_task(_gone(receive)), asyncio.create_task(self._streams.closing.wait()))
        writer = asyncio.create_task(self._write(send))
        try:
            await asyncio.wait({writer, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if self._streams.closing.is_set():
                await asyncio.wait({writer}, timeout=1)
        finally:
            self._streams.open -= 1
            await _stop(writer, *ends)

    async def _write(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await self._put(send, _RETRY)
            await self._copy(send)
        except TimeoutError:
            _log.warning("a reader of a stream took nothing for %g s; cut off", self._streams.limits.stalled)
            return
        except Exception:  # noqa: BLE001 - a reader needs an end, whatever broke
            _log.exception("what a stream reads from failed; its reader may resume")
        await self._put(send, b"", more=False)

    async def _copy(self, send: Send) -> None:
        closing = asyncio.create_task(self._streams.closing.wait())
        upcoming: asyncio.Task[bytes] | None = None
        try:
            while not self._streams.closing.is_set():
                upcoming = upcoming or asyncio.create_task(_next(self._source))
                await asyncio.wait(
                    {upcoming, closing},
                    timeout=self._streams.limits.heartbeat,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if upcoming.done():
                    chunk, upcoming = upcoming.result(), None
                    if not chunk:
                        return
                    await self._put(send, chunk)
                elif not closing.done():
                    await self._put(send, _HEARTBEAT)
        finally:
            await _stop(closing, *([upcoming] if upcoming else []))
            if close := getattr(self._source, "aclose", None):
                await close()

    async def _put(self, send: Send, chunk: bytes, *, more: bool = True) -> None:
        """Write; the server makes us wait while the reader does not take it."""
        async with asyncio.timeout(self._streams.limits.stalled):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _next(source: AsyncIterator[bytes]) -> bytes:
    """The next chunk; empty at the end."""
    return await anext(source, b"")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            _log.error("a stream broke", exc_info=result)
