"""Engines that fail, and the connections kept to them."""

import asyncio

import pytest

from gpumod.gateway.exchange import Ending, Passage
from gpumod.gateway.http.framing import Chunks, MalformedError
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.upstream import EngineConnection
from tests.gateway.http.box import OK, SERVICE, Wire, always, gateway, get, once, post, request_of, until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HINTED = b"HTTP/1.1 103 Early Hints\r\nL: l\r\n\r\n" + SIZED
EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize("answer", [CHUNKED, SIZED, HINTED, EVENTS])
async def test_cut_at_any_byte_an_answer_is_whole_or_definitely_not(answer: bytes):
    """A client gets a retryable error, or an error event, or sees that what it got is not whole."""
    cut = 0

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(answer[:cut])

    async with gateway(play) as box:
        for cut in range(len(answer)):
            found = await box.says(post(b"x", "/v1/x", "Connection: close"))
            if found.startswith(b"HTTP/1.1 103"):
                found = found[found.index(b"\r\n\r\n") + 4 :]
            _check_cut(found, answer, cut)
        assert [one.ending for one in box.door.transfers] == [Ending.BROKEN] * (len(answer) - 1)
        assert len(box.door.retried) == 1


def _check_cut(found: bytes, answer: bytes, cut: int) -> None:
    head, _, body = found.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 503"):
        assert body == (b'{"error":"broken"}' if cut else b'{"error":"gone"}')
        return
    assert head.startswith(b"HTTP/1.1 200")
    if b"chunked" not in head:
        assert len(body) < 5
        return
    chunks, whole = Chunks(), Chunks()
    chunks.feed(body)
    whole.feed(answer.partition(b"\r\n\r\n")[2])
    payload, expected = b"".join(chunks.parts), b"".join(whole.parts)
    if chunks.done:
        assert b"event-stream" in head
        payload, error, end = payload.partition(b"event: error")
        assert error + end == b'event: error\ndata: 503 {"error":"broken"}\n\ndata: [DONE]\n\n'
        assert payload in {b"", b"data: 1\n\n", b"data: 1\n\ndata: 2\n\n"}
    assert expected.startswith(payload)


async def test_a_stream_that_breaks_between_events_ends_with_an_error_event():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(EVENTS[: EVENTS.index(b"9\r\ndata: 2")])

    async with gateway(play) as box, box.client() as wire:
        await wire.send(post(b"x"))
        assert (await wire.answer())[2] == (
            b'data: 1\n\nevent: error\ndata: 503 {"error":"broken"}\n\ndata: [DONE]\n\n'
        )
        await wire.send(get("/v1/own"))
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000,
    ],
)
async def test_what_is_no_answer_becomes_a_definite_error(answer: bytes):
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(answer)
        await wire.rest()

    async with gateway(play, limits=Limits(answer_head=4000)) as box:
        assert (await box.ask(post(b"x")))[::2] == (503, b'{"error":"broken"}')
        assert box.door.transfers[0].ending is Ending.BROKEN


async def test_an_engine_that_takes_no_connection_is_tried_where_the_door_says():
    async with gateway(always(OK)) as box:
        port = box.door.port
        box.door.opening = lambda request: box.door.passage(request, 1)  # nobody listens there
        box.door.on_again = lambda request: box.door.passage(request, port)
        assert (await box.ask(post(b"x")))[2] == b"hi"
        assert [one.port for one in box.door.retried] == [1]
        box.door.on_again = None
        assert (await box.ask(post(b"x")))[:1] == (503,)


async def test_a_door_that_knows_no_end_of_trying_finds_one():
    async with gateway(once(b""), limits=Limits(tries=4)) as box:
        box.door.on_again = box.door.passage
        assert (await box.ask(post(b"x")))[::2] == (503, b'{"error":"unreachable"}')
        assert box.engine.made == 4


async def test_a_kept_connection_that_was_dead_is_no_failure():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(OK)
        await wire.reader.read(1)  # the next request: closed without a word

    async with gateway(play) as box, box.client() as wire:
        for _ in range(3):
            await wire.send(post(b"x"))
            assert (await wire.answer())[0] == 200
        assert box.engine.made == 3
        assert not box.door.retried


