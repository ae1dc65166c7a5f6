"""Given to level `compose`: the largest priority first."""

from __future__ import annotations

import heapq
import itertools
from typing import Any


class Ranked:
    """Largest priority first, equal ones in the order of their pushes. For one thread at a time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._items: dict[int, Any] = {}
        self._tickets = itertools.count(1)

    def push(self, item: Any, priority: float = 0) -> int:
        """Add an item; its ticket."""
        ticket = next(self._tickets)
        self._items[ticket] = item
        heapq.heappush(self._heap, (-priority, ticket))
        return ticket

    def pop(self) -> Any:
        """Take the first item.

        Raises:
            IndexError: there is none.
        """
        while True:
            _, ticket = heapq.heappop(self._heap)
            if ticket in self._items:
                return self._items.pop(ticket)

    def cancel(self, ticket: int) -> bool:
        """Take an item out; whether it was there."""
        if ticket not in self._items:
            return False
        del self._items[ticket]
        return True

    def __len__(self) -> int:
        """How many items are there."""
        return len(self._items)
