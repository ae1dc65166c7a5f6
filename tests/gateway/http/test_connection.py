"""Several requests on one connection: pipelining, bounds of what is kept, and clients that go away."""

import asyncio
import gc
import socket

import pytest

from gpumod.gateway.exchange import Answer, Ending, Waiting
from gpumod.gateway.http.limits import Limits
from tests.gateway.http.box import OK, Wire, always, gateway, get, once, post, request_of, until

LONG = post(b"a" * 4000, "/v1/own")


async def test_hundreds_of_pipelined_requests_are_answered_in_order():
    async def play(wire: Wire) -> None:
        while True:
            _, body = await request_of(wire)
            await asyncio.sleep(0)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with gateway(play) as box, box.client() as wire:
        sent = b"".join(
            post(b"%d" % number, "/v1/own" if number % 3 else "/v1/x") for number in range(600)
        )  # fmt: skip
        wire.writer.write(sent)
        for number in range(600):
            body = (await wire.answer())[2]
            assert body == (b"own:%d" if number % 3 else b"%d") % number
        assert box.engine.made == 1


async def test_what_is_pipelined_behind_a_running_request_is_bounded():
    waiting: list[Waiting] = []

    def opening(request):
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    limits = Limits(pipelined=10_000)
    async with gateway(limits=limits, opening=opening) as box, box.client() as wire:
        await wire.send(get())
        await until(lambda: bool(waiting))
        wire.writer.write(LONG * 5000)  # 20 MB: more than sockets hold
        connection = next(iter(box.front._connections))
        await until(lambda: connection._paused)
        await asyncio.sleep(0.05)
        assert len(connection._buffer) < 10_000 + 256 * 1024
        assert wire.writer.transport.get_write_buffer_size() > 0
        waiting[0].set_result(Answer(200, b"first"))
        assert (await wire.answer())[2] == b"first"
        for _ in range(300):
            assert (await wire.answer())[2].startswith(b"own:")
        wire.writer.transport.abort()


async def test_a_client_that_pipelines_and_does_not_read_fills_nothing():
    async with gateway() as box, box.client() as wire:
        wire.pause()
        wire.writer.write(LONG * 5000)
        connection = await _only(box)
        await until(lambda: connection.full and connection._paused)
        await asyncio.sleep(0.05)
        assert connection.transport.get_write_buffer_size() < 128 * 1024
        assert len(connection._buffer) < 512 * 1024
        wire.resume()
        for _ in range(300):
            assert (await wire.answer())[2].startswith(b"own:")
        wire.writer.transport.abort()


async def test_an_answer_nobody_reads_stops_the_engine_and_not_the_memory():
    sent = 0

    async def play(wire: Wire) -> None:
        nonlocal sent
        await request_of(wire)
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        part = b"10000\r\n" + bytes(65536) + b"\r\n"
        for _ in range(400):
            await wire.send(part)
            sent += 1
        await wire.send(b"0\r\n\r\n")

    async with gateway(play) as box, box.client() as wire:
        wire.pause()
        await wire.send(get())
        connection = await _only(box)
        await until(lambda: connection.full)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert connection.transport.get_write_buffer_size() < 512 * 1024
        assert sent < 300  # the rest is not even generated
        wire.resume()
        assert len((await wire.answer())[2]) == 65536 * 400
        assert (await box.door.ended()).ending is Ending.OK


async def test_a_client_that_reads_nothing_for_too_long_is_cut_off():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        await wire.send(bytes(100_000_000))

    async with gateway(play) as box, box.client() as wire:
        wire.pause()
        await wire.send(get())
        connection = await _only(box)
        await until(lambda: connection.full)
        box.pass_time(box.front.limits.client_silence - 1)
        assert not box.door.transfers
        box.pass_time(1)
        assert (await box.door.ended()).ending is Ending.STALLED
        await until(lambda: box.front.connections == 0)


async def test_a_client_that_goes_away_ends_the_generation_at_once():
    closed = asyncio.Event()

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert await wire.rest() == b""
        closed.set()

    async with gateway(play) as box:
        async with box.client() as wire:
            await wire.send(get())
            await wire.until(b"\r\na\r\n")
        async with asyncio.timeout(60):
            await closed.wait()
        transfer = await box.door.ended()
        assert (transfer.ending, transfer.received) == (Ending.CLIENT_GONE, 1)


async def test_a_client_that_goes_away_before_the_answer_ends_the_generation_too():
    closed = asyncio.Event()

    async def play(wire: Wire) -> None:
        await request_of(wire)
        assert await wire.rest() == b""
        closed.set()

    async with gateway(play) as box:
        async with box.client() as wire:
            await wire.send(get())
            await until(lambda: bool(box.engine.made))
        async with asyncio.timeout(60):
            await closed.wait()
        assert (await box.door.ended()).ending is Ending.CLIENT_GONE


async def test_the_system_asks_silent_clients_whether_they_are_there():
    async with gateway(limits=Limits(vanished=80)) as box, box.client():
        await until(lambda: box.front.connections == 1)
        (connection,) = box.front._connections
        real = connection.transport.get_extra_info("socket")
        assert real.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [real.getsockopt(socket.IPPROTO_TCP, one) for one in options] == [40, 10, 4]


async def test_requests_for_nobody_get_404():
    async with gateway(always(OK)) as box, box.client() as wire:
        await wire.send(post(b"abc", "/other"))
        assert (await wire.answer())[0] == 404
        await wire.send(get())
        assert (await wire.answer())[0] == 200


async def test_the_target_may_be_absolute():
    async with gateway() as box:
        for target in ("http://h:1/v1/x?q=1", "http://h/v1/x?q=1#f"):
            assert (await box.ask(get(target)))[0] == 200
        assert (await box.ask(get("http://h")))[0] == 404
        assert [(one.path, one.query) for one in box.door.heads] == [(b"/v1/x", b"q=1")] * 2


async def _only(box):
    await until(lambda: box.front.connections == 1)
    return next(iter(box.front._connections))


@pytest.mark.parametrize("method", ["mine", "judge", "open"])
async def test_a_door_that_fails_is_answered_for(method: str, monkeypatch):
    async with gateway() as box:
        with monkeypatch.context() as patch:
            patch.setattr(box.door, method, _fail)
            assert (await box.ask(post(b"x")))[0] == 500
        assert (await box.ask(post(b"x")))[0] == 200


async def test_a_door_that_cannot_end_a_request_keeps_nobody_waiting(monkeypatch):
    async with gateway() as box, box.client() as wire:
        monkeypatch.setattr(box.door, "finished", _fail)
        for _ in range(2):
            await wire.send(post(b"x"))
            assert (await wire.answer())[0] == 200


async def test_a_door_that_cannot_place_a_request_anew_is_answered_for(monkeypatch):
    async with gateway(once(b"")) as box:
        monkeypatch.setattr(box.door, "again", _fail)
        assert (await box.ask(post(b"x")))[::2] == (503, b'{"error":"unreachable"}')


def _fail(*_):
    raise RuntimeError("a bug")


async def test_requests_leave_nothing_for_the_collector_of_cycles():
    """It would stop the loop for as long as the daemon has objects."""
    async with gateway() as box:
        async with box.client() as wire:
            gc.collect()
            gc.disable()
            try:
                for _ in range(30):
                    await wire.send(post(b"x"))
                    await wire.answer()
                for _ in range(5):
                    await box.ask(get("/v1/x", "Connection: close"))
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                left = [one for one in gc.garbage if type(one).__module__.startswith("gpumod.gateway")]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
        assert not left
