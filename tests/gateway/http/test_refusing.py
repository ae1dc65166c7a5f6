"""What is not read as a request: broken framing, bounds, slowness. Each ends in an answer and a close."""

import asyncio

import pytest

from gpumod.gateway.exchange import Answer
from gpumod.gateway.http.limits import Limits
from tests.gateway.http.box import OK, always, gateway, get, post, post_chunks, until

HOST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (HOST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (HOST + b"Content-Length: +3\r\n\r\nabc", 400),
        (HOST + b"Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
        (HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"X: a\r\n folded\r\n\r\n", 400),
        (HOST + b"X: a\nY: b\r\n\r\n", 400),
        (HOST + b"X: a\rY: b\r\n\r\n", 400),
        (HOST + b"X: a\x00b\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\nHost: h\n\n", 400),
        (b"GET /v1/x HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v1/x HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v1/x\r\n\r\n", 505),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        (b"POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HOST + b"Expect: magic\r\n\r\n", 417),
        (HOST + b"Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\na", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nbad trailer\r\n\r\n", 400),
        (HOST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"e" * 3000 + b"\r\na\r\n0\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("step", [1, 100_000])
async def test_what_two_parsers_could_read_differently_is_refused(request_: bytes, status: int, step: int):
    async with gateway() as box, box.client() as wire:
        for at in range(0, len(request_), step):
            wire.writer.write(request_[at : at + step])
            await asyncio.sleep(0)
        wire.writer.write(get("/v1/own"))  # must not be answered
        found = await wire.rest()
        assert found.split(b" ", 2)[1] == b"%d" % status
        assert b"connection: close" in found
        assert found.count(b"\r\n\r\n") == 1
        assert not box.door.requests


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/v1/" + "a" * 900), 414),
        (get("/v1/x", "X: " + "a" * 900), 431),
        (get("/v1/x", *[f"X{number}: a" for number in range(20)]), 431),
        (get("/v1/x", *["X: " + "a" * 400] * 10), 431),
        (b"GET /v1/x HTTP/1.1\r\nX: " + b"a" * 5000, 431),  # never ends
    ],
)
async def test_heads_are_bounded(request_: bytes, status: int):
    limits = Limits(head=2000, headers=10, line=800)
    async with gateway(limits=limits) as box:
        assert (await box.says(request_)).split(b" ", 2)[1] == b"%d" % status


async def test_a_body_that_says_that_it_is_too_large_is_not_waited_for():
    async with gateway(limits=Limits(body=1000)) as box:
        head = post(b"", "/v1/x").replace(b"Content-Length: 0", b"Content-Length: 1001")
        status, headers, _ = await box.ask(head)
        assert (status, headers[b"connection"]) == (413, b"close")
        box.door.largest = 500  # the door is stricter, and speaks the client's dialect
        status, headers, body = await box.ask(head)
        assert (status, headers[b"connection"], body) == (413, b"close", b'{"too":"large"}')
        assert not box.door.requests


async def test_a_body_in_chunks_is_cut_off_where_it_becomes_too_large():
    async with gateway(limits=Limits(body=1000)) as box:
        box.door.largest = 1000
        status, _, body = await box.ask(post_chunks([b"a" * 600, b"b" * 600]))
        assert (status, body) == (413, b'{"too":"large"}')
        assert box.door.heads[-1].content_length == 1200
        assert (await box.ask(post_chunks([b"a" * 600, b"b" * 400])))[0] == 200


@pytest.mark.parametrize("ask", [post, lambda body: post_chunks([body])])
async def test_all_bodies_together_are_bounded(ask):
    async with gateway(limits=Limits(kept=3000)) as box:
        async with box.client() as first:
            await first.send(post(b"a" * 2000)[:-1])
            await until(lambda: box.front.kept == 1999)
            status, headers, _ = await box.ask(ask(b"a" * 1002))
            assert (status, headers[b"retry-after"]) == (503, b"1")
            assert (await box.ask(ask(b"a" * 1001)))[0] == 200
            await first.send(b"a")
            assert (await first.answer())[0] == 200
            assert box.front.kept == 0
            await first.send(post(b"a" * 2000)[:-1])
            await until(lambda: box.front.kept == 1999)
        await until(lambda: box.front.kept == 0)


async def test_bodies_that_are_only_announced_keep_nobody_out():
    async with gateway(limits=Limits(kept=3000)) as box, box.client() as one, box.client() as other:
        for wire in (one, other):
            await wire.send(post(b"a" * 3000)[:-3000])
        await until(lambda: len(box.door.heads) == 2)
        assert (await box.ask(post(b"a" * 3000)))[0] == 200
        await one.send(b"a" * 2000)
        await until(lambda: box.front.kept == 2000)
        await other.send(b"a" * 2000)
        assert (await other.answer())[0] == 503
        await one.send(b"a" * 1000)
        assert (await one.answer())[0] == 200


async def test_a_client_that_goes_on_sending_still_reads_why_it_was_refused():
    async with gateway(limits=Limits(body=1000)) as box, box.client() as wire:
        wire.writer.write(post(bytes(4_000_000)))
        status, headers, _ = await wire.answer()
        assert (status, headers[b"connection"]) == (413, b"close")
        await until(lambda: box.front.connections == 1)
        box.pass_time(box.front.limits.linger_time)
        await until(lambda: box.front.connections == 0)


async def test_a_refused_request_with_a_short_body_leaves_the_connection_usable():
    async with gateway() as box, box.client() as wire:
        box.door.refused = Answer(401, b"no")
        for _ in range(3):
            await wire.send(post(b"a" * 5000))
            status, headers, body = await wire.answer()
            assert (status, body, b"connection" in headers) == (401, b"no", False)
        box.door.refused = None
        await wire.send(post(b"a"))
        assert (await wire.answer())[0] == 200
        assert len(box.door.requests) == 1


async def test_a_client_is_told_to_go_on_only_when_its_request_is_let_in():
    async with gateway() as box:
        async with box.client() as wire:
            head, _, body = post(b"abc", "/v1/x", "Expect: 100-continue").partition(b"\r\n\r\n")
            await wire.send(head + b"\r\n\r\n")
            assert await wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await wire.send(body)
            assert (await wire.answer())[0] == 200
        box.door.refused = Answer(401, b"no")
        assert (await box.says(head + b"\r\n\r\n")).startswith(b"HTTP/1.1 401")


async def test_a_slow_head_ends_in_408():
    async with gateway() as box, box.client() as wire:
        for byte in get()[:10]:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.001)
            box.pass_time(box.front.limits.head_time / 11)  # each byte comes in time: the head does not
        await until(lambda: bool(box.front.connections))
        box.pass_time(box.front.limits.head_time / 5)
        assert (await wire.rest()).startswith(b"HTTP/1.1 408")


async def test_a_slow_body_ends_in_408():
    async with gateway() as box, box.client() as wire:
        await wire.send(post(b"a" * 100)[:-1])
        await until(lambda: bool(box.door.heads))
        await asyncio.sleep(0.01)
        box.pass_time(box.front.limits.body_time + 1)
        assert (await wire.rest()).startswith(b"HTTP/1.1 408")
        assert not box.door.requests


async def test_an_idle_connection_is_closed_without_a_word():
    async with gateway() as box, box.client() as wire:
        await wire.send(get())
        await wire.answer()
        box.pass_time(box.front.limits.idle_time - 1)
        await wire.send(get())
        assert (await wire.answer())[0] == 200
        box.pass_time(box.front.limits.idle_time)
        assert await wire.rest() == b""


async def test_a_client_that_never_reads_its_refusal_is_let_go():
    async with gateway(always(OK)) as box, box.client() as wire:
        await wire.send(HOST + b"Content-Length: x\r\n\r\n" + bytes(100))
        await wire.until(b"\r\n\r\n")
        await until(lambda: box.front.connections == 1)
        box.pass_time(box.front.limits.linger_time)
        await until(lambda: box.front.connections == 0)
