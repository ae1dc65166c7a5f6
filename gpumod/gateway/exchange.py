"""What the parts of the gateway hand to each other for one request. Values and one Protocol.

The way of a request: the listener reads its head and asks the door to `judge` it before a byte of its body is
kept; with the whole body there it asks the door to `open`. The door answers with where to send it, with a
finished answer, or with a future of either, while the request waits in the queue. The relay sends it,
passes the answer on as it comes, and tells the door how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gpumod.access import Principal
from gpumod.core.account import Ending as Ending  # noqa: PLC0414 - part of what is handed over
from gpumod.core.names import ServiceId

Headers = list[tuple[bytes, bytes]]
"""As they came, names in lower case."""


class Dialect(StrEnum):
    """Whose error shapes and stream events a client understands."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    PLAIN = "plain"
    """An engine's own routes: problem JSON."""


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request.

    Args:
        name: for metrics: `chat`, `embeddings`, `upstream` ...
        path: what the engine is asked for, without the query.
        dialect: how errors are told.
        names_model: whether the body (or, for a websocket, the query) says which model; else `service` does.
        generates: whether tokens are generated: such requests have usage and may be streams of events.
        service: named in the path (`/upstream/{service}/…`).
    """

    name: str
    path: bytes
    dialect: Dialect
    names_model: bool = True
    generates: bool = False
    service: str = ""


@dataclass(slots=True)
class Request:
    """A request whose head was let in. The body is complete when the door opens it.

    Args:
        query: without the question mark; empty where there is none.
        received: when the first byte of the head came, monotonic seconds.
        upgrade: whether it asks for a websocket; it has no body then.
        model: as the client named it; the door fills it in.
        stream: whether it asks for a stream of events; the door fills it in.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: Headers = field(repr=False)  # a key stands there
    principal: Principal
    route: Route
    received: float
    upgrade: bool = False
    body: bytes | bytearray = field(default=b"", repr=False)
    model: str = ""
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """Where a request goes. Its service's admission counts it from now until `Door.finished`.

    Args:
        port: on loopback.
        generation: of the service: connections of another one are not used.
        path: what the engine is asked for.
        headers: what the engine gets besides what the relay passes on: its own key, for one.
        body: as the engine gets it.
        queued: seconds that the request waited.
    """

    service: ServiceId
    port: int
    generation: int
    path: bytes
    body: bytes | bytearray = field(repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)  # a key stands there
    queued: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that the gateway gives itself."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    close: bool = False
    """Whether the connection is closed afterwards: the rest of the request was not read."""


@dataclass(slots=True)
class Transfer:
    """The account of a request that was passed on; times are monotonic seconds.

    Args:
        status: of the engine's answer; 0 where there was none.
        first_byte: when the first byte of the answer's body came.
        tail: the last bytes of the answer's body, at most `TAIL`: usage and timings stand at the end.
        received: bytes of the answer's body.
        chunks: reads that brought a part of the body.
        event_stream: whether it was a stream of events.
    """

    ending: Ending = Ending.OK
    status: int = 0
    sent: float = 0.0
    first_byte: float = 0.0
    ended: float = 0.0
    received: int = 0
    chunks: int = 0
    event_stream: bool = False
    encoded: bool = False
    """Whether the body is compressed: nothing can be read in it."""
    tail: bytes = field(default=b"", repr=False)


TAIL = 16 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before its body."""

    method: bytes
    path: bytes
    query: bytes
    headers: Headers = field(repr=False)
    unix: bool
    local_host: str
    peer: str
    received: float
    content_length: int | None = None
    chunked: bool = False
    upgrade: bool = False


Waiting = asyncio.Future[Passage | Answer]


class Door(Protocol):
    """Decides about requests. No method blocks, and all but `open` are called on the path of bytes."""

    def mine(self, path: bytes) -> bool:
        """Whether a path is the gateway's; all others are the control plane's."""
        ...

    def judge(self, head: Head) -> Request | Answer:
        """Whether a request may go on (keys, scopes, host, size), before its body is kept."""
        ...

    def open(self, request: Request) -> Passage | Answer | Waiting:
        """Where a request goes. A future is cancelled when the client goes away meanwhile."""
        ...

    def again(self, request: Request, passage: Passage) -> Passage | Answer | Waiting:
        """The engine took no connection, or closed it before it answered anything: where else to send it.

        Ends the passage; `finished` is not called for it.
        """
        ...

    def finished(self, request: Request, passage: Passage, transfer: Transfer) -> None:
        """A request that was passed on has ended."""
        ...

    def failed(self, request: Request, ending: Ending) -> Answer:
        """What a client gets whose answer had not begun when its request ended so; it may try again."""
        ...

    def failed_event(self, request: Request, answer: Answer) -> bytes:
        """An error as an event of the client's stream, for a stream that has begun, with its end mark."""
        ...

    def keep_alive(self, request: Request) -> bytes:
        """What a stream gets while it waits: a comment, or an event that its dialect has for it."""
        ...

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Be told when services may have gone: idle connections to them are to be closed."""
        ...

    def current(self, service: ServiceId, generation: int) -> bool:
        """Whether connections to this attempt of a service are still of use."""
        ...

    def gone(self, service: ServiceId, generation: int) -> bool:
        """Whether no process of this attempt is left: nothing more comes from it."""
        ...
