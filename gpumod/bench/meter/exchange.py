"""One request on one connection, read as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from gpumod.bench.meter.answer import Answer, NoAnswerError
from gpumod.bench.meter.sse import EventStream, EventTooLongError
from gpumod.engines.http import Answer as PlainAnswer

LIMIT: Final = 64 * 1024 * 1024
"""Bytes of an answer that does not stream."""


class Exchange(asyncio.Protocol):
    """Sends one request and reads its answer; `ended` is done when there is nothing more to come.

    One connection per request: llama.cpp notices that a client has gone by its connection, and a kept one
    would hide that.

    Args:
        request: head and body.
        now: the monotonic clock, asked once per socket read, before anything else is done with what was read.
        heard: called after each read that brought a part of a streamed answer.
    """

    def __init__(
        self,
        request: bytes,
        now: Callable[[], float],
        *,
        stream: bool,
        heard: Callable[[], None] | None = None,
    ) -> None:
        self.answer = Answer()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: float | None = None
        self.headers: float | None = None
        self.status: int | None = None
        self.failure = ""
        self.finished: float | None = None
        self._request = request
        self._now = now
        self._stream = stream
        self._heard = heard
        self._events = EventStream()
        self._body = bytearray()
        self._ends_with_connection = True
        self._at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    @property
    def complaint(self) -> str:
        """What the body of an error answer says."""
        return PlainAnswer(self.status or 0, bytes(self._body)).complaint

    def abort(self) -> None:
        """Close the socket now, whatever is still under way: the server shall notice."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, why: str) -> None:
        """End it, unless it has ended."""
        if self.finished is None:
            self.failure = why
            self._end(self._now())

    # --- asyncio's and httptools' callbacks ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of another family.
        self._transport = cast("asyncio.Transport", transport)
        self.sent = self._now()
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._at = self._now()
        if self.finished is not None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__ or error
            self.fail(f"the answer cannot be read: {cause}")
        except httptools.HttpParserError as error:
            self.fail(f"the answer is not HTTP: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._ends_with_connection = False
        elif name == b"content-type" and not value.lower().startswith(b"text/event-stream"):
            self._stream = False

    def on_headers_complete(self) -> None:
        self.headers = self._at
        self.status = self._parser.get_status_code()
        self._stream = self._stream and self.status < 300

    def on_body(self, body: bytes) -> None:
        if not self._stream:
            self._body += body
            if len(self._body) > LIMIT:
                raise EventTooLongError(f"it is longer than {LIMIT} bytes")
            return
        for data in self._events.feed(body):
            self.answer.event(data, self._at)
        if self._heard is not None and self.answer.chunks and self.answer.chunks[-1] == self._at:
            self._heard()
        if (self.answer.done or self.answer.error) and self.finished is None:
            self._end(self._at)  # whether or not the server closes the connection

    def on_message_complete(self) -> None:
        if self.status is not None and self.status >= 200 and self.finished is None:
            if not self._stream and self.status < 300:
                self.answer.document(bytes(self._body))
            self._end(self._at)

    def connection_lost(self, exc: Exception | None) -> None:
        self._at = self._now()
        if exc is None and self.headers is not None and self._ends_with_connection:
            try:
                self.on_message_complete()
            except NoAnswerError as error:
                self.fail(f"the answer cannot be read: {error}")
        self.fail("the connection was closed" if exc is None else str(exc))

    def _end(self, at: float) -> None:
        self.finished = at
        if not self.ended.done():  # whoever waits for it may have been cancelled, and it with them
            self.ended.set_result(None)


def place(url: str) -> tuple[str, int, str]:
    """Host, port and path of an endpoint's root.

    Raises:
        ValueError: it is no URL of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is no http:// URL")
    return parts.hostname, parts.port or 80, parts.path.rstrip("/")
