"""The API as it is served: real sockets, streams, and the end of the daemon."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from gpumod.access import AccessRules, Key, Scope, digest
from gpumod.access.rules import API
from gpumod.api import Limits, serve
from gpumod.core.events import EventKind
from gpumod.testing.fake_daemon import build
from gpumod.testing.switching import FakeBox

KEYS = AccessRules(keys=(Key("ops", digest("s3cret"), frozenset({Scope.CONTROL})),))


@dataclass
class Served:
    box: FakeBox
    port: int
    path: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    def tcp(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60)

    def unix(self) -> httpx2.AsyncClient:
        transport = httpx2.AsyncHTTPTransport(uds=self.path)
        return httpx2.AsyncClient(transport=transport, base_url="http://gpumod", timeout=60)


@contextlib.asynccontextmanager
async def serving(folder: Path, **more: object) -> AsyncIterator[Served]:
    tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    path = str(folder / "s")
    unix.bind(path)
    box, stop, started = FakeBox(), asyncio.Event(), asyncio.Event()
    port = tcp.getsockname()[1]
    task = asyncio.create_task(serve(build(box, **more), [tcp, unix], stop, on_started=started.set, grace=1))
    try:
        async with asyncio.timeout(60):
            await started.wait()
            yield Served(box, port, path, stop, task)
            stop.set()
            await task
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        await box.close()


async def lines(response: httpx2.Response, count: int) -> list[str]:
    """The first lines of a stream that are not empty."""
    found: list[str] = []
    async for line in response.aiter_lines():
        if line:
            found.append(line)
        if len(found) == count:
            break
    return found


async def test_keys_are_for_tcp_and_the_socket_is_guarded_by_its_mode(tmp_path: Path) -> None:
    async with serving(tmp_path, access=KEYS) as served, served.tcp() as tcp, served.unix() as unix:
        assert (await tcp.get(f"{API}/status")).status_code == 401
        assert (await unix.get(f"{API}/status")).status_code == 200
        done = await unix.post(f"{API}/switches", json={"mode": "chat", "wait": True})
        assert done.json()["request"]["by"] == "socket"


async def test_a_header_cannot_say_that_a_request_came_another_way(tmp_path: Path) -> None:
    forged = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Forwarded-Proto": "https"}
    async with serving(tmp_path, access=KEYS) as served, served.tcp() as tcp:
        assert (await tcp.get(f"{API}/status", headers=forged)).status_code == 401


async def test_events_arrive_as_they_happen_and_a_broken_stream_is_taken_up_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.tcp() as client:
        async with client.stream("GET", f"{API}/events", params={"after": 0}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            served.box.events.publish(EventKind.DAEMON, "daemon", "first")
            first = await lines(response, 3)
        assert first[:2] == ["retry: 1000", "id: 1"]
        assert '"message":"first"' in first[2]
        for number in range(2, 5):
            served.box.events.publish(EventKind.DAEMON, "daemon", f"number {number}")
        async with client.stream("GET", f"{API}/events", headers={"Last-Event-ID": "2"}) as response:
            assert [line for line in await lines(response, 5) if line.startswith("id")] == ["id: 3", "id: 4"]


async def test_a_log_is_followed_from_where_it_was_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.unix() as client:
        await served.box.write_log("embed", "one")
        url = f"{API}/services/embed/logs"
        async with client.stream("GET", url, params={"follow": "true", "lines": 5}) as response:
            assert await lines(response, 2) == ["retry: 1000", "data: one"]
        await served.box.write_log("embed", "two")
        async with client.stream("GET", url, headers={"Last-Event-ID": "4"}) as response:
            assert await lines(response, 3) == ["retry: 1000", "id: 8", "data: two"]


async def test_a_reader_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.tcp() as client:
        async with client.stream("GET", f"{API}/events", params={"after": 0}) as response:
            served.box.events.publish(EventKind.DAEMON, "daemon", "first")
            await lines(response, 3)
            assert served.box.events.readers == 1
        while served.box.events.readers:  # noqa: ASYNC110 - bounded by the fixture
            await asyncio.sleep(0.01)


async def test_a_reader_that_does_not_read_is_cut_off_and_holds_nobody_up(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=Limits(stalled=0.2)) as served, served.tcp() as client:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        writer.write(f"GET {API}/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(500):
            served.box.events.publish(EventKind.DAEMON, "daemon", "x" * 50_000)
        while not served.box.events.readers:  # noqa: ASYNC110 - bounded by the fixture
            await asyncio.sleep(0.01)
        assert (await client.get(f"{API}/leases")).status_code == 200
        while served.box.events.readers:  # noqa: ASYNC110 - bounded by the fixture
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize("path", [f"{API}/events?after=0", f"{API}/services/embed/logs?follow=true"])
async def test_streams_end_with_the_daemon(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as served, served.tcp() as client:
        await served.box.write_log("embed", "one")
        async with client.stream("GET", path) as response:
            served.stop.set()
            received = [line async for line in response.aiter_lines()]
        assert received[0] == "retry: 1000"
        await served.task


async def test_a_wait_for_a_switch_ends_with_the_daemon_and_the_switch_does_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.tcp() as client:
        served.box.step_seconds = 3600
        waiting = asyncio.create_task(client.post(f"{API}/switches", json={"mode": "chat", "wait": True}))
        while not served.box.begun:  # noqa: ASYNC110 - bounded by the fixture
            await asyncio.sleep(0.01)
        served.stop.set()
        answer = await waiting
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        await served.task
        assert (await served.box.status()).state == "switching"


async def test_a_call_that_hangs_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.tcp() as client:
        served.box.faults.hang |= {"begin", "status"}
        stuck = [
            asyncio.create_task(client.post(f"{API}/switches", json={"mode": "chat"})),
            asyncio.create_task(client.get(f"{API}/status")),
        ]
        assert (await client.get(f"{API}/modes")).status_code == 200
        served.stop.set()
        await served.task
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_both_lengths_of_a_body_at_once_are_refused(tmp_path: Path) -> None:
    """Two readings of one request are how requests are smuggled."""
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            f"POST {API}/switches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
        )
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert not served.box.begun
