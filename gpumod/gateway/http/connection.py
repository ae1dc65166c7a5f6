"""One client's connection: reads requests one after the other, and gives each to who answers it."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

from gpumod.gateway.exchange import Answer, Head, Request
from gpumod.gateway.http.answers import problem, serialised
from gpumod.gateway.http.client import Running
from gpumod.gateway.http.framing import MalformedError
from gpumod.gateway.http.guest import Guest, without_upgrade
from gpumod.gateway.http.heads import RequestHeads
from gpumod.gateway.http.incoming import Incoming, Use
from gpumod.gateway.http.relay import Relay
from gpumod.gateway.http.requests import RefusedError, RequestHead
from gpumod.gateway.http.where import where_from

if TYPE_CHECKING:
    from gpumod.gateway.http.listener import FrontDoor

_log = logging.getLogger(__name__)
_NOTHING = -1.0
"""No byte of a request's head has come."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _State(Enum):
    HEAD = auto()
    """A request may come, or is coming."""
    BODY = auto()
    BUSY = auto()
    """A request is being answered."""
    TUNNEL = auto()
    LINGER = auto()
    """Answered for the last time; what still comes is thrown away."""
    CLOSED = auto()


_HEAD, _BODY, _BUSY, _TUNNEL, _LINGER, _CLOSED = _State


