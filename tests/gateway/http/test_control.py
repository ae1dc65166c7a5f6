"""The control plane on the same port, and the end of everything."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gpumod.gateway.exchange import Answer, Ending, Request, Waiting
from gpumod.gateway.http.guest import Control
from gpumod.gateway.http.limits import Limits
from tests.gateway.http.box import Box, Wire, gateway, get, post, post_chunks, request_of, until


class App:
    """An ASGI application of a few routes."""

    def __init__(self) -> None:
        self.gone = 0
        self.go = asyncio.Event()
        self.running = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        headers = []
        body = b""
        self.running += 1
        if path == "/refuse":
            await self._answer(send, 401, [], b"no")
            return
        if path == "/large":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for part in range(300):
                more = part < 299
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": more})
            return
        if path == "/events":
            await self._events(send, receive)
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if path == "/wait":
            await self.go.wait()
        if path == "/close":
            headers = [(b"connection", b"close")]
        await self._answer(send, 200, headers, f"{scope['client'][0]} {path} {len(body)}".encode())

    async def _answer(self, send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _events(self, send: Any, receive: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await receive()
        await receive()
        self.gone += 1


class Plane:
    """Makes uvicorn's protocols, as the daemon does."""

    def __init__(self) -> None:
        self.app = App()
        self.state = ServerState()
        self.config = uvicorn.Config(
            self.app, http="httptools", ws="none", lifespan="off", timeout_keep_alive=1
        )
        self.config.load()

    def __call__(self) -> Control:
        return HttpToolsProtocol(self.config, self.state, {})


@contextlib.asynccontextmanager
async def both(**more: Any) -> AsyncIterator[tuple[Box, Plane]]:
    control = Plane()
    async with gateway(control=control, **more) as box:
        yield box, control
        control.app.go.set()
        await box.front.close()
        await until(lambda: not control.state.tasks)
        assert not control.state.connections


async def test_both_planes_answer_on_one_connection():
    async with both() as (box, _), box.client() as wire:
        for _ in range(3):
            await wire.send(post(b"x" * 10, "/control"))
            assert (await wire.answer())[2] == b"127.0.0.1 /control 10"
            await wire.send(post_chunks([b"a", b"bc"], "/control"))
            assert (await wire.answer())[2] == b"127.0.0.1 /control 3"
            await wire.send(post(b"x"))
            assert (await wire.answer())[2] == b"hi"


async def test_pipelined_requests_for_both_planes_are_answered_in_order():
    async with both() as (box, _), box.client() as wire:
        sent = [
            post(b"a", "/control"), get("/v1/own"), post_chunks([b"abc"], "/control"), get(), get("/control"),
            post(b"abc", "/v1/own"),
        ]  # fmt: skip
        wire.writer.write(b"".join(sent) * 50)
        for _ in range(50):
            for expected in (b"/control 1", b"own:", b"/control 3", b"hi", b"/control 0", b"own:abc"):
                assert (await wire.answer())[2].endswith(expected)


async def test_requests_pass_byte_by_byte_to_both_planes():
    async with both() as (box, _), box.client() as wire:
        for byte in post_chunks([b"abc"], "/control") + post(b"a", "/control") + post(b"abc"):
            wire.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.answer())[2] == b"127.0.0.1 /control 3"
        assert (await wire.answer())[2] == b"127.0.0.1 /control 1"
        assert (await wire.answer())[2] == b"hi"


async def test_the_control_planes_idle_timer_cuts_no_request_of_the_gateways():
    waiting: list[Waiting] = []

    def opening(request: Request) -> Waiting:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    async with both(opening=opening) as (box, control), box.client() as wire:
        control.config.timeout_keep_alive = 0
        await wire.send(get("/control"))
        assert (await wire.answer())[0] == 200
        await wire.send(get())
        await until(lambda: bool(waiting))
        await asyncio.sleep(0.02)
        waiting[0].set_result(Answer(200, b"late"))
        assert (await wire.answer())[2] == b"late"


async def test_the_control_plane_may_close_the_connection():
    async with both() as (box, _):
        found = await box.says(get("/close"))
        assert found.startswith(b"HTTP/1.1 200")
        found = await box.says(get("/control", "Connection: close"))
        assert b"connection: close" in found
        assert (await box.says(b"GET /control HTTP/1.0\r\n\r\n")).endswith(b"/control 0")


