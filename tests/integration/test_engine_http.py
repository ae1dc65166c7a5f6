"""The HTTP client of engines against servers that behave badly."""

import asyncio
import contextlib
import sys

import pytest

from gpumod.core.ports import Readiness
from gpumod.engines import http
from gpumod.engines.probing import readiness
from gpumod.engines.programs import output
from gpumod.testing.ports import free_port


@contextlib.asynccontextmanager
async def server(answer: bytes | None, *, pieces: int = 1):
    """A server that gives each connection this answer and closes; None: it never answers."""
    handlers: set[asyncio.Future[None]] = set()

    async def handle(reader, writer):
        handlers.update(filter(None, [asyncio.current_task()]))
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await asyncio.sleep(60)
            size = max(1, len(answer or b"") // pieces)
            for start in range(0, len(answer or b""), size):
                writer.write((answer or b"")[start : start + size])
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
async def test_answers_of_every_framing(answer, pieces):
    async with server(answer, pieces=pieces) as port:
        assert await http.get(port, "/", 30) == http.Answer(200, b"hello")


async def test_nobody_listens():
    with pytest.raises(http.ClosedError):
        await http.get(free_port(), "/", 30)


async def test_a_connection_that_is_cut_before_an_answer():
    async with server(b"") as port:
        with pytest.raises(http.ClosedError):
            await http.get(port, "/", 30)


async def test_a_cut_body_is_no_answer():
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello") as port:
        with pytest.raises(http.ClosedError):
            await http.get(port, "/", 30)


async def test_what_is_not_http():
    async with server(b"SSH-2.0-OpenSSH\r\n\r\n") as port:
        with pytest.raises(http.EngineHttpError, match="not HTTP"):
            await http.get(port, "/", 30)


async def test_a_server_that_never_answers():
    async with server(None) as port:
        with pytest.raises(http.EngineHttpError, match=r"within 0\.2 s"):
            await http.get(port, "/", 0.2)


async def test_an_endless_answer_is_cut():
    async with server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (http.LIMIT + 1)) as port:
        with pytest.raises(http.EngineHttpError, match="longer"):
            await http.get(port, "/", 30)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 NF\r\nContent-Length: 0\r\n\r\n", Readiness.ERROR),
        (b"HTTP/1.1 503 SU\r\nContent-Length: 0\r\n\r\n", Readiness.LOADING),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", Readiness.WRONG_MODEL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{{{", Readiness.WRONG_MODEL),
        (b"", Readiness.CLOSED),
        (b"nonsense", Readiness.ERROR),
        (None, Readiness.ERROR),
    ],
)
async def test_whatever_answers_a_probe_never_raises_and_is_never_ready(answer, expected):
    async with server(answer) as port:
        bound = 0.2 if answer is None else 60
        assert (await readiness(port, "chat", bound)).readiness is expected


async def test_a_dead_engine_core_is_not_loading():
    async with server(b"HTTP/1.1 503 SU\r\nContent-Length: 0\r\n\r\n") as port:
        assert (await readiness(port, "chat", 60, loading=())).readiness is Readiness.ERROR


async def test_it_works_on_the_daemons_event_loop():
    """In a process of its own: uvloop keeps two descriptors for the life of a process."""
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as port:
        code = f"import uvloop, gpumod.engines.http as h; print(uvloop.run(h.get({port}, '/', 30)).text)"
        assert await output((sys.executable, "-c", code), seconds=60) == (0, "ok\n")
