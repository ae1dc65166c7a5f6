"""Recognises a head that is the one before it but for its length, so that it need not be parsed again.

On one connection heads differ mostly in nothing else. What was accepted once is accepted with another number.
"""

from __future__ import annotations

import re

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)


class Pattern:
    """A head that was accepted, with a gap for the number in `Content-Length`."""

    __slots__ = ("_after", "_before", "_rest")

    def __init__(self, head: bytes) -> None:
        found = _LENGTH.search(head)
        if found is None:
            self._before, self._after = head, None
        else:
            self._before, self._after = head[: found.start(1)], head[found.end(1) :]
            self._rest = len(self._before) + len(self._after)

    def length(self, head: bytes) -> int | None:
        """The length that a head says, if that is the only difference; -1 if both say none; else None."""
        if self._after is None:
            return -1 if head == self._before else None
        if not head.startswith(self._before) or not head.endswith(self._after):
            return None
        digits = head[len(self._before) : len(self._before) + len(head) - self._rest]
        if len(digits) > 15 or not digits.isdigit():
            return None
        return int(digits)
