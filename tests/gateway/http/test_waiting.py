"""Requests that wait for the door, and what a stream is told meanwhile."""

import asyncio
import resource

import pytest

from gpumod.gateway.exchange import Answer, Ending, Request, Waiting
from tests.gateway.http.box import Wire, always, gateway, get, once, post, request_of, until

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STREAM = post(b"x", "/v1/x?stream")
PRELUDE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
COMMENT = b"b\r\n: waiting\n\n\r\n"


class Queue:
    """A door that lets everybody wait."""

    def __init__(self) -> None:
        self.futures: list[Waiting] = []
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Waiting:
        self.requests.append(request)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    async def one(self) -> Waiting:
        await until(lambda: bool(self.futures))
        return self.futures[-1]


async def test_a_request_that_is_no_stream_just_waits():
    queue = Queue()
    async with gateway(opening=queue) as box, box.client() as wire:
        await wire.send(post(b"x"))
        future = await queue.one()
        box.pass_time(3000)
        future.set_result(box.door.passage(queue.requests[0]))
        assert (await wire.answer())[2] == b"hi"


async def test_a_stream_is_told_that_it_waits_and_then_gets_the_engines_events():
    queue = Queue()
    answer = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    async with gateway(always(answer), opening=queue) as box, box.client() as wire:
        await wire.send(STREAM + get("/v1/own"))
        future = await queue.one()
        box.pass_time(box.front.limits.wait_silence)
        assert await wire.exactly(len(PRELUDE + COMMENT)) == PRELUDE + COMMENT
        box.pass_time(box.front.limits.wait_interval)
        assert await wire.exactly(len(COMMENT)) == COMMENT
        future.set_result(box.door.passage(queue.requests[0]))
        assert await wire.chunks() == b"data: 1\n\n"
        assert (await wire.answer())[2] == b"own:"


@pytest.mark.parametrize(
    "answer",
    [
        EVENTS + b"Content-Length: 9\r\n\r\ndata: 1\n\n",
        EVENTS + b"Connection: close\r\n\r\ndata: 1\n\n",
    ],
)
async def test_a_begun_stream_goes_on_in_chunks_whatever_the_engines_framing(answer: bytes):
    queue = Queue()
    async with gateway(once(answer), opening=queue) as box, box.client() as wire:
        await wire.send(STREAM)
        future = await queue.one()
        box.pass_time(box.front.limits.wait_silence)
        await wire.exactly(len(PRELUDE + COMMENT))
        future.set_result(box.door.passage(queue.requests[0]))
        assert await wire.chunks() == b"data: 1\n\n"


