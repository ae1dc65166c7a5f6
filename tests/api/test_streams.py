import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from gpumod.api import Limits
from gpumod.api.streams import EventStream, Streams, event


class Reader:
    """The other end of a stream: takes what is sent, or refuses to."""

    def __init__(self, *, takes: int | None = None) -> None:
        self.sent = b""
        self.status = 0
        self.ended = False
        self.gone = asyncio.Event()
        self._takes = takes

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if self._takes is not None and self.sent.count(b"data:") >= self._takes:
            await asyncio.Event().wait()
        self.sent += message["body"]
        self.ended = not message.get("more_body", False)

    async def read(self, stream: EventStream) -> None:
        async with asyncio.timeout(60):
            await stream({"type": "http"}, self.receive, self.send)


async def numbers(closed: list[bool], *, then: object = None) -> AsyncIterator[bytes]:
    try:
        for number in range(1, 4):
            yield event(number, b"x")
        if isinstance(then, Exception):
            raise then
        if then is not None:
            await asyncio.Event().wait()
    finally:
        closed.append(True)


def test_an_event_keeps_its_lines_together() -> None:
    assert event(7, b'{"a":1}') == b'id: 7\ndata: {"a":1}\n\n'
    assert event(1, b"10%\r20%\r\nid: 9\n") == b"id: 1\ndata: 10%\ndata: 20%\ndata: id: 9\ndata: \n\n"
    assert event(None, b"") == b"data: \n\n"


async def test_a_stream_ends_when_its_source_does() -> None:
    closed: list[bool] = []
    reader = Reader()
    await reader.read(EventStream(Streams(Limits()), numbers(closed)))
    assert reader.sent == b"retry: 1000\nid: 1\ndata: x\n\nid: 2\ndata: x\n\nid: 3\ndata: x\n\n"
    assert (reader.status, reader.ended, closed) == (200, True, [True])


async def test_silence_is_broken_by_heartbeats_and_the_wait_goes_on() -> None:
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def source() -> AsyncIterator[bytes]:
        yield await more.get()

    reader = Reader()
    reading = asyncio.create_task(reader.read(EventStream(Streams(Limits(heartbeat=0.01)), source())))
    while reader.sent.count(b": still here\n") < 3:  # noqa: ASYNC110 - it is time that is tested
        await asyncio.sleep(0.005)
    more.put_nowait(event(1, b"at last"))
    await reading
    assert reader.sent.endswith(b"id: 1\ndata: at last\n\n")


@pytest.mark.parametrize("end", ["reader", "daemon"])
async def test_a_stream_ends_with_its_reader_and_with_the_daemon(end: str) -> None:
    closed: list[bool] = []
    streams, reader = Streams(Limits()), Reader()
    reading = asyncio.create_task(reader.read(EventStream(streams, numbers(closed, then="wait"))))
    while reader.sent.count(b"data:") < 3:  # noqa: ASYNC110 - the reader has no event for this
        await asyncio.sleep(0)
    assert streams.open == 1
    if end == "reader":
        reader.gone.set()
    else:
        streams.close()
    await reading
    assert closed == [True]
    assert streams.open == 0
    assert reader.ended is (end == "daemon"), "the daemon ends its streams as they should end"


async def test_a_stream_opened_while_the_daemon_ends_is_over_at_once() -> None:
    closed: list[bool] = []
    streams, reader = Streams(Limits()), Reader()
    streams.close()
    await reader.read(EventStream(streams, numbers(closed, then="wait")))
    assert reader.ended


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    closed: list[bool] = []
    streams, reader = Streams(Limits(stalled=0.01)), Reader(takes=1)
    await reader.read(EventStream(streams, numbers(closed, then="wait")))
    assert reader.sent.count(b"data:") == 1
    assert (closed, streams.open) == ([True], 0)


async def test_a_source_that_breaks_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[bool] = []
    reader = Reader()
    await reader.read(EventStream(Streams(Limits()), numbers(closed, then=OSError("no disk"))))
    assert reader.ended
    assert "no disk" in caplog.text


async def test_there_are_only_so_many_streams() -> None:
    streams = Streams(Limits(streams=1))
    closed: list[bool] = []
    first, second = Reader(), Reader()
    reading = asyncio.create_task(first.read(EventStream(streams, numbers(closed, then="wait"))))
    await asyncio.sleep(0)
    await second.read(EventStream(streams, numbers(closed)))
    assert second.status == 429
    streams.close()
    await reading
    third = Reader()
    await third.read(EventStream(Streams(Limits(streams=1)), numbers(closed)))
    assert third.status == 200
