"""Divides a model over cards between its layers: which card takes how many."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

from gpumod.core.footprint import Spread

_HALVINGS: Final = 8
"""How finely the largest card's share is made small."""


@lru_cache(maxsize=1024)
def divide(spread: Spread, room: tuple[int, ...]) -> tuple[int, ...] | None:
    """Layers per card, as even in bytes as the room allows; None exactly if no division has room.

    Every card takes at least one of `spread.layers`, and the cards take them in their order.

    Args:
        spread: what follows the layers, and what does not.
        room: bytes that each card may give, in placement order.
    """
    layers = _Layers(spread)
    found = layers.fill(room)
    if found is None:
        return None
    low, high = layers.total // len(room), max(spread.cards(found))
    for _ in range(_HALVINGS):
        most = (low + high) // 2
        better = layers.fill(tuple(min(one, most) for one in room))
        if better is None:
            low = most
        else:
            found, high = better, max(spread.cards(better))
    return found


def divisions(spread: Spread, room: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Divisions that leave different cards free: the even one, and two that fill the first or last cards."""
    even = divide(spread, room)
    if even is None:
        return
    layers = _Layers(spread)
    tried = (even, layers.lean(room), layers.lean(room, last=True))
    yield from dict.fromkeys(one for one in tried if one is not None)


class _Layers:
    """The sums that divisions are made from."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread
        self._sums = [0, *accumulate(spread.layers)]
        self.total = self._sums[-1] + sum(spread.fixed)

    def fill(self, room: Sequence[int]) -> tuple[int, ...] | None:
        """A division within the room, each card near an equal share of what is left."""
        return self._walk(room, lean=None)

    def lean(self, room: Sequence[int], *, last: bool = False) -> tuple[int, ...] | None:
        """The division within the room that gives the first cards most, or the last ones."""
        return self._walk(room, lean="last" if last else "first")

    def _walk(self, room: Sequence[int], lean: str | None) -> tuple[int, ...] | None:
        ways = self._ways(room)
        if not ways[0] & 1:
            return None
        counts, start = [], 0
        for card in range(len(room)):
            far = self._furthest(start, room[card] - self._spread.fixed[card])
            ends = [end for end in range(start + 1, far + 1) if ways[card + 1] >> end & 1]
            end = ends[0] if lean == "last" else ends[-1]
            if lean is None:
                share = self._share(start, card)
                end = min(ends, key=lambda one: abs(self._sums[one] - share))
            counts.append(end - start)
            start = end
        return tuple(counts)

    def _share(self, start: int, card: int) -> float:
        """The sum at which this card would hold as much as each of those after it."""
        fixed = self._spread.fixed[card:]
        left = self._sums[-1] - self._sums[start] + sum(fixed)
        return self._sums[start] + left / len(fixed) - fixed[0]

    def _ways(self, room: Sequence[int]) -> list[int]:
        """For each card, and after the last one: the layers (as bits) from which the rest can be placed."""
        count = len(self._spread.layers)
        ways = [1 << count]
        for card in reversed(range(len(room))):
            most = room[card] - self._spread.fixed[card]
            after, here = ways[-1], 0
            for start in range(count):
                length = self._furthest(start, most) - start
                if length > 0 and (after >> start + 1) & ((1 << length) - 1):
                    here |= 1 << start
            ways.append(here)
        return ways[::-1]

    def _furthest(self, start: int, most: int) -> int:
        """The last end of layers from `start` on that take so many bytes at most."""
        return bisect_right(self._sums, self._sums[start] + most) - 1 if most >= 0 else start
