"""The body of a client's request, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from gpumod.gateway.http.framing import Chunks
from gpumod.gateway.http.requests import RequestHead

_WORTH_READING = 64 * 1024


class Use(Enum):
    """What is done with a body."""

    KEEP = auto()
    FEED = auto()
    """It goes on as it comes, framing included."""
    DISCARD = auto()


class Incoming:
    """One body.

    Attributes:
        body: what was kept.
        received: bytes of the body so far, framing excluded.
        done: whether it is complete.
        begun: when its head was there, monotonic seconds.
    """

    __slots__ = ("_chunks", "_feed", "_left", "begun", "body", "done", "received", "use")

    def __init__(
        self, head: RequestHead, use: Use, begun: float, feed: Callable[[bytes], None] | None = None
    ) -> None:
        self.use = use
        self.begun = begun
        self.body: bytes | bytearray = b""
        self.received = 0
        self._feed = feed
        self._chunks = Chunks() if head.chunked else None
        self._left = head.content_length or 0
        self.done = False

    def take(self, data: bytes, at: int) -> int:
        """Take in what belongs to the body, from a place on; the place after it.

        Raises:
            MalformedError: it is not framed as its head says.
        """
        if self._chunks is None:
            part = data[at : at + self._left]
            end = at + len(part)
            self._left -= len(part)
            self.done = not self._left
            self._add(part)
        else:
            end = self._chunks.feed(data, at)
            self.done = self._chunks.done
            for part in self._chunks.parts:
                self._add(part)
        if self.use is Use.FEED and self._feed is not None:
            self._feed(data[at:end])
        return end

    def _add(self, part: bytes) -> None:
        self.received += len(part)
        if self.use is not Use.KEEP:
            return
        if not self.received - len(part):
            self.body = part  # mostly the only one
        elif isinstance(self.body, bytearray):
            self.body += part
        else:
            self.body = bytearray(self.body) + part

    def short(self) -> bool:
        """Whether the rest is short enough to be read and thrown away for the sake of the connection."""
        return self._chunks is None and self._left <= _WORTH_READING

    def discard(self) -> None:
        """Keep nothing of the rest."""
        self.use = Use.DISCARD
        self.body = b""
