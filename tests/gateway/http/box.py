"""A scripted door, scripted engines and a raw client: what the tests of the path of bytes are made of."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from gpumod.access.keys import LOCAL
from gpumod.core.names import ServiceId
from gpumod.gateway.exchange import (
    Answer,
    Dialect,
    Ending,
    Head,
    Passage,
    Request,
    Route,
    Transfer,
    Waiting,
)
from gpumod.gateway.http.guest import ControlFactory
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.listener import FrontDoor

PATIENCE = 60.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing:  a b \r\n\r\nhi"
SERVICE = ServiceId("engine")
ROUTE = Route("chat", b"/v1/chat/completions", Dialect.OPENAI, generates=True)

Opening = Callable[[Request], Passage | Answer | Waiting]


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ScriptedDoor:
    """Everything below /v1 is the gateway's; all goes to one port unless `opening` says otherwise."""

    port: int = 0
    opening: Opening | None = None
    largest: int | None = None
    heads: list[Head] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    retried: list[Passage] = field(default_factory=list)
    on_again: Opening | None = None
    changed: Callable[[], None] = lambda: None
    generation: int = 1
    refused: Answer | None = None

    def mine(self, path: bytes) -> bool:
        return path.startswith(b"/v1")

    def judge(self, head: Head) -> Request | Answer:
        self.heads.append(head)
        if self.refused is not None:
            return self.refused
        if self.largest is not None and (head.content_length or 0) > self.largest:
            return Answer(413, b'{"too":"large"}', close=True)
        stream = b"stream" in head.query
        return Request(
            head.method, head.path, head.query, head.headers, LOCAL, ROUTE, head.received,
            upgrade=head.upgrade, stream=stream,
        )  # fmt: skip

    def open(self, request: Request) -> Passage | Answer | Waiting:
        self.requests.append(request)
        if request.path == b"/v1/own":
            return Answer(200, b"own:" + request.body)
        if self.opening is not None:
            return self.opening(request)
        return self.passage(request)

    def passage(self, request: Request, port: int | None = None) -> Passage:
        return Passage(
            SERVICE,
            port or self.port,
            self.generation,
            request.path,
            request.body,
            ((b"x-engine-key", b"k"),),
        )

    def again(self, request: Request, passage: Passage) -> Passage | Answer | Waiting:
        self.retried.append(passage)
        if self.on_again is not None:
            return self.on_again(request)
        return Answer(503, b'{"error":"gone"}', ((b"retry-after", b"1"),))

    def finished(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        self.transfers.append(transfer)

    def failed(self, request: Request, ending: Ending) -> Answer:
        return Answer(503, b'{"error":"%b"}' % ending.encode())

    def failed_event(self, request: Request, answer: Answer) -> bytes:
        return b"event: error\ndata: %d %b\n\ndata: [DONE]\n\n" % (answer.status, answer.body)

    def keep_alive(self, request: Request) -> bytes:
        return b": waiting\n\n"

    def subscribe(self, on_change: Callable[[], None]) -> None:
        self.changed = on_change

    def current(self, service: ServiceId, generation: int) -> bool:
        return generation == self.generation

    def gone(self, service: ServiceId, generation: int) -> bool:
        return generation != self.generation

    async def ended(self, count: int = 1) -> Transfer:
        """Wait until so many passages have ended; the last one."""
        await until(lambda: len(self.transfers) >= count)
        return self.transfers[count - 1]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


class Wire:
    """A raw connection, either end: bytes out, bytes in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(end)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything until the other end closes."""
        found = bytearray()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    found += data
        return bytes(found)

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
        """One whole answer with a length or in chunks."""
        head = await self.until(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        status = int(first.split()[1])
        if bodiless or status in {101, 204, 304} or 100 <= status < 200:
            body = b""
        elif b"content-length" in headers:
            body = await self.exactly(int(headers[b"content-length"]))
        elif b"transfer-encoding" in headers:
            body = await self.chunks()
        else:
            body = await self.rest()
        return status, headers, body

    async def chunk(self) -> bytes:
        size = int(await self.until(b"\r\n"), 16)
        return (await self.exactly(size + 2))[:-2]

    async def chunks(self) -> bytes:
        found = bytearray()
        while part := await self.chunk():
            found += part
        return bytes(found)

    def pause(self) -> None:
        """Read nothing, as a slow client does."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def resume(self) -> None:
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


Play = Callable[[Wire], Awaitable[None]]


class Engine:
    """Plays a script on each connection, and closes it at its end."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.port = 0
        self.made = 0
        self.seen: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        wire = Wire(reader, writer)
        try:
            await self._play(wire)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._running.discard(task)
            await wire.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()


async def request_of(wire: Wire) -> tuple[bytes, bytes]:
    """A request as an engine gets it: head and body."""
    head = await wire.reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await wire.reader.readexactly(length)


def always(answer: bytes) -> Play:
    """Gives the same answer to each request."""

    async def play(wire: Wire) -> None:
        while True:
            await request_of(wire)
            await wire.send(answer)

    return play


def once(answer: bytes) -> Play:
    """Gives an answer to the first request and closes."""

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(answer)

    return play


@dataclass
class Box:
    """A front door with its scripted surroundings."""

    door: ScriptedDoor
    front: FrontDoor
    port: int
    clock: Clock
    engine: Engine

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Wire]:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield wire
        finally:
            await wire.close()

    async def ask(self, request: bytes, *, bodiless: bool = False) -> tuple[int, dict[bytes, bytes], bytes]:
        async with self.client() as wire:
            await wire.send(request)
            return await wire.answer(bodiless=bodiless)

    async def says(self, request: bytes) -> bytes:
        """All that comes back until the gateway closes."""
        async with self.client() as wire:
            await wire.send(request)
            return await wire.rest()

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.front.sweep()


@contextlib.asynccontextmanager
async def gateway(
    play: Play | None = None,  # without it the engine answers all with OK
    *,
    limits: Limits | None = None,
    control: ControlFactory | None = None,
    opening: Opening | None = None,
) -> AsyncIterator[Box]:
    """A front door on a port, before one engine that plays a script."""
    engine = Engine(play or always(OK))
    await engine.start()
    clock = Clock()
    door = ScriptedDoor(port=engine.port, opening=opening)
    front = FrontDoor(door, control=control, limits=limits, clock=clock)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await front.listen(listener)
    try:
        yield Box(door, front, port, clock, engine)
    finally:
        await front.close()
        await engine.stop()


def get(path: str = "/v1/x", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


def post(body: bytes, path: str = "/v1/x", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def post_chunks(parts: list[bytes], path: str = "/v1/x") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
