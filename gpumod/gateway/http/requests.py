"""The head of a client's request: parsed by httptools (llhttp), then held to what a proxy has to insist on.

llhttp itself refuses two lengths, a length beside chunks, folded lines, bare line feeds, control characters
and blanks before a colon. What it lets pass and would let two parsers disagree is refused here.
"""

from __future__ import annotations

import httptools

from gpumod.gateway.exchange import Answer, Headers
from gpumod.gateway.http.answers import problem
from gpumod.gateway.http.limits import Limits

END = b"\r\n\r\n"


class RefusedError(Exception):
    """A request that is not read on; the connection is closed after the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer: Answer = problem(status, detail, close=True)


class RequestHead:
    """What stands in a head.

    Attributes:
        target: as it was sent.
        path: of the target, without the query; still percent-encoded.
        content_length: None where there is none.
        upgrade: whether a websocket is asked for.
        other_upgrade: whether another protocol is offered, which may be ignored (RFC 9110, section 7.8).
        keep_alive: whether the client may send another request.
        old: whether it is HTTP/1.0.
    """

    __slots__ = (
        "_connection",
        "_hosts",
        "_upgrades",
        "chunked",
        "content_length",
        "expects",
        "headers",
        "keep_alive",
        "method",
        "old",
        "other_upgrade",
        "path",
        "query",
        "target",
        "upgrade",
    )  # fmt: skip

    def __init__(self, head: bytes, limits: Limits) -> None:
        """Parse a complete head, its empty line included.

        Raises:
            RefusedError: it is not HTTP/1.0 or 1.1, or breaks a bound.
        """
        self.content_length: int | None = None
        self.chunked = False
        self.expects = False
        self._hosts = 0
        self._upgrades = b""
        self._connection: list[bytes] = []
        _check_by_parser(head)
        first, *lines = head[:-4].split(b"\r\n")
        self.method, self.target, self.old = _request_line(first)
        if len(head) > limits.line:
            _check_lines(self.target, lines, limits)
        if len(lines) > limits.headers:
            raise RefusedError(431, f"more than {limits.headers} headers")
        self.headers: Headers = []
        for line in lines:
            name, _, value = line.partition(b":")
            name = name.lower()
            value = value.strip(b" \t")
            self.headers.append((name, value))
            if name in _FRAMING:
                self._frame(name, value)
        self.keep_alive = b"close" not in self._connection and (
            not self.old or b"keep-alive" in self._connection
        )
        asks = b"upgrade" in self._connection and not self.old
        self.upgrade = asks and self._upgrades == b"websocket"
        self.other_upgrade = bool(self._upgrades) and not self.upgrade
        self._check()
        self.path, self.query = _split(self.target)

    def relengthen(self, length: int) -> None:
        """Become the same head with another length."""
        self.content_length = length
        value = b"%d" % length
        self.headers = [(name, value if name == b"content-length" else old) for name, old in self.headers]

    def _frame(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.content_length = int(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or self.chunked:
                raise RefusedError(501, "no transfer coding but chunked is understood")
            self.chunked = True
        elif name == b"host":
            self._hosts += 1
        elif name == b"connection":
            self._connection += tokens(value)
        elif name == b"upgrade":
            self._upgrades = value.strip().lower()
        elif name == b"expect":
            if value.strip().lower() != b"100-continue":
                raise RefusedError(417, "no expectation but 100-continue is understood")
            self.expects = True

    def _check(self) -> None:
        if self.old and self.chunked:
            raise RefusedError(400, "HTTP/1.0 has no chunks")
        if self.content_length is not None and self.chunked:
            raise RefusedError(400, "a length beside chunks")
        if self._hosts > 1 or (not self._hosts and not self.old):
            raise RefusedError(400, "exactly one Host header is needed")
        if self.upgrade and (self.chunked or self.content_length):
            raise RefusedError(400, "a request for a websocket has no body")
        if self.method == b"CONNECT":
            raise RefusedError(405, "this is not a forward proxy")


class _Complete:
    """Wants one callback: the parser only checks."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        """Part of the parser's interface."""
        self.complete = True


def _check_by_parser(head: bytes) -> None:
    seen = _Complete()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # what follows is framed here, not by the parser
    except httptools.HttpParserError as error:
        raise RefusedError(400, f"bad request: {error}") from error
    if not seen.complete:
        raise RefusedError(400, "bad request: the head is not complete")


def _request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """Method, target, and whether it is HTTP/1.0."""
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if version == b"HTTP/1.1":
        return method, target, False
    if version == b"HTTP/1.0":
        return method, target, True
    if version.startswith(b" "):
        raise RefusedError(400, "bad request: blanks around the target")
    raise RefusedError(505, "HTTP/1.1 is spoken here")


def _check_lines(target: bytes, lines: list[bytes], limits: Limits) -> None:
    if len(target) > limits.line:
        raise RefusedError(414, f"the target is longer than {limits.line} bytes")
    if max(map(len, lines), default=0) > limits.line:
        raise RefusedError(431, f"a header is longer than {limits.line} bytes")


_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade", b"expect"})


def tokens(value: bytes) -> list[bytes]:
    """The elements of a list of tokens, in lower case."""
    return [token.strip() for token in value.lower().split(b",")]


def _split(target: bytes) -> tuple[bytes, bytes]:
    if not target.startswith(b"/") and b"://" in target:
        # The absolute form, which every server has to accept; the authority is Host's business.
        authority = target.split(b"://", 1)[1]
        slash = authority.find(b"/")
        question = authority.find(b"?")
        if slash < 0 or 0 <= question < slash:
            target = b"/" + (authority[question:] if question >= 0 else b"")
        else:
            target = authority[slash:]
    path, _, query = target.partition(b"?")
    return path.partition(b"#")[0], query.partition(b"#")[0]


def check_unfinished(buffer: bytes, since: int, limits: Limits) -> None:
    """Refuse a head that can no longer become one; `since` is how much of it was looked at before.

    Raises:
        RefusedError: it is too long, or its lines do not end as they have to.
    """
    if len(buffer) > limits.head:
        raise RefusedError(431, f"the head is longer than {limits.head} bytes")
    at = buffer.find(b"\n", since)
    while at >= 0:
        if at == 0 or buffer[at - 1] != 13:
            raise RefusedError(400, "bad request: a line ends without a carriage return")
        at = buffer.find(b"\n", at + 1)
