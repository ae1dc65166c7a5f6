"""Server-sent events out of bytes that arrive in any pieces (HTML standard, section "event streams")."""

from __future__ import annotations

from typing import Final

LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one unfinished event; the largest there is, a tool call in one piece, has some 100 kB."""


class EventTooLongError(Exception):
    """An event does not end."""


class EventStream:
    """Gives the data of each event as soon as its last byte is there. Comments and ids are skipped."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._data: list[bytes] = []
        self._held = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that this piece completes, in order.

        Raises:
            EventTooLongError: an event is longer than `LIMIT`.
        """
        self._held += len(piece)
        if self._held > LIMIT:
            raise EventTooLongError(f"an event is longer than {LIMIT} bytes")
        if b"\n" not in piece:
            self._pieces.append(piece)
            return []
        lines = (b"".join(self._pieces) + piece if self._pieces else piece).split(b"\n")
        rest = lines.pop()
        self._pieces = [rest] if rest else []
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                self._take(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        self._held = len(rest) + sum(map(len, self._data))
        return events

    def _take(self, line: bytes) -> None:
        # Older llama.cpp servers tell of an error in a field of its own.
        for name in (b"data:", b"error:"):
            if line.startswith(name):
                self._data.append(line[len(name) :].removeprefix(b" "))
