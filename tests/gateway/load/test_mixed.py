"""Requests for models and for the control plane, pipelined on one connection, its bytes cut up anyhow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from gpumod.testing.engine_server import Script
from tests.e2e.conftest import boxes
from tests.e2e.real_box import RealBox
from tests.gateway.load.clients import Ask, Kind
from tests.gateway.load.plane import Plane, plane

pytestmark = pytest.mark.shared_processes

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Piece:
    """One request, and what its answer has to have.

    Args:
        statuses: that the answer may have.
        tagged: whether the answer's body repeats the tag.
        last: the connection is closed after its answer.
    """

    data: bytes
    tag: str
    statuses: tuple[int, ...]
    tagged: bool = True
    bodiless: bool = False
    last: bool = False


def head(first: str, *lines: str, body: bytes = b"") -> bytes:
    """A request."""
    length = [f"Content-Length: {len(body)}"] if body else []
    kind = ["Content-Type: application/json"] if body else []
    return (
        "\r\n".join([f"{first} HTTP/1.1", "Host: localhost", *kind, *length, *lines, "", ""]).encode() + body
    )


def small(tag: str) -> Piece:
    return Piece(Ask(tag, "chat").bytes(), tag, (200,))


def stream(tag: str) -> Piece:
    return Piece(Ask(tag, "chat", Kind.STREAM, events=4, seconds=0.01).bytes(), tag, (200,))


def below_upstream(tag: str) -> Piece:
    return Piece(Ask(tag, "chat").bytes("/upstream/chat/v1/chat/completions"), tag, (200,))


def in_chunks(tag: str) -> Piece:
    body = json.dumps({"model": "chat", "user": tag}).encode()
    cuts = (body[:7], body[7:20], body[20:])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cuts) + b"0\r\n\r\n"
    lines = ["Content-Type: application/json", "Transfer-Encoding: chunked"]
    return Piece(head("POST /v1/chat/completions", *lines) + chunks, tag, (200,))


def unknown_model(tag: str) -> Piece:
    return Piece(Ask("", tag).bytes(), tag, (404,))


def of_the_control_plane(tag: str) -> Piece:
    return Piece(head(f"GET /gpumod/v1/switches/{tag}"), tag, (404,))


def planned(tag: str) -> Piece:
    body = json.dumps({"mode": tag, "dry_run": True}).encode()
    return Piece(head("POST /gpumod/v1/switches", body=body), tag, (404, 409, 422))


def models(tag: str) -> Piece:
    return Piece(head("GET /v1/models"), tag, (200,), tagged=False)


def fingerprint(tag: str) -> Piece:
    return Piece(head(f"GET /api/tags?{tag}"), tag, (404,), tagged=False)


def bodiless(tag: str) -> Piece:
    return Piece(head(f"HEAD /nowhere/{tag}"), tag, (404, 405), tagged=False, bodiless=True)


def good_bye(tag: str) -> Piece:
    return Piece(head(f"GET /gpumod/v1/switches/{tag}", "Connection: close"), tag, (404,), last=True)


def malformed(tag: str) -> Piece:
    return Piece(f"GET /v1 models {tag}\r\n\r\n".encode(), tag, (400,), tagged=False, last=True)


KINDS: list[Callable[[str], Piece]] = [
    small, stream, below_upstream, in_chunks, unknown_model, of_the_control_plane, planned, models,
    fingerprint, bodiless,
]  # fmt: skip
LAST: list[Callable[[str], Piece]] = [good_bye, malformed]


@pytest.fixture
def box() -> Iterator[RealBox]:
    with boxes() as make:
        made = make()
        made.preset("chat", Script(host_mib=20, keep_alive=True))
        made.mode("chat", "chat")
        yield made


def pieces(draw: random.Random, number: int) -> list[Piece]:
    """What one connection asks."""
    count = draw.randint(1, 8)
    made = [draw.choice(KINDS)(f"tag-{number}-{index}-") for index in range(count)]
    return made + ([draw.choice(LAST)(f"tag-{number}-last-")] if draw.random() < 0.3 else [])


async def send(writer: asyncio.StreamWriter, data: bytes, draw: random.Random) -> None:
    """In parts of random sizes, with and without a moment between them."""
    sizes = draw.choice([[len(data)], [1, 2, 5], [50, 300], [7, 1000]])
    at = 0
    while at < len(data):
        size = draw.choice(sizes)
        writer.write(data[at : at + size])
        at += size
        if draw.random() < 0.2:
            await asyncio.sleep(draw.choice([0, 0.001]))
        else:
            await writer.drain()


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool) -> tuple[int, dict[str, str], bytes]:
    """One answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode().split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    body = b""
    if not bodiless and headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    elif not bodiless:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(first.split()[1]), headers, body


async def read_answers(reader: asyncio.StreamReader, asked: list[Piece]) -> None:
    """Each answer belongs to its request, in their order."""
    for piece in asked:
        status, headers, body = await read_answer(reader, bodiless=piece.bodiless)
        assert status in piece.statuses, (piece, status, body)
        assert not piece.tagged or piece.tag.encode() in body, (piece, body)
        others = {one.tag for one in asked} - {piece.tag}
        assert not any(tag.encode() in body for tag in others), (piece, body)
        assert piece.last == (headers.get("connection") == "close"), (piece, headers)
        if piece.last:
            assert await reader.read() == b""


async def converse(live: Plane, number: int) -> None:
    """One connection, from its first byte to its end."""
    draw = random.Random(number)
    asked = pieces(draw, number)
    data = b"".join(piece.data for piece in asked)
    leaves_early = draw.random() < 0.3
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        async with asyncio.timeout(PATIENCE):
            if leaves_early:
                await send(writer, data[: draw.randrange(len(data))], draw)
                await asyncio.sleep(draw.choice([0, 0.002, 0.02]))
                if draw.random() < 0.5:
                    writer.transport.abort()
            else:
                sending = asyncio.create_task(send(writer, data, draw))
                await read_answers(reader, asked)
                await sending
    except TimeoutError:
        raise AssertionError(f"connection {number} hangs: {asked}") from None
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "numbers", [range(150), pytest.param(range(150, 4000), marks=pytest.mark.engines)], ids=["few", "many"]
)
async def test_each_answer_belongs_to_its_request_on_connections_that_ask_for_everything(
    box: RealBox, numbers: range
) -> None:
    async with plane(box) as live:
        await live.switch("chat")
        gate = asyncio.Semaphore(20)

        async def one(number: int) -> None:
            async with gate:
                await converse(live, number)

        results = await asyncio.gather(*map(one, numbers), return_exceptions=True)
        wrong = [
            f"{number}: {error!r}"[:900]
            for number, error in zip(numbers, results, strict=True)
            if error is not None
        ]
        assert wrong == []
        await live.assert_quiet()
        live.assert_no_answer_of_another_attempt()