async def test_an_answer_before_the_body_leaves_no_rest_of_it_behind():
    async with both() as (box, _):
        async with box.client() as wire:
            head, _, body = post(b"a" * 1000, "/refuse").partition(b"\r\n\r\n")
            await wire.send(head + b"\r\n\r\n" + body[:10])
            assert (await wire.answer())[::2] == (401, b"no")
            await wire.send(body[10:] + get("/v1/own"))
            assert (await wire.answer())[2] == b"own:"
        long = post(bytes(100), "/refuse").replace(b"Content-Length: 100", b"Content-Length: 10000000")
        assert (await box.says(long)).endswith(b"no")


async def test_an_offer_of_http_2_is_ignored():
    async with both() as (box, _), box.client() as wire:
        offer = (
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMA",
        )
        for path in ("/control", "/v1/own"):
            await wire.send(post(b"abc", path, *offer))
            assert (await wire.answer())[0] == 200


async def test_the_control_plane_learns_that_a_client_has_gone():
    async with both() as (box, control):
        async with box.client() as wire:
            await wire.send(get("/events"))
            await wire.until(b"one")
        await until(lambda: control.app.gone == 1)


async def test_a_malformed_body_for_the_control_plane_ends_the_connection():
    async with both() as (box, control):
        head = b"POST /control HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert b"200" not in await box.says(head + b"zz\r\n")
        await until(lambda: control.app.gone == 1)


async def test_draining_ends_idle_connections_and_lets_the_others_finish():
    waiting: list[Waiting] = []

    def opening(request: Request) -> Waiting:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    async with (
        both(opening=opening) as (box, control),
        box.client() as idle,
        box.client() as busy,
        box.client() as guest,
        box.client() as slow,
    ):
        await idle.send(get("/v1/own"))
        await idle.answer()
        await busy.send(get() + get("/v1/own"))
        await guest.send(get("/wait"))
        await slow.send(get("/v1/own")[:-2])
        await until(lambda: bool(waiting) and control.app.running == 1 and box.front.connections == 4)
        await asyncio.sleep(0.01)
        box.front.stop_accepting()
        draining = asyncio.create_task(box.front.drain(box.clock.now + 5))
        assert await idle.rest() == b""
        await slow.send(b"\r\n")
        assert b"connection: close" in await slow.rest()
        waiting[0].set_result(Answer(200, b"late"))
        found = await busy.rest()
        assert found.endswith(b"late")
        assert b"connection: close" in found
        control.app.go.set()
        assert b"connection: close" in await guest.rest()
        assert await draining == 0


async def test_draining_tells_who_is_left_and_aborting_ends_them():
    async with both() as (box, control), box.client() as wire:
        await wire.send(get("/wait"))
        await until(lambda: control.app.running == 1)
        assert await box.front.drain(box.clock.now) == 1
        box.front.abort()
        assert await wire.rest() == b""


