"""Finds heads in what comes and reads them, at once where only the length differs from the last one."""

from __future__ import annotations

from gpumod.gateway.http.answers import AnswerHead
from gpumod.gateway.http.framing import MalformedError
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.requests import END, RequestHead, check_unfinished
from gpumod.gateway.http.sameness import Pattern


class RequestHeads:
    """Reads the heads of the requests of one connection."""

    __slots__ = ("_last", "_limits", "_searched")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._searched = 0
        self._last: tuple[Pattern, RequestHead] | None = None

    def find(self, buffer: bytes, at: int) -> int:
        """Where the head ends that begins at a place; -1 while it is not complete.

        Raises:
            RefusedError: it cannot become one, or is too long.
        """
        end = buffer.find(END, at + self._searched)
        if end >= 0:
            self._searched = 0
            end += len(END)
            if end - at > self._limits.head:
                check_unfinished(buffer[at:end], 0, self._limits)
            return end
        begun = buffer[at:] if at else buffer
        check_unfinished(begun, self._searched, self._limits)
        self._searched = max(0, len(begun) - len(END) + 1)
        return -1

    def read(self, head: bytes) -> RequestHead:
        """What stands in a complete head. It may be the object that the call before gave out, changed.

        Raises:
            RefusedError: it is not to be read.
        """
        if self._last is not None:
            pattern, parsed = self._last
            length = pattern.length(head)
            if length is not None:
                if length >= 0:
                    parsed.relengthen(length)
                return parsed
            self._last = None
        parsed = RequestHead(head, self._limits)
        self._last = Pattern(head), parsed
        return parsed


class AnswerHeads:
    """Reads the heads of the answers on one connection to an engine, early hints included."""

    __slots__ = ("_buffer", "_last", "_limits", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._last: tuple[Pattern, AnswerHead] | None = None
        self.rest = b""

    @property
    def begun(self) -> bool:
        """Whether a part of a head has come."""
        return bool(self._buffer)

    def read(self, data: bytes) -> AnswerHead | None:
        """The next head, once it is complete; what came behind it is in `rest`.

        Raises:
            MalformedError: it is not a head, or too long.
        """
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(END)
        if (end if end >= 0 else len(buffer)) > self._limits.answer_head:
            raise MalformedError(
                f"the head of the engine's answer is longer than {self._limits.answer_head} bytes"
            )
        if end < 0:
            self._buffer = buffer
            return None
        self._buffer = b""
        self.rest = buffer[end + len(END) :]
        return self._parse(buffer[: end + len(END)])

    def _parse(self, head: bytes) -> AnswerHead:
        if self._last is not None:
            pattern, parsed = self._last
            length = pattern.length(head)
            if length is not None:
                return parsed.relengthened(length) if length >= 0 else parsed
        parsed = AnswerHead(head)
        if parsed.status >= 200:
            self._last = Pattern(head), parsed
        return parsed
