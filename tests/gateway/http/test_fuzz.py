"""However bytes are cut up they mean the same; whatever is done to them, a connection answers or ends."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpumod.gateway.http.answers import AnswerHead
from gpumod.gateway.http.framing import Chunks, MalformedError, chunked
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.listener import FrontDoor
from gpumod.gateway.http.requests import END, RefusedError, RequestHead
from gpumod.gateway.http.sameness import Pattern
from gpumod.gateway.http.upstream import EngineConnection
from tests.gateway.http.box import SERVICE, Clock, ScriptedDoor, get, post, post_chunks

FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=400, deadline=None)
LIMITS = Limits(head=4000, line=1000, headers=20, body=5000, answer_head=4000)


@dataclass
class FakeTransport:
    """Keeps what is written."""

    written: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes | bytearray)
        if not self.ended:
            self.written += data

    def close(self) -> None:
        self.ended = True

    abort = close
    write_eof = close

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Line:
    """A client's connection and an engine's, without sockets. The engine echoes, or gives a fixed answer."""

    def __init__(self, answer: bytes | None = None, step: int = 10_000) -> None:
        self.door = ScriptedDoor(port=1)
        self.front = FrontDoor(self.door, limits=LIMITS, clock=Clock())
        self.client = self.front()
        self.transport = FakeTransport()
        self.client.connection_made(self.transport)  # type: ignore[arg-type]
        self.answer = answer
        self.step = step
        self.engines: list[EngineConnection] = []
        self.front.pool.connect = self.connect  # type: ignore[method-assign]

    def connect(self, passage: Any, on_connected: Any) -> Any:
        engine = EngineConnection(self.front.pool, (SERVICE, 1, 1))
        engine.connection_made(FakeTransport())  # type: ignore[arg-type]
        self.engines.append(engine)
        on_connected(engine)

    def feed(self, data: bytes) -> None:
        if self.transport.ended:
            return
        self.client.data_received(data)
        self.play()

    def play(self) -> None:
        """Let engines answer until nothing more happens."""
        moved = True
        while moved:
            moved = False
            for engine in self.engines:
                got = engine.transport.written  # type: ignore[attr-defined]
                end = got.find(END)
                if engine.user is None or end < 0:
                    continue
                length = _length(bytes(got[:end]))
                if len(got) < end + 4 + length:
                    continue
                body = bytes(got[end + 4 : end + 4 + length])
                del got[: end + 4 + length]
                self.reply(engine, body)
                moved = True

    def reply(self, engine: EngineConnection, body: bytes) -> None:
        answer = self.answer
        if answer is None:
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        for at in range(0, len(answer), self.step):
            engine.data_received(answer[at : at + self.step])
            if engine.transport.is_closing():
                return
        if self.answer is not None:
            engine.transport.close()
            engine.connection_lost(None)

    def end(self) -> None:
        """The client goes away: nothing may be left of it."""
        self.client.connection_lost(None)
        for engine in self.engines:
            assert engine.user is None
        assert self.front.connections == 0
        self.front.abort()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


REQUESTS = [
    get(), get("/v1/own?q=%20"), post(b""), post(b"abc"), post(b"b" * 3000, "/v1/own"), post(b"ab"),
    post_chunks([b"ab", b"c" * 300]), post_chunks([]), post(b"x", "/other"), b"\r\n" + get(),
    b"GET /v1/own HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", get("/v1/x", "X-Long: " + "a" * 500),
    post(b"abc", "/v1/x", "Expect: 100-continue"), get().replace(b"GET", b"HEAD"),
    get("/v1/x", "Connection: close"),
]  # fmt: skip
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: r\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
    b"HTTP/1.1 204 No\r\n\r\n",
    _EVENTS + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n",
]
NASTY = [b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"0", b"-1", b"Transfer-Encoding: chunked\r\n", END]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def in_loop(work: Any) -> Any:
    async def run() -> Any:
        return work()

    return asyncio.run(run())


@FEW
@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8), st.lists(st.integers(0, 10**6), max_size=40)
)
def test_requests_mean_the_same_however_they_are_cut_up(requests: list[bytes], cuts: list[int]):
    def work() -> None:
        whole, cut = Line(), Line()
        data = b"".join(requests)
        whole.feed(data)
        for part in split(data, cuts):
            cut.feed(part)
        # Whether a client is told to go on depends on whether its body is there already.
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert cut.transport.written.replace(go_on, b"") == whole.transport.written.replace(go_on, b"")
        assert [one.body for one in cut.door.requests] == [one.body for one in whole.door.requests]
        assert cut.transport.ended == whole.transport.ended
        whole.end()
        cut.end()

    in_loop(work)


@FEW
@given(st.sampled_from(ANSWERS), st.integers(1, 30), st.booleans())
def test_answers_mean_the_same_however_they_are_cut_up(answer: bytes, step: int, old: bool):
    def work() -> None:
        found = []
        for line in (Line(answer), Line(answer, step)):
            request = get()
            line.feed(request.replace(b"HTTP/1.1", b"HTTP/1.0") if old else request)
            head, _, body = bytes(line.transport.written).rpartition(b"HTTP/1.1 2")[2].partition(END)
            if b"chunked" in head:
                chunks = Chunks()
                chunks.feed(body)
                assert chunks.done
                body = b"".join(chunks.parts)
            found.append((head, body))
            line.end()
        assert found[0] == found[1]

    in_loop(work)


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(data) - 1)
    piece = st.one_of(st.binary(max_size=4), st.sampled_from(NASTY))
    changes = st.lists(st.tuples(place, st.integers(0, 8), piece), min_size=1, max_size=3)

    def change(made: list[tuple[int, int, bytes]]) -> bytes:
        found = data
        for at, gone, put in made:
            found = found[:at] + put + found[at + gone :]
        return found

    return changes.map(change)


SENTINEL = get("/v1/own?sentinel")


@settings(FEW, max_examples=400)
@given(st.sampled_from(REQUESTS).flatmap(mutations), st.lists(st.integers(0, 10**6), max_size=10))
def test_a_mutated_request_is_answered_or_refused(data: bytes, cuts: list[int]):
    def work() -> None:
        line = Line()
        for part in split(data + SENTINEL, cuts):
            line.feed(part)
        written = bytes(line.transport.written)
        for head in _answers(written, data):
            assert head.startswith(b"HTTP/1.1 ")
        # A request may still be incomplete; then it is ended by time.
        if not line.transport.ended and line.client.deadline < float("inf"):
            line.front.clock.now += 10**6  # type: ignore[attr-defined]
            line.front.sweep()
            assert line.transport.ended
        line.end()

    in_loop(work)


def _answers(written: bytes, data: bytes) -> list[bytes]:
    """Heads of answers, each found where the one before it says that it ends."""
    found = []
    while written:
        head, _, written = written.partition(END)
        found.append(head)
        length = _length(head)
        if head.startswith(b"HTTP/1.1 100") or b"HEAD" in data:
            return found
        assert len(written) >= length
        written = written[length:]
    return found


@settings(FEW, max_examples=400)
@given(st.sampled_from(ANSWERS).flatmap(mutations), st.integers(1, 50))
def test_a_mutated_answer_reaches_the_client_whole_or_not(answer: bytes, step: int):
    def work() -> None:
        line = Line(answer, step)
        line.feed(post(b"x"))
        assert line.transport.written
        assert line.client._running is None or line.transport.ended
        assert line.door.transfers or line.door.retried
        line.end()

    in_loop(work)


@MANY
@given(
    st.lists(st.binary(max_size=50), max_size=6),
    st.lists(st.integers(0, 10**6), max_size=20),
    st.binary(max_size=9),
)
def test_chunks_are_read_as_they_were_written(parts: list[bytes], cuts: list[int], behind: bytes):
    data = chunked(parts, last=True)
    chunks, found, end = Chunks(), b"", 0
    for part in split(data + behind, cuts):
        used = chunks.feed(part)
        found += b"".join(chunks.parts)
        end += used
        if chunks.done:
            break
    assert (chunks.done, found, end) == (True, b"".join(parts), len(data))


@MANY
@given(st.sampled_from(REQUESTS).flatmap(mutations))
def test_a_mutated_head_is_read_or_refused(data: bytes):
    head = data[: data.find(END) + 4]
    try:
        parsed = RequestHead(head, LIMITS)
    except RefusedError:
        return
    assert not (parsed.chunked and parsed.content_length is not None)
    assert parsed.path.startswith(b"/") or parsed.path == b"*" or b":" not in parsed.path
    pattern = Pattern(head)
    length = pattern.length(head)
    assert length == (-1 if parsed.content_length is None else parsed.content_length)


@MANY
@given(st.sampled_from(ANSWERS).flatmap(mutations))
def test_a_mutated_head_of_an_answer_is_read_or_refused(data: bytes):
    head = data[: data.find(END) + 4]
    try:
        parsed = AnswerHead(head)
    except MalformedError:
        return
    assert not (parsed.chunked and parsed.length is not None)
    with pytest.raises(MalformedError):
        AnswerHead(head.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip\r\n\r\n"))
