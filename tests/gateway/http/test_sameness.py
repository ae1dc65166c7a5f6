"""Heads that are like the one before them, but for a number."""

from gpumod.gateway.http.sameness import Pattern
from tests.gateway.http.box import Wire, gateway, get, post, request_of

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nX: y\r\n\r\n"


def test_only_the_length_may_differ():
    pattern = Pattern(HEAD)
    assert pattern.length(HEAD) == 12
    assert pattern.length(HEAD.replace(b"12", b"0")) == 0
    assert pattern.length(HEAD.replace(b"12", b"123456")) == 123456
    for other in (b"", b" ", b"-1", b"+1", b"1 2", b"0x1", b"1" * 16, b"1\r\nY: z", b"\xb2"):
        assert pattern.length(HEAD.replace(b"12", other)) is None
    assert pattern.length(HEAD.replace(b"X: y", b"X: z")) is None
    assert pattern.length(HEAD[:-4]) is None
    assert pattern.length(b"") is None


def test_a_head_without_a_length_has_to_be_the_same():
    pattern = Pattern(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert pattern.length(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == -1
    assert pattern.length(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n") is None
    assert pattern.length(HEAD) is None


async def test_each_request_and_each_answer_has_its_own_length():
    async def play(wire: Wire) -> None:
        while True:
            head, body = await request_of(wire)
            said = b"content-length: %d\r\n\r\n" % len(body)
            assert head.startswith(b"GET") or head.endswith(said)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length:  %d\r\nX: 1\r\n\r\n" % len(body) + body)

    async with gateway(play) as box, box.client() as wire:
        for length in (1, 2, 2, 10, 0, 5, 12345, 1):
            await wire.send(post(b"b" * length))
            head = await wire.until(b"\r\n\r\n")
            assert head == b"HTTP/1.1 200 OK\r\nContent-Length:  %d\r\nX: 1\r\n\r\n" % length
            assert await wire.exactly(length) == b"b" * length
            said = dict(box.door.requests[-1].headers)
            assert said[b"content-length"] == b"%d" % length
        await wire.send(get())
        assert (await wire.answer())[2] == b""
        assert box.engine.made == 1
