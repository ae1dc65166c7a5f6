"""The three servers of the benchmark of the path of bytes, each a process of its own on uvloop.

`engine` answers at once, or streams; `front` is the gateway's front door before it with a door that lets
everything pass; `bare` is the least that a proxy can be, to see what the rest costs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final, cast

import httptools
import uvloop

from gpumod.access.keys import LOCAL
from gpumod.core.names import ServiceId
from gpumod.gateway.exchange import Answer, Dialect, Ending, Head, Passage, Request, Route, Transfer, Waiting
from gpumod.gateway.http.listener import FrontDoor

BODY: Final = b'{"choices":[{"message":{"role":"assistant","content":"Hello!"}}],"usage":{"total_tokens":2}}'
EVENT: Final = b'data: {"choices":[{"delta":{"content":" token"},"index":0}],"object":"chat.chunk"}\n\n'
RATE: Final = 100
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_SMALL = b"%bContent-Length: %d\r\n\r\n%b" % (_JSON, len(BODY), BODY)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
_ROUTE = Route("chat", b"/v1/chat/completions", Dialect.OPENAI, generates=True)
_SERVICE = ServiceId("engine")


class _Engine(asyncio.Protocol):
    """Answers each request when its body is there. A path that ends with a number asks for so many events."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        events = self._url.rpartition(b"/")[2]
        if events.isdigit():
            self._transport.write(_STREAM)
            loop = asyncio.get_running_loop()
            self._send(loop.time(), int(events))
        else:
            self._transport.write(_SMALL)

    def _send(self, when: float, left: int) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(_CHUNK)
        asyncio.get_running_loop().call_at(when + 1 / RATE, self._send, when + 1 / RATE, left - 1)


class _Open:
    """A door that lets everything pass to one port."""

    def __init__(self, port: int) -> None:
        self._port = port

    def mine(self, path: bytes) -> bool:
        return path.startswith(b"/v1")

    def judge(self, head: Head) -> Request | Answer:
        return Request(head.method, head.path, head.query, head.headers, LOCAL, _ROUTE, head.received)

    def open(self, request: Request) -> Passage | Answer | Waiting:
        return Passage(_SERVICE, self._port, 1, request.path, request.body)

    def again(self, request: Request, passage: Passage) -> Passage | Answer | Waiting:
        del request, passage
        return Answer(503, b"")

    def failed(self, request: Request, ending: Ending) -> Answer:
        del request, ending
        return Answer(503, b"")

    def finished(self, request: Request, passage: Passage, transfer: Transfer) -> None: ...

    def failed_event(self, request: Request, answer: Answer) -> bytes:
        del request, answer
        return b""

    def keep_alive(self, request: Request) -> bytes:
        del request
        return b":\n\n"

    def subscribe(self, on_change: Callable[[], None]) -> None: ...

    def current(self, service: ServiceId, generation: int) -> bool:
        del service, generation
        return True

    def gone(self, service: ServiceId, generation: int) -> bool:
        del service, generation
        return False


class _Bare(asyncio.Protocol):
    """A proxy without keys, bounds, pool or retries: one connection to the engine for one of a client's."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._engine: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._engine is not None:
            self._engine.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%b: %b" % header for header in self._headers]
        request = b"\r\n".join([*lines, b"", b"".join(self._body)])
        self._headers, self._body = [], []
        if self._engine is not None:
            self._engine.write(request)
        else:
            self._task = asyncio.ensure_future(self._connect(request))

    async def _connect(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._engine, _ = await loop.create_connection(lambda: _Back(self), "127.0.0.1", self._port)
        self._engine.write(request)


class _Back(asyncio.Protocol):
    """The bare proxy's side to the engine."""

    def __init__(self, front: _Bare) -> None:
        self._front = front

    def data_received(self, data: bytes) -> None:
        self._front.transport.write(data)


async def _serve(kind: str, engine: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    loop = asyncio.get_running_loop()
    if kind == "front":
        await FrontDoor(_Open(engine)).listen(listener)
    elif kind == "bare":
        await loop.create_server(lambda: _Bare(engine), sock=listener)
    else:
        await loop.create_server(_Engine, sock=listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