async def test_a_fresh_connection_that_dies_too_is_the_doors_business():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        if box.engine.made == 1:
            await wire.send(OK)
            await wire.reader.read(1)

    async with gateway(play) as box, box.client() as wire:
        await wire.send(post(b"x"))
        assert (await wire.answer())[0] == 200
        await wire.send(post(b"x"))
        assert (await wire.answer())[0] == 503
        assert len(box.door.retried) == 1


async def test_a_silent_engine_ends_in_a_definite_error():
    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.rest()

    async with gateway(play) as box, box.client() as wire:
        await wire.send(post(b"x"))
        await until(lambda: box.engine.made == 1)
        await asyncio.sleep(0.02)
        box.pass_time(box.front.limits.engine_silence - 1)
        box.pass_time(1)
        assert (await wire.answer())[::2] == (503, b'{"error":"stalled"}')
        assert box.door.transfers[0].ending is Ending.STALLED


async def test_idle_connections_to_what_has_gone_are_closed_at_once():
    closed = asyncio.Event()

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(OK)
        assert await wire.rest() == b""
        closed.set()

    async with gateway(play) as box:
        await box.ask(post(b"x"))
        assert box.front.pool.idle == 1
        box.door.changed()
        assert box.front.pool.idle == 1  # it is still of use
        box.door.generation = 2
        box.door.changed()
        assert box.front.pool.idle == 0
        async with asyncio.timeout(60):
            await closed.wait()


async def test_a_busy_connection_to_what_has_gone_is_closed_after_its_answer():
    go, closed = asyncio.Event(), asyncio.Event()

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await go.wait()
        await wire.send(OK)
        assert await wire.rest() == b""
        closed.set()

    async with gateway(play) as box, box.client() as wire:
        await wire.send(post(b"x"))
        await until(lambda: box.engine.made == 1)
        box.door.generation = 2
        box.door.changed()
        go.set()
        assert (await wire.answer())[0] == 200
        async with asyncio.timeout(60):
            await closed.wait()


async def test_few_connections_are_kept_and_not_for_long():
    gate = asyncio.Event()

    async def play(wire: Wire) -> None:
        while True:
            await request_of(wire)
            await gate.wait()
            await wire.send(OK)

    async with gateway(play) as box:
        asked = [asyncio.create_task(box.ask(post(b"x"))) for _ in range(10)]
        await until(lambda: box.engine.made == 10)
        gate.set()
        await asyncio.gather(*asked)
        assert box.front.pool.idle == box.front.limits.pooled
        box.pass_time(box.front.limits.pooled_time)
        assert box.front.pool.idle == 0


async def test_an_answer_before_the_whole_request_was_sent_closes_the_connection_to_the_engine():
    async def play(wire: Wire) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)

    async with gateway(play) as box:
        assert (await box.ask(post(bytes(30_000_000))))[0] == 413
        assert box.front.pool.idle == 0


def test_chunks_say_where_they_end():
    body = b"3\r\nabc\r\n0\r\n\r\n"
    chunks = Chunks()
    assert chunks.feed(body + b"GET") == len(body)
    assert (chunks.done, chunks.parts, chunks.plain) == (True, [b"abc"], True)
    with pytest.raises(MalformedError):
        Chunks().feed(b"-3\r\n")


async def test_a_connection_that_is_given_up_as_it_is_made_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    connected: list[EngineConnection | None] = []
    made = EngineConnection.connection_made

    def give_up(self: EngineConnection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        task.cancel()

    async with gateway() as box:
        monkeypatch.setattr(EngineConnection, "connection_made", give_up)
        task = box.front.pool.connect(Passage(SERVICE, box.engine.port, 1, b"/", b""), connected.append)
        await asyncio.wait({task})
        assert task.cancelled()
        assert connected == []
        box.door.generation = 2
        box.door.changed()  # asks nothing of a transport that is closed
