"""An engine's answer on its way to a client: its head as the client gets it, then its body as it comes."""

from __future__ import annotations

from gpumod.gateway.exchange import Answer, Transfer
from gpumod.gateway.http.answers import AnswerHead, persistence
from gpumod.gateway.http.body import Body
from gpumod.gateway.http.client import Client
from gpumod.gateway.http.framing import LAST_CHUNK

_ERROR = 64 * 1024


class Passing:
    """One answer.

    Args:
        method: of the request.
        transfer: is filled in.
        begun: whether the client has a 200 and a stream of events already. Then this answer's events go on
            in it; any other answer has to become an event, and its first 64 KiB are kept for that.

    Attributes:
        body: where it ends.
        told: whether the client has anything of this answer.
    """

    __slots__ = ("_begun", "_client", "_error", "_head", "_method", "body", "told")

    def __init__(
        self, client: Client, method: bytes, head: AnswerHead, transfer: Transfer, *, begun: bool
    ) -> None:
        transfer.status = head.status
        transfer.event_stream = head.event_stream
        transfer.encoded = head.encoded
        self._client = client
        self._method = method
        self._head = head
        self._begun = begun
        empty = head.bodiless(method)
        if begun:
            usable = head.status == 200 and head.event_stream and not head.encoded
            rechunk = usable
        else:
            usable = True
            rechunk = head.length is None and not empty
        self._error = None if usable else bytearray()
        self.body = Body(head, transfer, empty=empty, rechunk=rechunk and not client.old)
        self.told = begun and usable

    def begin(self, rest: bytes, now: float) -> None:
        """Pass on the head, and what came with it of the body.

        Raises:
            MalformedError: the body is not framed as the head says.
        """
        if self._begun:
            self.feed(rest, now)
            return
        head, client = self._head, self._client
        unbounded = head.length is None and not head.bodiless(self._method)
        lines = [head.start, *head.lines]
        if unbounded and not client.old:
            lines.append(b"transfer-encoding: chunked")
        keep = client.keep and not (unbounded and client.old)
        start = b"\r\n".join(lines) + b"\r\n" + persistence(keep=keep, old=client.old) + b"\r\n"
        client.write(start + self.body.feed(rest, now) if rest else start)
        self.told = True

    def feed(self, data: bytes, now: float) -> None:
        """Pass on a part of the body.

        Raises:
            MalformedError: it is not framed as the head says.
        """
        given = self.body.feed(data, now) if data else b""
        if self._error is None:
            if given:
                self._client.write(given)
        elif len(self._error) < _ERROR:
            self._error += given

    def closed(self) -> None:
        """The engine has closed the connection.

        Raises:
            MalformedError: the body is not complete.
        """
        last = self.body.closed()
        if last and self._error is None:
            self._client.write(last)

    def finish(self) -> Answer | None:
        """The body is complete. What is still to be told as an event of the stream that had begun."""
        head = self._head
        if self._error is not None:
            found = (line.partition(b":") for line in head.lines)
            headers = tuple((name.lower(), value.strip()) for name, _, value in found)
            return Answer(head.status, bytes(self._error), headers)
        if self._begun and head.length == 0 and not self._client.old:
            self._client.write(LAST_CHUNK)  # no part of the body has carried the end
        return None

    @property
    def engine_kept(self) -> bool:
        """Whether the engine's connection can be used again, now that the body is complete."""
        return self._head.keep_alive and not self.body.extra and not self.body.until_close

    @property
    def client_kept(self) -> bool:
        """Whether the client knows where the answer ends."""
        if not self._client.old:
            return True
        return not self._begun and (self._head.length is not None or self._head.bodiless(self._method))

    @property
    def takes_event(self) -> bool:
        """Whether an event of the gateway's own may follow what the client has so far."""
        head = self._head
        if self._error is not None:
            return True
        if not head.event_stream or head.encoded:
            return False
        return (self._begun or head.length is None) and self.body.between_events()
