"""A small HTTP client for engines on loopback.

One request per connection, and no more than is needed for a probe every 5 ms: a GET takes 0.09 to 0.17 ms of
CPU, against 0.3 ms (kept alive) to 0.7 ms of a general client. Connections are not kept because llama.cpp
holds a thread for each, and because a kept one would say nothing about who listens now.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final, cast

import httptools

LIMIT: Final = 4 * 1024 * 1024
"""Largest body that is read. The longest, vLLM's metrics, has some 100 kB."""

_LOOPBACK: Final = "127.0.0.1"


class EngineHttpError(Exception):
    """No complete answer: the message says why, in a few words."""


class ClosedError(EngineHttpError):
    """Nothing listens, or the connection was ended before an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes

    def json(self) -> object:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """What an error answer says, in one short line."""
        document = self.json()
        if isinstance(document, dict):
            error = document.get("error", document)
            if isinstance(error, dict):
                error = error.get("message", error)
            return f"{self.status}: {error}"[:300]
        return f"{self.status}: {self.text.strip()}"[:300] if self.body else str(self.status)


async def get(port: int, path: str, timeout: float) -> Answer:
    """GET a path of the engine on that port.

    Raises:
        ClosedError: nobody listens, or the connection was cut before an answer.
        EngineHttpError: no answer in time, or none that is HTTP.
    """
    return await _exchange(port, _head("GET", path, port) + b"\r\n", timeout)


async def post(port: int, path: str, document: object, timeout: float) -> Answer:
    """POST a JSON document.

    Raises:
        ClosedError, EngineHttpError: as `get`.
    """
    body = json.dumps(document).encode()
    head = _head("POST", path, port) + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    return await _exchange(port, head + body, timeout)


def _head(method: str, path: str, port: int) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {_LOOPBACK}:{port}\r\nConnection: close\r\n".encode()


async def _exchange(port: int, request: bytes, timeout: float) -> Answer:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(timeout):
            transport, _ = await loop.create_connection(lambda: _Exchange(request, answered), _LOOPBACK, port)
            return await answered
    except TimeoutError as error:
        raise EngineHttpError(f"no answer within {timeout:g} s") from error
    except OSError as error:
        raise ClosedError(error.strerror or str(error)) from error
    finally:
        if transport is not None:
            # Not close(): what could not be sent to an engine that hangs must not keep the socket.
            transport.abort()
        if answered.done() and not answered.cancelled():
            answered.exception()  # looked at, also where the time ran out in the same moment


class _Exchange(asyncio.Protocol):
    """Sends the request and parses one answer, whichever way its length is told."""

    def __init__(self, request: bytes, answered: asyncio.Future[Answer]) -> None:
        self._request = request
        self._answered = answered
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._headers_complete = False
        self._ends_with_connection = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are of another family.
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._fail(EngineHttpError(f"the answer is not HTTP: {error}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        del value
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > LIMIT:
            self._fail(EngineHttpError(f"the answer is longer than {LIMIT} bytes"))

    def on_message_complete(self) -> None:
        if not self._answered.done():
            self._answered.set_result(Answer(self._parser.get_status_code(), bytes(self._body)))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._headers_complete and self._ends_with_connection:
            self.on_message_complete()
        self._fail(ClosedError("the connection was closed before an answer" if exc is None else str(exc)))

    def _fail(self, error: EngineHttpError) -> None:
        if not self._answered.done():
            self._answered.set_exception(error)
