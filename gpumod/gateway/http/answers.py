"""Heads of answers: those of engines, read strictly and passed on, and those of the gateway itself."""

from __future__ import annotations

import http
import json
import re

from gpumod.gateway.exchange import Answer
from gpumod.gateway.http.framing import MalformedError

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\x00]*)?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\x00]*\r\n)*)\r\n"
)
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_NOT_NOMINATED = frozenset({b"", b"keep-alive", b"upgrade", b"content-length"})
"""A length is dropped for no engine's word: the client would take the next answer for a part of this one."""
_LOOKED_AT = HOP_BY_HOP | {b"content-length", b"content-type", b"content-encoding"}


class AnswerHead:
    """What stands in the head of an engine's answer.

    Attributes:
        start: the status line, as it came but for the version.
        lines: end-to-end headers, as they came.
        length: None where there is none.
        keep_alive: whether the engine keeps the connection.
        encoded: whether the body is compressed.
    """

    __slots__ = (
        "chunked",
        "encoded",
        "event_stream",
        "hop",
        "keep_alive",
        "length",
        "lines",
        "start",
        "status",
    )

    def __init__(self, head: bytes) -> None:
        """Parse a complete head, its empty line included.

        Raises:
            MalformedError: it is not the head of an HTTP/1 answer.
        """
        found = _HEAD.fullmatch(head)
        if found is None:
            raise MalformedError("the engine's answer is not HTTP/1.1")
        self.status = int(found[2])
        self.keep_alive = found[1] == b"1"
        self.length: int | None = None
        self.chunked = False
        self.event_stream = False
        self.encoded = False
        self.hop: list[bytes] = []
        lines = found[3].split(b"\r\n")
        lines.pop()
        self.lines = [line for line in lines if self._passes(line)]
        self._check(old=found[1] == b"0")
        if self.hop:
            nominated = frozenset(self.hop)
            self.lines = [line for line in self.lines if line.partition(b":")[0].lower() not in nominated]
        self.start = b"HTTP/1.1" + head[8 : head.index(b"\r\n")]

    def _passes(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in _LOOKED_AT:
            return True
        value = value.strip(b" \t").lower()
        if name == b"content-length":
            if self.length is not None or not value.isdigit() or len(value) > 18:
                raise MalformedError("the length of the engine's answer is not a number")
            self.length = int(value)
        elif name == b"content-type":
            self.event_stream = value.startswith(b"text/event-stream")
        elif name == b"content-encoding":
            self.encoded = value not in {b"", b"identity"}
        elif name == b"transfer-encoding":
            if value != b"chunked" or self.chunked:
                raise MalformedError("the engine's answer has an unknown transfer coding")
            self.chunked = True
        elif name == b"connection":
            self._connection(value)
        return name not in HOP_BY_HOP

    def _check(self, *, old: bool) -> None:
        if self.chunked and (old or self.length is not None):
            raise MalformedError("the engine's answer has two lengths")

    def _connection(self, value: bytes) -> None:
        for token in value.split(b","):
            token = token.strip(b" \t")
            if token == b"close":
                self.keep_alive = False
            elif token not in _NOT_NOMINATED:
                self.hop.append(token)

    def relengthened(self, length: int) -> AnswerHead:
        """The same head with another length; itself, since answers on one connection follow each other."""
        if length != self.length and self.length is not None:
            before, after = b"%d" % self.length, b"%d" % length
            self.length = length
            self.lines = [
                line.replace(before, after) if line[:15].lower() == b"content-length:" else line
                for line in self.lines
            ]
        return self

    def bodiless(self, method: bytes) -> bool:
        """Whether an answer to such a request has no body whatever its head says."""
        return method == b"HEAD" or self.status in {204, 304}


def _start(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())


def persistence(*, keep: bool, old: bool) -> bytes:
    """The header line that tells a client whether the connection stays open; none where that is the rule."""
    if not keep:
        return b"connection: close\r\n"
    return b"connection: keep-alive\r\n" if old else b""


def serialised(answer: Answer, *, keep: bool, old: bool, bodiless: bool) -> bytes:
    """An answer of the gateway's own as bytes; `bodiless` for one to HEAD."""
    lines = [_start(answer.status)]
    lines += [b"%b: %b\r\n" % header for header in answer.headers]
    if answer.status not in {204, 304}:
        lines.append(b"content-length: %d\r\n" % len(answer.body))
    lines += [persistence(keep=keep, old=old), b"\r\n"]
    if not bodiless and answer.status not in {204, 304}:
        lines.append(answer.body)
    return b"".join(lines)


def problem(status: int, detail: str, *, close: bool = False) -> Answer:
    """An answer to what is not understood enough to have a dialect (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    headers = [(b"content-type", b"application/problem+json")]
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    return Answer(status, json.dumps(body).encode(), tuple(headers), close)