async def test_a_begun_stream_of_http_1_0_ends_with_the_connection():
    queue = Queue()
    answer = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    async with gateway(always(answer), opening=queue) as box, box.client() as wire:
        await wire.send(b"GET /v1/x?stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        future = await queue.one()
        box.pass_time(box.front.limits.wait_silence)
        await wire.until(b"waiting\n\n")
        future.set_result(box.door.passage(queue.requests[0]))
        assert await wire.rest() == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad", b"400 bad"),
        (b"HTTP/1.1 500 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n", b"500 bad"),
        (b"HTTP/1.1 500 Bad\r\nConnection: close\r\n\r\nbad", b"500 bad"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", b"200 {}"),
        (b"HTTP/1.1 204 No\r\n\r\n", b"204 "),
        (EVENTS + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nz", b"200 z"),
        (b"HTTP/1.1 500 Bad\r\nContent-Length: 9\r\n\r\nbad", b'503 {"error":"broken"}'),
        (b"nonsense\r\n\r\n", b'503 {"error":"broken"}'),
        (b"", b'503 {"error":"gone"}'),
    ],
)
async def test_in_a_begun_stream_anything_but_events_becomes_an_error_event(answer: bytes, told: bytes):
    queue = Queue()
    async with gateway(once(answer), opening=queue) as box, box.client() as wire:
        await wire.send(STREAM)
        future = await queue.one()
        box.pass_time(box.front.limits.wait_silence)
        await wire.exactly(len(PRELUDE + COMMENT))
        future.set_result(box.door.passage(queue.requests[0]))
        assert await wire.chunks() == b"event: error\ndata: %b\n\ndata: [DONE]\n\n" % told
        await wire.send(get("/v1/own"))  # the connection is of use
        assert (await wire.answer())[0] == 200


async def test_a_begun_stream_never_asks_for_compression():
    queue = Queue()
    seen = []

    async def play(wire: Wire) -> None:
        seen.append((await request_of(wire))[0])

    async with gateway(play, opening=queue) as box, box.client() as wire:
        await wire.send(post(b"x", "/v1/x?stream", "Accept-Encoding: gzip"))
        future = await queue.one()
        box.pass_time(box.front.limits.wait_silence)
        await wire.exactly(len(PRELUDE + COMMENT))
        future.set_result(box.door.passage(queue.requests[0]))
        await wire.chunks()
    assert b"accept-encoding" not in seen[0].lower()


async def test_an_answer_of_the_door_ends_the_wait():
    queue = Queue()
    async with gateway(opening=queue) as box, box.client() as wire:
        await wire.send(STREAM)
        (await queue.one()).set_result(Answer(503, b"full"))
        assert (await wire.answer())[::2] == (503, b"full")
        await wire.send(STREAM)
        await until(lambda: len(queue.futures) == 2)
        box.pass_time(box.front.limits.wait_silence)
        await wire.exactly(len(PRELUDE + COMMENT))
        queue.futures[1].set_result(Answer(503, b"full"))
        assert await wire.chunks() == b"event: error\ndata: 503 full\n\ndata: [DONE]\n\n"


async def test_a_door_that_fails_is_no_silence():
    queue = Queue()
    async with gateway(opening=queue) as box, box.client() as wire:
        await wire.send(STREAM)
        (await queue.one()).set_exception(RuntimeError("a bug"))
        assert (await wire.answer())[0] == 503


async def test_whoever_goes_away_waits_no_longer():
    queue = Queue()
    async with gateway(opening=queue) as box:
        async with box.client() as wire:
            await wire.send(STREAM)
            future = await queue.one()
        await until(future.cancelled)
        assert not box.door.transfers


async def test_a_place_that_is_granted_as_the_client_goes_away_is_given_back():
    queue = Queue()
    async with gateway(opening=queue) as box:
        async with box.client() as wire:
            await wire.send(STREAM)
            future = await queue.one()
            connection = next(iter(box.front._connections))
            future.set_result(box.door.passage(queue.requests[0]))
            connection.connection_lost(None)  # before the loop has told anybody of the place
        assert [one.ending for one in box.door.transfers] == [Ending.CLIENT_GONE]
        assert box.engine.made == 0


async def test_a_stream_that_nobody_reads_is_not_filled_with_comments():
    queue = Queue()
    async with gateway(opening=queue) as box, box.client() as wire:
        await wire.send(STREAM)
        await until(lambda: bool(queue.futures))
        connection = next(iter(box.front._connections))
        connection.pause_writing()
        box.pass_time(box.front.limits.wait_silence)
        connection.resume_writing()
        box.pass_time(box.front.limits.wait_interval)
        assert await wire.exactly(len(PRELUDE + COMMENT)) == PRELUDE + COMMENT
        connection.pause_writing()
        box.pass_time(box.front.limits.client_silence)
        await until(queue.futures[0].cancelled)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_thousands_of_streams_wait_at_once():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(5000, (limit - 200) // 2)
    queue = Queue()
    async with gateway(opening=queue) as box:
        wires = []
        for _ in range(count):
            wires.append(Wire(*await asyncio.open_connection("127.0.0.1", box.port)))
            wires[-1].writer.write(STREAM)
        await until(lambda: len(queue.futures) == count)
        box.pass_time(box.front.limits.wait_silence)
        for wire in wires:
            assert await wire.exactly(len(PRELUDE + COMMENT)) == PRELUDE + COMMENT
        assert box.front.connections == count
        for future in queue.futures:
            future.set_result(Answer(503, b"f"))
        for wire in wires:
            assert (await wire.chunks()).endswith(b"[DONE]\n\n")
            wire.writer.transport.abort()
