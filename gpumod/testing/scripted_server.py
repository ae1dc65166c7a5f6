"""An OpenAI-compatible server whose answers are scripted to the delta: latencies, packets and faults.

It runs in the event loop of the test and waits on the test's clock. With a `FakeClock` time passes only
while everybody waits, so a client has to find exactly the numbers of the script.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from gpumod.core.job_ports import Endpoint
from gpumod.core.ports import Clock
from gpumod.testing.scripted_answers import (
    Delta,
    Disconnect,
    Hang,
    Paced,
    Packet,
    Raw,
    Script,
    Step,
    Torn,
    Wait,
    content,
)

Answerer = Callable[[Mapping[str, object]], Script]


@dataclass(slots=True)
class ScriptedServer:
    """Serves on a free port of loopback while it is entered.

    Args:
        answers: the script of a request by its body, or one script after the other, the last one stays.
        requests: the bodies that came, in order.
        abandoned: how many clients went before their answer's end.
        pages: other paths, such as `/metrics`, and the text to answer with.
        most: the most requests that were under way at once.
    """

    clock: Clock
    answers: Answerer | Sequence[Script]
    pages: dict[str, Callable[[], str]] = field(default_factory=dict)
    requests: list[dict[str, object]] = field(default_factory=list)
    abandoned: int = 0
    most: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=_LONGEST)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and cut every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    def endpoint(
        self, engine: str = "llama.cpp", *, context: int | None = None, slots: int | None = None
    ) -> Endpoint:
        """It, as a suite knows it."""
        return Endpoint("scripted", self.url, "scripted-model", engine, context, slots)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.most = max(self.most, len(self._tasks))
        try:
            # A cancelled handler would be reported as an error of the event loop.
            with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        if head.startswith("GET"):
            page = self.pages.get(path)
            await _whole(writer, 200 if page else 404, page().encode() if page else b"{}")
            return
        sizes = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
        body = json.loads(await reader.readexactly(int(sizes[0].split(":")[1])))
        self.requests.append(body)
        answer = _Answer(self.clock, self._script(body), reader, writer)
        if not await answer.give(stream=bool(body.get("stream"))):
            self.abandoned += 1

    def _script(self, body: dict[str, object]) -> Script:
        if callable(self.answers):
            return self.answers(body)
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


class _Answer:
    """Acts one script on one connection."""

    def __init__(
        self, clock: Clock, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._clock = clock
        self._script = script
        self._reader = reader
        self._writer = writer
        self._said: list[Delta] = []
        self._at_its_end = False

    async def give(self, *, stream: bool) -> bool:
        """Whether the client was there until the end of it."""
        gone = asyncio.ensure_future(self._reader.read())
        act = asyncio.ensure_future(self._stream() if stream else self._document())
        try:
            await asyncio.wait({gone, act}, return_when=asyncio.FIRST_COMPLETED)
            return self._at_its_end
        finally:
            for task in (gone, act):
                task.cancel()
            await asyncio.gather(gone, act, return_exceptions=True)

    async def _stream(self) -> None:
        script = self._script
        await self._clock.sleep(script.before)
        if script.status != 200:
            self._at_its_end = True
            await _whole(self._writer, script.status, _error(script))
            return
        await _send(self._writer, _STREAM_HEAD)
        for step in script.steps:
            if not await self._act(step):
                return
        self._at_its_end = True
        await _send(self._writer, b"".join(map(_event, self._ends())) + (_DONE if script.done else b""))

    async def _act(self, step: Step) -> bool:
        """Whether the script goes on."""
        match step:
            case Wait(seconds):
                await self._clock.sleep(seconds)
            case Packet(deltas, tokens):
                await _send(self._writer, self._packet(deltas, tokens))
            case Torn(delta, packets, gap):
                await self._torn(_event(_chunk(delta)), packets, gap)
            case Paced(count, gap):
                await self._paced(count, gap)
            case Raw(data):
                await _send(self._writer, data)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Disconnect(reset):
                self._at_its_end = True
                if reset:
                    self._writer.transport.abort()
                return False
        return True

    def _packet(self, deltas: Sequence[Delta], tokens: int | None) -> bytes:
        chunks = [_chunk(delta) for delta in deltas]
        if tokens is not None:
            chunks[-1]["usage"] = {"prompt_tokens": 10, "completion_tokens": tokens}
        return b"".join(map(_event, chunks))

    async def _torn(self, data: bytes, packets: int, gap: float) -> None:
        size = -(-len(data) // packets)
        for start in range(0, len(data), size):
            if start:
                await self._clock.sleep(gap)
            await _send(self._writer, data[start : start + size])

    async def _paced(self, count: int, gap: float) -> None:
        start = self._clock.monotonic()
        for number in range(count):
            await self._clock.sleep(start + number * gap - self._clock.monotonic())
            self._writer.write(_event(_chunk(content(f"{self._clock.monotonic():.9f} "))))

    def _ends(self) -> list[dict[str, object]]:
        script = self._script
        ends: list[dict[str, object]] = []
        if script.finish_reason:
            ends.append({"choices": [{"index": 0, "delta": {}, "finish_reason": script.finish_reason}]})
        if account := _account(script):
            ends.append({"choices": [], **account})
        return ends

    async def _document(self) -> None:
        script = self._script
        await self._clock.sleep(script.before)
        for step in script.steps:
            if isinstance(step, Packet):
                self._said += step.deltas
            elif isinstance(step, Torn):
                self._said.append(step.delta)
            elif not await self._act(step):
                return
        message = {"role": "assistant"} | _joined(self._said)
        choice = {"index": 0, "message": message, "finish_reason": script.finish_reason or None}
        document = {"object": "chat.completion", "choices": [choice]} | _account(script)
        body = json.dumps(document).encode() if script.status == 200 else _error(script)
        self._at_its_end = True
        await _whole(self._writer, script.status, body)


_LONGEST: Final = 64 * 1024 * 1024
_DONE: Final = b"data: [DONE]\n\n"
_STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def _chunk(delta: Delta) -> dict[str, object]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": None}],
    }


def _event(document: Mapping[str, object]) -> bytes:
    return b"data: %s\n\n" % json.dumps(document).encode()


def _account(script: Script) -> dict[str, object]:
    account: dict[str, object] = {}
    if script.usage:
        prompt, completion, cached = script.usage
        account["usage"] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
    if script.timings:
        account["timings"] = dict(script.timings)
    return account


def _joined(deltas: Sequence[Delta]) -> dict[str, object]:
    """What a server says at once in place of these deltas."""
    message: dict[str, object] = {}
    for name in ("content", "reasoning_content"):
        message[name] = "".join(str(delta.get(name, "")) for delta in deltas) or None
    calls = [call for delta in deltas if isinstance(found := delta.get("tool_calls"), list) for call in found]
    return message | ({"tool_calls": calls} if calls else {})


def _error(script: Script) -> bytes:
    return json.dumps({"error": {"message": script.error, "code": script.status}}).encode()


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    await _send(writer, f"{head}Connection: close\r\n\r\n".encode() + body)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send, and wait until the kernel has handed it to the client's socket: time may pass only then."""
    writer.write(data)
    await writer.drain()
    connection = writer.get_extra_info("socket")
    while connection.fileno() >= 0 and _unsent(connection.fileno()):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0)


def _unsent(connection: int) -> int:
    """Bytes that the other end's kernel has not got yet (`man 7 tcp`, SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), "little")
