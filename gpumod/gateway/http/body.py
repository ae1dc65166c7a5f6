"""Bodies of engines' answers: where they end, and how a client gets them."""

from __future__ import annotations

from gpumod.gateway.exchange import TAIL, Transfer
from gpumod.gateway.http.answers import AnswerHead
from gpumod.gateway.http.framing import LAST_CHUNK, Chunks, MalformedError, chunked

_KEPT = 4 * TAIL


class Body:
    """One answer's body.

    What is given out always ends between the client's chunks, so that an event of the gateway can follow.

    Args:
        head: of the answer.
        empty: whether there is no body whatever the head says.
        rechunk: whether the client gets chunks.

    Attributes:
        done: whether it is complete.
        until_close: whether the end of the connection is its end.
    """

    __slots__ = (
        "_chunks",
        "_kept",
        "_kept_bytes",
        "_left",
        "_rechunk",
        "_transfer",
        "done",
        "extra",
        "until_close",
    )

    def __init__(self, head: AnswerHead, transfer: Transfer, *, empty: bool, rechunk: bool) -> None:
        self._transfer = transfer
        self._chunks = Chunks() if head.chunked and not empty else None
        self.until_close = not empty and not head.chunked and head.length is None
        self._left = 0 if empty or head.length is None else head.length
        self._rechunk = rechunk
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self.done = self._chunks is None and not self.until_close and not self._left
        self.extra = False

    def feed(self, data: bytes, now: float) -> bytes:
        """What the client gets for some bytes of the engine.

        Raises:
            MalformedError: they are not framed as the head says.
        """
        if self._chunks is None:
            return self._unframed(data, now)
        used = self._chunks.feed(data)
        parts = self._chunks.parts
        if parts:
            self._account(parts, now)
        self.done = self._chunks.done
        if used < len(data):
            self.extra = True
            data = data[:used]
        if not self._rechunk:
            return b"".join(parts)
        if self._chunks.plain:
            return data
        return chunked(parts, last=self.done)

    def _unframed(self, data: bytes, now: float) -> bytes:
        if not self.until_close:
            if len(data) > self._left:
                self.extra = True
                data = data[: self._left]
            self._left -= len(data)
            self.done = not self._left
        if data:
            self._account([data], now)
        if self._rechunk:
            return chunked([data], last=self.done)
        return data

    def closed(self) -> bytes:
        """The connection has ended; what the client still gets.

        Raises:
            MalformedError: the body is not complete.
        """
        if not self.until_close:
            raise MalformedError("the engine's answer ended early")
        self.done = True
        return LAST_CHUNK if self._rechunk else b""

    def _account(self, parts: list[bytes], now: float) -> None:
        transfer = self._transfer
        if not transfer.first_byte:
            transfer.first_byte = now
        transfer.chunks += 1
        for part in parts:
            transfer.received += len(part)
            self._kept.append(part)
            self._kept_bytes += len(part)
        if self._kept_bytes > _KEPT:
            tail = self.tail()
            self._kept = [tail]
            self._kept_bytes = len(tail)

    def tail(self) -> bytes:
        """The last bytes so far, at most `TAIL`."""
        return b"".join(self._kept)[-TAIL:]

    def between_events(self) -> bool:
        """Whether what came so far ends with a whole event of a stream."""
        end = b"".join(self._kept[-4:])[-4:]
        return not end or end.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
