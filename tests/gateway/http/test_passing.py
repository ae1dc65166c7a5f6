"""A request to an engine and its answer back: what passes, what does not, and in which framing."""

import asyncio

import pytest

from gpumod.gateway.exchange import TAIL, Ending
from gpumod.gateway.http.framing import Chunks
from tests.gateway.http.box import OK, Wire, always, gateway, get, once, post, post_chunks, request_of


async def test_a_request_and_its_answer_pass():
    async with gateway(always(OK)) as box:
        async with box.client() as wire:
            for _ in range(3):
                await wire.send(post(b'{"model":"m"}'))
                assert (await wire.exactly(len(OK))) == OK
        assert box.engine.made == 1  # kept alive
        assert [one.ending for one in box.door.transfers] == [Ending.OK] * 3
        assert box.door.transfers[0].tail == b"hi"
        assert box.door.transfers[0].status == 200


async def test_the_engine_gets_its_own_key_and_never_the_clients():
    seen = []

    async def play(wire: Wire) -> None:
        seen.append(await request_of(wire))
        await wire.send(OK)

    async with gateway(play) as box:
        sent = post(
            b"body", "/v1/x?a=1", "Authorization: Bearer s", "X-Api-Key: s", "api-key: s", "TE: trailers",
            "Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: 3", "X-Other: Two  words",
            "Expect: 100-continue",
        )  # fmt: skip
        assert (await box.ask(sent))[0] == 200
    head = (
        b"POST /v1/x?a=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-other: Two  words\r\nx-engine-key: k\r\n"
        b"content-length: 4\r\n\r\n" % box.engine.port
    )
    assert seen == [(head, b"body")]


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (b"HTTP/1.1 200 Fine day\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", None),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", None),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n00\r\nT: r\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: y\r\nContent-Length: 1\r\n\r\na",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
            b"HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\n" + OK,
        ),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", None),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_answers_pass_however_they_are_cut_up(answer: bytes, passed: bytes | None, step: int):
    async def play(wire: Wire) -> None:
        await request_of(wire)
        for at in range(0, len(answer), step):
            await wire.send(answer[at : at + step])
            await asyncio.sleep(0)

    async with gateway(play) as box:
        async with box.client() as wire:
            await wire.send(post(b"x"))
            transfer = await box.door.ended()
            await wire.send(get("/v1/own", "Connection: close"))
            found = await wire.rest()
        own = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n"
            b"connection: close\r\n\r\nown:"
        )
        passed = passed or answer
        found, end = found.removesuffix(own), found[-len(own) :]
        head, _, rest = found.partition(b"\r\n\r\n")
        if b"chunked" in head:
            assert head == passed.partition(b"\r\n\r\n")[0]
            chunks = Chunks()
            assert chunks.feed(rest) == len(rest)
            assert (chunks.done, b"".join(chunks.parts)) == (True, b"abc")
        else:
            assert found == passed
        assert end == own
        assert transfer.ending is Ending.OK


async def test_an_answer_to_head_has_no_body():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
    async with gateway(always(answer)) as box, box.client() as wire:
        for _ in range(2):
            await wire.send(get().replace(b"GET", b"HEAD"))
            assert await wire.exactly(len(answer)) == answer
        assert box.engine.made == 1


async def test_http_1_0_gets_no_chunks_and_a_closed_connection():
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with gateway(always(answer)) as box:
        found = await box.says(b"GET /v1/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert found == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde"


async def test_http_1_0_may_keep_the_connection_for_answers_with_a_length():
    async with gateway(always(OK)) as box, box.client() as wire:
        for _ in range(2):
            await wire.send(b"GET /v1/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, headers, body = await wire.answer()
            assert (status, headers[b"connection"], body) == (200, b"keep-alive", b"hi")


async def test_a_client_that_closes_gets_its_answer_and_the_end():
    async with gateway(always(OK)) as box:
        found = await box.says(get("/v1/x", "Connection: close"))
    assert found == OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


async def test_a_large_body_and_a_large_answer_pass_whole():
    body = bytes(range(256)) * 8192

    async def play(wire: Wire) -> None:
        while True:
            _, got = await request_of(wire)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got) + got)

    async with gateway(play) as box, box.client() as wire:
        for sent in (post(body), post_chunks([body[at : at + 5000] for at in range(0, len(body), 5000)])):
            wire.writer.write(sent)
            assert (await wire.answer())[2] == body
        assert box.door.transfers[0].tail == body[-TAIL:]
        assert box.door.transfers[0].received == len(body)


async def test_events_are_neither_split_nor_merged_nor_held_back():
    go = asyncio.Queue[None]()
    events = [b"data: {%d}\n\n" % number for number in range(20)]

    async def play(wire: Wire) -> None:
        await request_of(wire)
        await wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            await go.get()
            await wire.send(b"%x\r\n%b\r\n" % (len(event), event))
        await wire.send(b"0\r\n\r\n")

    async with gateway(play) as box, box.client() as wire:
        await wire.send(post(b"x", "/v1/x?stream"))
        await wire.until(b"\r\n\r\n")
        for event in events:
            go.put_nowait(None)
            assert await wire.chunk() == event
        assert await wire.chunk() == b""
        transfer = await box.door.ended()
    assert (transfer.event_stream, transfer.chunks, transfer.tail) == (True, 20, b"".join(events))


async def test_the_rest_of_an_answer_that_is_too_long_is_not_the_next_answer():
    async with (
        gateway(once(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX")) as box,
        box.client() as wire,
    ):
        for _ in range(2):
            await wire.send(get())
            assert await wire.exactly(len(OK)) == OK
        assert box.engine.made == 2


@pytest.mark.parametrize(
    ("offered", "passed"),
    [
        (["realtime, openai-insecure-api-key.s3cret, x"], b"sec-websocket-protocol: realtime, x\r\n"),
        (["realtime", "OpenAI-Insecure-API-Key.s3cret"], b"sec-websocket-protocol: realtime\r\n"),
        (["openai-insecure-api-key.s3cret"], b""),
        (["realtime"], b"sec-websocket-protocol: realtime\r\n"),
    ],
)
async def test_a_key_among_a_websockets_protocols_never_passes(offered: list[str], passed: bytes):
    seen = []

    async def play(wire: Wire) -> None:
        seen.append((await request_of(wire))[0])
        await wire.send(OK)

    lines = [f"Sec-WebSocket-Protocol: {one}" for one in offered]
    async with gateway(play) as box:
        await box.ask(get("/v1/x", "Connection: Upgrade", "Upgrade: websocket", *lines))
    assert b"s3cret" not in seen[0]
    assert passed + b"connection: upgrade\r\n" in seen[0]
    assert seen[0].count(b"sec-websocket-protocol") == bool(passed)


async def test_no_engine_can_take_the_length_from_its_answer():
    answer = b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nhi"
    async with gateway(always(answer)) as box, box.client() as wire:
        await wire.send(post(b"{}") + get("/v1/own"))
        assert (await wire.answer())[2] == b"hi"
        assert (await wire.answer())[2] == b"own:"
