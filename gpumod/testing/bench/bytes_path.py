"""What the gateway's path of bytes adds to a request, beside one sent direct and one through a bare proxy.

One client asks all three in turns, request by request: whatever else the machine does meets all alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import psutil
import uvloop

from gpumod.testing.bench.box import BenchError
from gpumod.testing.bench.bytes_servers import BODY, EVENT, RATE
from gpumod.testing.bench.numbers import Figure, Finding, Goal, compared, in_turns

REQUESTS: Final = 300
"""In each round, to each of the three."""
LARGE: Final = 1_000_000
STREAMS: Final = 32
SECONDS: Final = 3
_PATIENCE = 60.0
_HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: application/json\r\n"
    "Accept-Encoding: identity\r\nConnection: keep-alive\r\nUser-Agent: OpenAI/Python 2\r\n"
    "X-Stainless-Lang: python\r\nX-Stainless-OS: Linux\r\nX-Stainless-Runtime: CPython\r\n"
    "Authorization: Bearer sk-0123456789abcdef\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class _Server:
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class _Times:
    """Of the requests of one round, milliseconds."""

    median: float
    p99: float


def added(rounds: int) -> list[Finding]:
    """Small requests, large ones, and streams."""
    with (
        _server("engine", 0) as engine,
        _server("front", engine.port) as front,
        _server("bare", engine.port) as bare,
    ):
        servers = {"direct": engine, "front": front, "bare": bare}
        small = _rounds(servers, rounds, _small(), REQUESTS)
        large = _rounds(servers, rounds, _large(), REQUESTS // 10)
        ours, other = in_turns(max(1, rounds // 3), lambda: _core(front), lambda: _core(bare))
    streams = f"{STREAMS} streams x {RATE}/s: of a core"
    return [
        _compare("small request", small, "median", Goal(Figure.DIFFERENCE, 0.1)),
        _compare("small request, 99th percentile", small, "p99", Goal(Figure.DIFFERENCE, 0.5)),
        _bare("small request", small, "median"),
        _bare("small request, 99th percentile", small, "p99"),
        _compare("1 MB prompt", large, "median", Goal(Figure.DIFFERENCE, 3.0)),
        _bare("1 MB prompt", large, "median"),
        compared(streams, "%", ours, "a bare proxy", other, Goal(Figure.OURS, 20.0)),
    ]  # fmt: skip


def _compare(name: str, times: dict[str, list[_Times]], figure: str, goal: Goal) -> Finding:
    of = {who: [getattr(one, figure) for one in found] for who, found in times.items()}
    return compared(f"{name} through the gateway", "ms", of["front"], "direct", of["direct"], goal)


def _bare(name: str, times: dict[str, list[_Times]], figure: str) -> Finding:
    of = {who: [getattr(one, figure) for one in found] for who, found in times.items()}
    return compared(f"{name} through a bare proxy", "ms", of["bare"], "direct", of["direct"])


def _small() -> bytes:
    body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":8}'
    return _HEAD.format(len(body)).encode() + body


def _large() -> bytes:
    body = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"word " * (LARGE // 5))
    return _HEAD.format(len(body)).encode() + body


def _rounds(servers: dict[str, _Server], rounds: int, request: bytes, count: int) -> dict[str, list[_Times]]:
    found: dict[str, list[_Times]] = {name: [] for name in servers}
    with contextlib.ExitStack() as stack:
        wires = {name: stack.enter_context(_connect(one.port)) for name, one in servers.items()}
        names = list(wires)
        for _ in range(20):
            for wire in wires.values():
                _ask(wire, request)
        for _ in range(rounds):
            took: dict[str, list[float]] = {name: [] for name in names}
            for number in range(count):
                for at in range(len(names)):
                    name = names[(at + number) % len(names)]
                    took[name].append(_ask(wires[name], request))
            for name, times in took.items():
                times.sort()
                found[name].append(_Times(statistics.median(times), times[int(len(times) * 0.99)]))
    return found


def _connect(port: int) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def _ask(wire: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    wire.sendall(request)
    found = wire.recv(65536)
    while not found.endswith(BODY):
        more = wire.recv(65536)
        if not more:
            raise BenchError(f"an answer ended early: {found[:100]!r}")
        found += more
    return (time.perf_counter() - began) * 1000


class _Reader(asyncio.Protocol):
    """Asks for a stream and counts its events."""

    def __init__(self, count: int, done: asyncio.Future[None]) -> None:
        self._count = count
        self._done = done
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"GET /v1/stream/%d HTTP/1.1\r\nHost: h\r\n\r\n" % self._count)

    def data_received(self, data: bytes) -> None:
        self._count -= data.count(EVENT[-20:])
        self._tail = (self._tail + data)[-5:]
        if self._tail == b"0\r\n\r\n" and not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(BenchError(f"a stream ended early: {exc}"))

    @property
    def missing(self) -> int:
        """How many events did not come."""
        return self._count


def _core(server: _Server) -> float:
    """How much of a core a server uses for the streams, percent."""
    process = psutil.Process(server.pid)
    before, began = process.cpu_times(), time.monotonic()
    uvloop.run(_streams(server.port))
    after, took = process.cpu_times(), time.monotonic() - began
    return (after.user + after.system - before.user - before.system) / took * 100


async def _streams(port: int) -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(STREAMS)]
    readers = []
    for future in futures:
        _, reader = await loop.create_connection(
            lambda future=future: _Reader(RATE * SECONDS, future), "127.0.0.1", port  # type: ignore[misc]
        )  # fmt: skip
        readers.append(reader)
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*futures)
    if missing := sum(reader.missing for reader in readers):
        raise BenchError(f"{missing} events did not come")


@contextlib.contextmanager
def _server(kind: str, engine: int) -> Iterator[_Server]:
    """A server in a process of its own, which ends with its standard input."""
    argv = (sys.executable, "-m", "gpumod.testing.bench.bytes_servers", kind, str(engine))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            said = process.stdout.readline()
            if not said:
                raise BenchError(f"the server {kind} does not start")
            yield _Server(int(said), process.pid)
        finally:
            process.stdin.close()