async def test_who_is_not_done_when_the_server_ends_is_told_so():
    """A stream within its events, one that waits for its head, and a body that only the end can tell of."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    begun = {
        b"a": head + b"Content-Type: text/event-stream\r\n\r\n9\r\ndata: 1\n\n\r\n",
        b"b": b"",
        b"c": head + b"Content-Type: application/json\r\n\r\n1\r\n{\r\n",
    }
    gone = 0

    async def play(wire: Wire) -> None:
        nonlocal gone
        _, body = await request_of(wire)
        await wire.send(begun[body])
        assert await wire.rest() == b""
        gone += 1

    async with gateway(play) as box, box.client() as a, box.client() as b, box.client() as c:
        for wire, name in ((a, b"a"), (b, b"b"), (c, b"c")):
            await wire.send(post(name))
        assert b"data: 1" in await a.until(b"data: 1\n\n\r\n")
        await c.until(b"{\r\n")
        await until(lambda: len(box.door.requests) == 3)
        await asyncio.sleep(0.01)
        box.front.break_off()
        assert b"data: 503" in await a.rest()
        told = await b.rest()
        assert told.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in told
        assert await c.rest() == b"", "its end mark would say that it is whole"
        assert await box.front.drain(box.clock.now) == 0
        await until(lambda: gone == 3)
        assert [transfer.ending for transfer in box.door.transfers] == [Ending.BROKEN] * 3


async def test_a_unix_socket_is_served_too(tmp_path):
    async with gateway() as box:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        await box.front.listen(listener)
        wire = Wire(*await asyncio.open_unix_connection(str(tmp_path / "s")))
        await wire.send(get("/v1/own"))
        assert (await wire.answer())[0] == 200
        assert (box.door.heads[0].unix, box.door.heads[0].peer) == (True, "")
        assert box.door.heads[0].local_host == str(tmp_path / "s")
        await wire.close()
        await box.ask(get("/v1/own"))
        assert (box.door.heads[1].unix, box.door.heads[1].local_host, box.door.heads[1].peer) == (
            False, "127.0.0.1", "127.0.0.1",
        )  # fmt: skip


async def test_a_websocket_is_a_tunnel_both_ways():
    async def play(wire: Wire) -> None:
        head, _ = await request_of(wire)
        assert b"connection: upgrade\r\nupgrade: websocket\r\n" in head
        assert b"sec-websocket-key: k" in head
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n\r\nfirst")
        while data := await wire.reader.read(65536):
            await wire.send(data)

    limits = Limits(engine_silence=10, client_silence=10)
    async with gateway(play, limits=limits) as box:
        async with box.client() as wire:
            await wire.send(
                get("/v1/x", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k")
                + b"0"
            )
            assert await wire.until(b"\r\n\r\n") == (
                b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
                b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
            )
            assert await wire.exactly(6) == b"first0"
            box.pass_time(1000)  # a tunnel may be silent
            data = bytes(range(256)) * 20_000
            wire.writer.write(data)
            assert await wire.exactly(len(data)) == data
        transfer = await box.door.ended()
        assert (transfer.status, transfer.ending) == (101, "ok")


async def test_a_websocket_that_is_refused_is_an_answer_like_others():
    async with gateway() as box, box.client() as wire:
        await wire.send(get("/v1/x", "Connection: Upgrade", "Upgrade: websocket"))
        assert (await wire.answer())[2] == b"hi"
        await wire.send(get())
        assert (await wire.answer())[2] == b"hi"


async def test_the_file_of_a_unix_socket_is_left_to_whoever_made_it(tmp_path):
    async with gateway() as box:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        await box.front.listen(listener)
        box.front.stop_accepting()
        await asyncio.sleep(0)
    assert (tmp_path / "s").exists()


async def test_an_answer_of_the_control_plane_waits_for_its_client_but_not_for_ever():
    async with both() as (box, _), box.client() as wire:
        await wire.send(get("/large") + get("/v1/own"))
        assert len((await wire.answer())[2]) == 30_000_000
        assert (await wire.answer())[2] == b"own:"
        wire.pause()
        await wire.send(get("/large"))
        connection = next(iter(box.front._connections))
        await until(lambda: connection.full)
        box.pass_time(box.front.limits.client_silence)
        await until(lambda: box.front.connections == 0)


UPGRADE = get("/v1/x", "Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


async def test_a_tunnel_holds_back_whoever_sends_too_fast():
    go = asyncio.Event()
    size = 30_000_000

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(SWITCHED)
        wire.pause()
        await go.wait()
        wire.resume()
        await wire.exactly(size)
        await wire.send(bytes(size))

    async with gateway(play) as box, box.client() as wire:
        await wire.send(UPGRADE)
        await wire.until(b"\r\n\r\n")
        wire.writer.write(bytes(size))
        connection = next(iter(box.front._connections))
        await until(lambda: connection._paused)
        await asyncio.sleep(0.02)
        assert wire.writer.transport.get_write_buffer_size() > 0
        go.set()
        assert len(await wire.exactly(size)) == size


async def test_a_tunnel_nobody_reads_from_is_cut_off():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(SWITCHED + bytes(30_000_000))
        await wire.rest()

    async with gateway(play) as box, box.client() as wire:
        await wire.send(UPGRADE)
        await wire.until(b"\r\n\r\n")
        wire.pause()
        connection = next(iter(box.front._connections))
        await until(lambda: connection.full)
        box.pass_time(box.front.limits.client_silence)
        assert (await box.door.ended()).ending == "stalled"
        await until(lambda: box.front.connections == 0)


async def test_an_engine_may_end_a_tunnel():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(SWITCHED + b"bye")

    async with gateway(play) as box, box.client() as wire:
        await wire.send(UPGRADE)
        await wire.until(b"\r\n\r\n")
        assert await wire.rest() == b"bye"
        assert (await box.door.ended()).ending == "ok"
