"""One request on its way: waiting for where to go, sent to an engine, its answer passed on as it comes."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from enum import Enum, auto

from gpumod.gateway.exchange import Answer, Door, Ending, Passage, Request, Transfer, Waiting
from gpumod.gateway.http.answers import AnswerHead, persistence
from gpumod.gateway.http.client import Client
from gpumod.gateway.http.framing import MalformedError, chunked
from gpumod.gateway.http.heads import AnswerHeads
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.passing import Passing
from gpumod.gateway.http.sending import engine_head
from gpumod.gateway.http.tunnel import Tunnel
from gpumod.gateway.http.upstream import EngineConnection, Pool

_log = logging.getLogger(__name__)

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
_ONE_WRITE = 64 * 1024


class _State(Enum):
    WAITING = auto()  # for the door
    CONNECTING = auto()
    SENT = auto()  # no whole head of an answer yet
    PASSING = auto()
    ENDED = auto()


_WAITING, _CONNECTING, _SENT, _PASSING, _ENDED = _State


class Relay:
    """One request, from the door's first word to its last byte. Callbacks drive it; it has no task."""

    __slots__ = (
        "_begun", "_client", "_clock", "_connecting", "_door", "_engine", "_full_since", "_heads", "_hints",
        "_limits", "_moved", "_passage", "_passing", "_pool", "_request", "_reused", "_state", "_transfer",
        "_tries", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        client: Client,
        request: Request,
        *,
        door: Door,
        pool: Pool,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._request = request
        self._door = door
        self._pool = pool
        self._limits = limits
        self._clock = clock
        self._state = _WAITING
        self._waiting: Waiting | None = None
        self._passage: Passage | None = None
        self._transfer = Transfer()
        self._engine: EngineConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reused = False
        self._tries = 0
        self._heads: AnswerHeads | None = None
        self._hints = 0
        self._passing: Passing | None = None
        self._begun = False  # the gateway itself began a stream of events
        self._moved = 0.0
        self._full_since = math.inf

    # --- to the engine ---

    def start(self, where: Passage | Answer | Waiting) -> None:
        """Go on with what the door said."""
        if isinstance(where, Passage):
            self._go(where)
        elif isinstance(where, Answer):
            self._tell(where)
        else:
            self._state = _WAITING
            self._waiting = where
            where.add_done_callback(self._granted)
            if self._request.stream:
                silence = self._limits.wait_interval if self._begun else self._limits.wait_silence
                self._client.attend(self._clock() + silence)

    def _granted(self, future: Waiting) -> None:
        if self._state is not _WAITING or future is not self._waiting:
            return
        self._waiting = None
        if future.cancelled():
            self._tell(self._door.failed(self._request, Ending.UNREACHABLE))
        elif (error := future.exception()) is not None:
            _log.error("a request cannot be placed", exc_info=error)
            self._tell(self._door.failed(self._request, Ending.UNREACHABLE))
        else:
            self.start(future.result())

    def _go(self, passage: Passage) -> None:
        self._passage = passage
        self._transfer = Transfer()
        self._tries += 1
        engine = self._pool.take(passage)
        if engine is None:
            self._connect(passage)
        else:
            self._send(passage, engine, reused=True)

    def _connect(self, passage: Passage) -> None:
        self._state = _CONNECTING
        self._connecting = self._pool.connect(passage, self._connected)

    def _connected(self, engine: EngineConnection | None) -> None:
        self._connecting = None
        if self._state is not _CONNECTING or self._passage is None:
            if engine is not None:
                engine.cut()
        elif engine is None:
            self._elsewhere(self._passage)
        else:
            self._send(self._passage, engine, reused=False)

    def _send(self, passage: Passage, engine: EngineConnection, *, reused: bool) -> None:
        self._engine = engine
        self._reused = reused
        self._heads = engine.heads
        engine.user = self
        self._state = _SENT
        self._transfer.sent = self._moved = self._clock()
        head = engine_head(self._request, passage, plain=self._begun)
        body = passage.body
        if len(body) < _ONE_WRITE:
            engine.transport.write(head + body)
        else:
            engine.transport.write(head)
            engine.transport.write(body)
        if self._client.full:
            engine.pause_reading()
        if not self._begun:
            self._client.attend(self._moved + self._limits.engine_silence)

    def _elsewhere(self, passage: Passage) -> None:
        self._engine = None
        if self._tries < self._limits.tries:
            self._passage = None
            self.start(self._again(passage))
        else:
            self._fail(Ending.UNREACHABLE)

    def _again(self, passage: Passage) -> Passage | Answer | Waiting:
        try:
            return self._door.again(self._request, passage)
        except Exception:  # noqa: BLE001 - the client is not left without an answer
            _log.exception("a request cannot be placed anew")
            return self._door.failed(self._request, Ending.UNREACHABLE)

    # --- from the engine ---

    def answered(self, data: bytes) -> None:
        """Bytes of the engine's answer."""
        self._moved = self._clock()
        try:
            passing = self._passing
            if passing is not None:
                passing.feed(data, self._moved)
                if passing.body.done:
                    self._complete(passing)
            else:
                self._read_heads(data)
        except MalformedError as error:
            _log.warning("an answer of %s: %s", self._passage and self._passage.service, error)
            self._fail(Ending.BROKEN)
        except Exception:  # noqa: BLE001 - as above
            _log.exception("an answer of %s cannot be passed on", self._passage and self._passage.service)
            self._fail(Ending.BROKEN)

    def _read_heads(self, data: bytes) -> None:
        heads = self._heads
        assert heads is not None  # noqa: S101 - of the connection that this comes from
        while (head := heads.read(data)) is not None:
            data = heads.rest
            if head.status >= 200:
                self._begin(head, data)
                return
            if head.status == 101:
                self._switch(head, data)
                return
            self._hint(head)
            if not data:
                return

    def _hint(self, head: AnswerHead) -> None:
        self._hints += 1
        if self._hints > self._limits.hints:
            raise MalformedError("too many interim answers")
        if head.status != 100 and not self._begun and not self._client.old:
            self._client.write(b"\r\n".join([head.start, *head.lines, b"", b""]))

    def _answering(self) -> bool:
        """Whether anything of an answer has come."""
        return self._hints > 0 or (self._heads is not None and self._heads.begun)

    def _switch(self, head: AnswerHead, rest: bytes) -> None:
        """The engine agrees to a websocket: from now on bytes are no HTTP."""
        engine = self._engine
        if not self._request.upgrade or engine is None:
            raise MalformedError("it switches protocols unasked")
        self._transfer.status = 101
        lines = [head.start, *head.lines, b"connection: upgrade", b"upgrade: websocket", b"", b""]
        self._client.write(b"\r\n".join(lines) + rest)
        Tunnel(
            self._client,
            engine,
            limits=self._limits,
            clock=self._clock,
            on_end=lambda stalled: self._end(Ending.STALLED if stalled else Ending.OK),
        )

    def _begin(self, head: AnswerHead, rest: bytes) -> None:
        """The head of the final answer is there, and perhaps some of its body."""
        passing = Passing(self._client, self._request.method, head, self._transfer, begun=self._begun)
        self._passing = passing
        self._state = _PASSING
        passing.begin(rest, self._moved)
        if passing.body.done:
            self._complete(passing)

    def _complete(self, passing: Passing) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._pool.release(engine, keep=passing.engine_kept)
        error = passing.finish()
        if error is not None:
            self._write_error(error)
        self._end(Ending.OK)
        self._client.done(keep=passing.client_kept)

    def lost(self, error: Exception | None) -> None:
        """The engine has closed the connection, or it broke."""
        self._engine = None
        if self._state is _PASSING and self._passing is not None and error is None:
            try:
                self._passing.closed()
            except MalformedError:
                self._fail(Ending.BROKEN)
            else:
                self._complete(self._passing)
        elif self._state is _SENT and not self._answering() and self._passage is not None:
            if self._reused:
                self._connect(self._passage)  # it was dead when it was taken from the pool
            else:
                self._elsewhere(self._passage)
        elif self._state is not _ENDED:
            self._fail(Ending.BROKEN)

    # --- endings ---

    def _end(self, ending: Ending) -> None:
        self._state = _ENDED
        passage, self._passage = self._passage, None
        if passage is None:
            return
        transfer = self._transfer
        transfer.ending = ending
        transfer.ended = self._clock()
        if self._passing is not None:
            transfer.tail = self._passing.body.tail()
        try:
            self._door.finished(self._request, passage, transfer)
        except Exception:  # noqa: BLE001 - the client has its answer, and its connection goes on
            _log.exception("a request could not be ended in order")

    def _fail(self, ending: Ending) -> None:
        """The engine fails the request: say so as the client understands it, or break off."""
        if self._state is _ENDED:
            return
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.cut()
        passing = self._passing
        self._end(ending)
        if passing is not None and passing.told:
            if not passing.takes_event:
                self._client.cut()
                return
            self._begun = True
        self._tell(self._door.failed(self._request, ending))

    def _tell(self, answer: Answer) -> None:
        """An answer of the gateway's own; as an event where a stream has begun."""
        self._state = _ENDED
        if self._begun:
            self._write_error(answer)
            self._client.done(keep=not self._client.old)
        else:
            self._client.answer(answer)

    def _write_error(self, answer: Answer) -> None:
        event = self._door.failed_event(self._request, answer)
        self._client.write(event if self._client.old else chunked([event], last=True))

    def break_off(self) -> None:
        """The gateway ends, and does not wait for the engine any longer."""
        if self._state is _WAITING:
            return  # the door answers it
        if self._connecting is not None:
            self._connecting.cancel()
        self._fail(Ending.BROKEN)

    # --- the client ---

    def gone(self) -> None:
        """The client has closed the connection: nobody reads what an engine would generate."""
        if self._state is not _ENDED:
            self._drop(Ending.CLIENT_GONE)

    def _drop(self, ending: Ending) -> None:
        waiting, self._waiting = self._waiting, None
        if self._connecting is not None:
            self._connecting.cancel()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.cut()
        if (
            waiting is not None
            and not waiting.cancel()
            and not waiting.cancelled()
            and not waiting.exception()
        ):
            where = waiting.result()  # granted a moment ago: its place has to be given back
            self._passage = where if isinstance(where, Passage) else None
        self._end(ending)

    def full(self) -> None:
        """The client takes no more for now."""
        self._full_since = self._clock()
        if self._engine is not None:
            self._engine.pause_reading()
        if self._state is _PASSING:
            self._client.attend(self._full_since + self._limits.client_silence)

    def ready(self) -> None:
        """The client takes bytes again."""
        self._full_since = math.inf
        self._moved = self._clock()  # the engine was not silent, it was not listened to
        if self._engine is not None:
            self._engine.resume_reading()

    def overdue(self, now: float) -> None:
        """A comment is due in a stream that waits, or somebody was silent for too long."""
        limits = self._limits
        if now - self._full_since >= limits.client_silence:
            self._drop(Ending.STALLED)
            self._client.cut(at_once=True)
            return
        listening = self._state in {_SENT, _PASSING} and self._full_since == math.inf
        if listening and now - self._moved >= limits.engine_silence:
            self._fail(Ending.STALLED)
            return
        if self._comments():
            self._comment()
            self._client.attend(now + limits.wait_interval)
        elif self._full_since != math.inf:
            self._client.attend(self._full_since + limits.client_silence)
        elif self._state in {_SENT, _PASSING}:
            self._client.attend(self._moved + limits.engine_silence)
        else:
            self._client.attend(math.inf)

    def _comments(self) -> bool:
        if self._state is _WAITING:
            return self._request.stream
        return self._begun and self._state in {_CONNECTING, _SENT}

    def _comment(self) -> None:
        client = self._client
        if client.full:
            return
        comment = self._door.keep_alive(self._request)
        if not client.old:
            comment = chunked([comment])
        if not self._begun:
            self._begun = True
            framing = b"" if client.old else b"transfer-encoding: chunked\r\n"
            keep = client.keep and not client.old
            comment = _STREAM + framing + persistence(keep=keep, old=client.old) + b"\r\n" + comment
        client.write(comment)

    # --- what a request has no use for: its body is there, and is kept until the engine has answered ---

    def fed(self, data: bytes) -> None:
        """Part of what runs on a connection."""

    def engine_full(self) -> None:
        """Part of what listens to an engine."""

    def engine_ready(self) -> None:
        """Part of what listens to an engine."""
