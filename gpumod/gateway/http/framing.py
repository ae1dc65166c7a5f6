"""Where bodies end: chunked framing, read strictly (RFC 9112, section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

LAST_CHUNK = b"0\r\n\r\n"

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})([ \t]*;[^\r\n\x00]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\x00]*\r\n")
_LINE = 1024
_TRAILERS = 8 * 1024


class MalformedError(Exception):
    """What came is not the framing that was announced."""


class Chunks:
    """A reader of one chunked body, fed with what comes.

    Attributes:
        parts: the payload of what was fed last.
        plain: whether what was fed last began and ended between chunks, with neither extensions nor trailers:
            its bytes can be passed on as they are.
        done: whether the body is complete.
    """

    __slots__ = ("_inside", "_left", "_line", "_trailers", "done", "parts", "plain")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.plain = True
        self.done = False
        self._left = 0
        self._inside = False  # in a chunk, its end of line included
        self._line = b""  # of a line that is not complete yet
        self._trailers = -1  # bytes of trailers; -1 before the last chunk

    def feed(self, data: bytes, at: int = 0) -> int:
        """Take in what belongs to the body, from a place on; the place after it.

        Raises:
            MalformedError: it is not chunked framing.
        """
        self.parts = []
        self.plain = not (self._inside or self._line or self._trailers >= 0)
        end = len(data)
        while at < end and not self.done:
            if self._left:
                part = data[at : at + self._left]
                self.parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif self._inside:
                at = self._end_of_chunk(data, at)
            elif self._trailers >= 0:
                at = self._trailer(data, at)
            else:
                at = self._size(data, at)
        if not self.done and (self._inside or self._line or self._trailers >= 0):
            self.plain = False
        return at

    def _size(self, data: bytes, at: int) -> int:
        found = None if self._line else _SIZE.match(data, at)
        if found is not None:
            at = found.end()
        else:
            at, line = self._read_line(data, at)
            if line is None:
                return at
            found = _SIZE.fullmatch(line)
            if found is None:
                raise MalformedError("the size of a chunk is not a number")
        if found[2] is not None:
            self.plain = False
            if len(found[2]) > _LINE:
                raise MalformedError("an extension of a chunk is too long")
        self._left = int(found[1], 16)
        if self._left:
            self._inside = True
        else:
            self._trailers = 0
        return at

    def _end_of_chunk(self, data: bytes, at: int) -> int:
        if not self._line and data[at : at + 2] == b"\r\n":
            self._inside = False
            return at + 2
        self._line += data[at : at + 1]
        if not b"\r\n".startswith(self._line):
            raise MalformedError("a chunk is longer than it says")
        if len(self._line) == 2:
            self._line = b""
            self._inside = False
        return at + 1

    def _trailer(self, data: bytes, at: int) -> int:
        at, line = self._read_line(data, at)
        if line is None:
            return at
        if line == b"\r\n":
            self.done = True
            return at
        self.plain = False
        self._trailers += len(line)
        if self._trailers > _TRAILERS or _TRAILER.fullmatch(line) is None:
            raise MalformedError("a trailer is not one, or they are too long")
        return at

    def _read_line(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        newline = data.find(b"\n", at)
        stop = len(data) if newline < 0 else newline + 1
        line = self._line + data[at:stop]
        if len(line) > _LINE:
            raise MalformedError("a line of the framing is too long")
        if newline < 0:
            self._line = line
            return stop, None
        self._line = b""
        return stop, line


def chunked(parts: Iterable[bytes], *, last: bool = False) -> bytes:
    """Parts as chunks, one each; empty ones are left out."""
    framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
    if last:
        framed.append(LAST_CHUNK)
    return b"".join(framed)
