"""Given to level `compose`: first in, first out."""

from __future__ import annotations

import collections
import threading
from typing import Any


class Closed(Exception):
    """The queue is closed, and nothing is left in it."""


class Fifo:
    """First in, first out, for many threads."""

    def __init__(self) -> None:
        self._items: collections.deque[Any] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Any) -> None:
        """Add an item."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def get(self) -> Any:
        """Take the oldest item; wait for one.

        Raises:
            Closed: there will be none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            if not self._items:
                raise Closed
            return self._items.popleft()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