class ClientConnection(asyncio.Protocol):
    """A client's connection.

    Attributes:
        deadline: when `overdue` is to be called, monotonic seconds.
        old: whether the request under way is HTTP/1.0.
        keep: whether the connection stays open after it.
        full: whether the client takes no more for now.
    """

    __slots__ = (
        "_at", "_buffer", "_front", "_head", "_heads", "_incoming",
        "_method", "_paused", "_processing", "_received",
        "_request", "_room", "_running", "_state", "_where", "deadline", "full", "keep", "old",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, front: FrontDoor) -> None:
        self._front = front
        self._state = _HEAD
        self._buffer = b""
        self._at = 0  # up to where it was read
        self._heads = RequestHeads(front.limits)
        self._received = _NOTHING
        self._processing = False
        self._paused = False
        self._head: Head | None = None
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        self._running: Running | None = None
        self._method = b""
        self._room = 0
        self._where: tuple[bool, str, str] | None = None
        self.deadline = math.inf
        self.old = False
        self.keep = True
        self.full = False

    # --- asyncio's callbacks ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._front.made(self)
        self.deadline = self._front.clock() + self._front.limits.idle_time

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state is _TUNNEL:
            if self._running is not None:
                self._running.fed(data)
        elif state is not _LINGER and state is not _CLOSED:
            self._buffer = self._buffer + data if self._buffer else data
            self._process()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._state = _CLOSED
        self._buffer = b""
        self._at = 0
        self._incoming = None
        self._leave_room()
        running, self._running = self._running, None
        if running is not None:
            running.gone()
        self._front.lost(self)

    def pause_writing(self) -> None:
        self.full = True
        if self._running is not None:
            self._running.full()

    def resume_writing(self) -> None:
        self.full = False
        if self._running is not None:
            self._running.ready()
        else:
            self._process()
            if self._paused and not self.full and self._state is _HEAD:
                self.resume_reading()

    # --- reading ---

    def _process(self) -> None:
        """Read on as far as possible. An answer that ends meanwhile does not start this anew."""
        if self._processing:
            return
        self._processing = True
        try:
            while self._at < len(self._buffer):
                if self._incoming is not None:
                    self._take_body(self._incoming)
                elif self._state is not _HEAD or self.full or not self._take_head():
                    break
        except RefusedError as refused:
            self._refuse(refused.answer)
        except MalformedError as error:
            self._refuse(problem(400, f"bad request: {error}", close=True))
        except Exception:  # noqa: BLE001 - whatever is wrong here, the client is not left without an answer
            _log.exception("a request cannot be dealt with")
            self._refuse(problem(500, "the gateway has failed; its log says more", close=True))
        finally:
            self._processing = False
            self._forget_read()
        waits = self._state is _BUSY or self.full
        if waits and not self._paused and len(self._buffer) > self._front.limits.pipelined:
            self.pause_reading()

    def _forget_read(self) -> None:
        if self._at:
            self._buffer = self._buffer[self._at :]
            self._at = 0

    def _take_head(self) -> bool:
        """Read a head; False if it is not complete."""
        front = self._front
        buffer = self._buffer
        if self._received == _NOTHING:
            self._received = front.clock()
            self.deadline = self._received + front.limits.head_time
        at = self._at
        if buffer[at] == 13 and b"\r\n".startswith(buffer[at : at + 2]):
            if len(buffer) < at + 2:
                return False
            at = self._at = at + 2  # a blank line before a request is passed over (RFC 9112, section 2.2)
        end = self._heads.find(buffer, at)
        if end < 0:
            return False
        self._at = end
        head = buffer[at:end]
        self.old = False
        self.keep = True
        self._method = b""
        parsed = self._heads.read(head)
        self.old = parsed.old
        self.keep = parsed.keep_alive and not front.draining
        self._method = parsed.method
        self.deadline = math.inf
        if front.door.mine(parsed.path):
            self._begin(parsed)
        else:
            self._hand_over(parsed, head)
        return True

    def _begin(self, parsed: RequestHead) -> None:
        """A request for the gateway."""
        if self._where is None:
            self._where = where_from(self.transport)
        unix, local_host, peer = self._where
        received, self._received = self._received, _NOTHING
        head = Head(
            parsed.method, parsed.path, parsed.query, parsed.headers, unix, local_host, peer, received,
            parsed.content_length, parsed.chunked, parsed.upgrade,
        )  # fmt: skip
        verdict = self._front.door.judge(head)
        has_body = parsed.chunked or bool(parsed.content_length)
        if isinstance(verdict, Answer):
            self._state = _BUSY
            if has_body:
                self._incoming = Incoming(parsed, Use.DISCARD, received)
                if parsed.expects:
                    self.keep = False  # whether the body comes is the client's choice
            self.answer(verdict)
            return
        self._request = verdict
        if not has_body:
            self._open(verdict)
            return
        if (parsed.content_length or 0) > self._front.limits.body:
            self._head = head
            self._incoming = Incoming(parsed, Use.KEEP, received)
            self._too_large(self._incoming, parsed.content_length or 0)
            return
        self._take_in(parsed, head, received)

    def _take_in(self, parsed: RequestHead, head: Head, received: float) -> None:
        self._head = head
        self._check_room(parsed.content_length or 0)
        self._state = _BODY
        self._incoming = Incoming(parsed, Use.KEEP, received)
        self._attend_body(self._incoming)
        if parsed.expects and self._at == len(self._buffer) and not parsed.old:
            self.transport.write(_CONTINUE)

    def _attend_body(self, incoming: Incoming) -> None:
        limits = self._front.limits
        self.deadline = incoming.begun + limits.body_time + incoming.received / limits.body_rate

    def _take_body(self, incoming: Incoming) -> None:
        at = incoming.take(self._buffer, self._at)
        if incoming is not self._incoming:
            return  # who was fed has closed the connection
        self._at = at
        if incoming.use is Use.KEEP:
            if incoming.received > self._front.limits.body:
                self._too_large(incoming, incoming.received)
                return
            if incoming.received > self._room:
                self._keep_room(incoming.received)
        if incoming.done:
            self._incoming = None
            if incoming.use is Use.KEEP and self._request is not None:
                self._request.body = incoming.body
                self._head = None
                self._open(self._request)
            elif self._running is not None:
                self.deadline = math.inf

    def _check_room(self, size: int) -> None:
        """Whether there is room for a body of so many bytes among all that are kept at once.

        Raises:
            RefusedError: there is none.
        """
        if self._front.kept + size - self._room > self._front.limits.kept:
            raise RefusedError(503, "too much is being sent at once: try again")

    def _keep_room(self, size: int) -> None:
        """Take it, for what has come: a body that is only announced takes none from others."""
        self._check_room(size)
        self._front.kept += size - self._room
        self._room = size

    def _leave_room(self) -> None:
        self._front.kept -= self._room
        self._room = 0

    def _too_large(self, incoming: Incoming, size: int) -> None:
        """The door tells it in the client's dialect, as if the request had said its size."""
        incoming.discard()
        self.keep = False
        assert self._head is not None  # noqa: S101 - kept with the body
        verdict = self._front.door.judge(replace(self._head, content_length=size, chunked=False))
        limit = self._front.limits.body
        large = problem(413, f"the body is larger than {limit} bytes", close=True)
        self.answer(verdict if isinstance(verdict, Answer) else large)

    # --- who answers ---

    def _open(self, request: Request) -> None:
        self._request = None
        self._state = _BUSY
        self.deadline = math.inf
        front = self._front
        where = front.door.open(request)
        if isinstance(where, Answer):
            self.answer(where)
            return
        relay = Relay(
            self, request, door=front.door, pool=front.pool, limits=front.limits, clock=front.clock
        )  # fmt: skip
        self._running = relay
        relay.start(where)

    def _hand_over(self, parsed: RequestHead, head: bytes) -> None:
        """A request for the control plane."""
        front = self._front
        received, self._received = self._received, _NOTHING
        self._state = _BUSY
        has_body = parsed.chunked or bool(parsed.content_length)
        if front.control is None:
            if has_body:
                self._incoming = Incoming(parsed, Use.DISCARD, received)
            self.answer(problem(404, "nothing is here"))
            return
        guest = Guest(self, front.control(), front.limits, front.clock)
        self._running = guest
        if has_body:
            self._incoming = Incoming(parsed, Use.FEED, received, guest.fed)
            self._attend_body(self._incoming)
        guest.fed(without_upgrade(parsed) if parsed.other_upgrade else head)
        if front.draining:
            guest.shut_down()

    # --- what runs on the connection says ---

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def attend(self, when: float) -> None:
        """Call `overdue` of what runs once the clock is there."""
        self.deadline = when

    def answer(self, answer: Answer) -> None:
        """Answer the request."""
        incoming = self._incoming
        unread = incoming is not None and not incoming.done and not incoming.short()
        self.keep = self.keep and not answer.close and not unread and not self._front.draining
        head_only = self._method == b"HEAD"
        self.transport.write(serialised(answer, keep=self.keep, old=self.old, bodiless=head_only))
        self.done(keep=True)

    def done(self, *, keep: bool) -> None:
        """The request is answered: read the next one, or close."""
        self._running = None
        self._request = None
        self._leave_room()
        if self._state is _CLOSED:
            return
        incoming = self._incoming
        if (
            not (keep and self.keep)
            or self._front.draining
            or (incoming is not None and not incoming.short())
        ):
            self._close()
            return
        if incoming is not None:
            incoming.discard()
        self._state = _HEAD
        self.deadline = self._front.clock() + self._front.limits.idle_time
        if self._paused:
            self.resume_reading()
        if self._at < len(self._buffer):
            self._process()

    def cut(self, *, at_once: bool = False) -> None:
        """Close within an answer."""
        self._running = None
        self._incoming = None
        if at_once:
            self._state = _CLOSED
            self.transport.abort()
        else:
            self._close()

    def tunnel(self, running: Running) -> None:
        """From now on bytes are no requests."""
        self._running = running
        self._state = _TUNNEL
        self._forget_read()
        buffer, self._buffer = self._buffer, b""
        if buffer and self._running is not None:
            self._running.fed(buffer)

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        self._paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # --- endings ---

    def _refuse(self, answer: Answer) -> None:
        """The request cannot be read. Nobody knows where the next one would begin."""
        if self._running is not None:
            running, self._running = self._running, None
            running.gone()
            self.cut()
            return
        if self._incoming is not None and self._incoming.use is Use.DISCARD:
            self._close()  # it is answered
            return
        self.keep = False
        self._incoming = None
        self.transport.write(serialised(answer, keep=False, old=self.old, bodiless=self._method == b"HEAD"))
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close when all is sent; if the client is still sending, only after it had time to read."""
        limits = self._front.limits
        linger = linger or self._incoming is not None
        self._incoming = None
        self._buffer = b""
        self._at = 0
        now = self._front.clock()
        if linger and self.transport.can_write_eof() and not self.transport.is_closing():
            self._state = _LINGER
            self.deadline = now + limits.linger_time
            self.transport.write_eof()
            if self._paused:
                self.resume_reading()
        else:
            self._state = _CLOSED
            self.deadline = now + limits.client_silence
            self.transport.close()

    def drain(self) -> None:
        """The server ends: the answer under way is the last one."""
        self.keep = False
        if self._state is _HEAD and self._received == _NOTHING:
            self._close()
        elif isinstance(self._running, Guest):
            self._running.shut_down()

    def break_off(self) -> None:
        """Whose answer is not whole yet is told so, as far as what was sent allows it."""
        if isinstance(self._running, Relay):
            self._running.break_off()

    def cut_off(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def overdue(self, now: float) -> None:
        """The deadline has come."""
        self.deadline = math.inf
        incoming = self._incoming
        if self._state in {_LINGER, _CLOSED}:
            self.transport.abort()
        elif incoming is not None:
            self._attend_body(incoming)
            if self.deadline <= now:
                self._refuse(problem(408, "the body came too slowly", close=True))
        elif self._running is not None:
            self._running.overdue(now)
        elif self._state is _HEAD:
            if self._received != _NOTHING:
                self._refuse(problem(408, "the head came too slowly", close=True))
            else:
                self._close()
