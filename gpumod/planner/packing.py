"""Exact search for room: every item on cards that have it, or the certainty that it cannot be.

Depth-first over items, largest first. What makes it fast without giving up exactness: cards that no later
item can tell apart are tried once (symmetry), a state that failed once is not entered again, and one in which
the remaining items need more bytes or slots than the cards have is left at once. Best fit only orders the
branches. The number of nodes is bounded: a search that hits the bound knows nothing and says so.

Items that can be divided between their layers come last and take what is left, as evenly as it allows: exact
for one of them; of several, all but the last are tried in three divisions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpumod.core.footprint import Spread
from gpumod.core.names import ServiceId
from gpumod.planner.spreading import divide, divisions

NODE_LIMIT = 10_000


class SearchLimitError(Exception):
    """The search was given up; whether there is room is not known."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to place an item: positions in the table of cards, and bytes on each, in slot order."""

    cards: tuple[int, ...]
    sizes: tuple[int, ...]
    former: int = 0
    """How many of the cards are those where the service was before."""
    spread: Spread | None = None
    """How the bytes can be divided otherwise; their sum stays."""
    split: tuple[int, ...] = ()
    """Layers per card that `sizes` are for, where there is a spread."""

    @property
    def least(self) -> tuple[int, ...]:
        """Bytes that each slot takes at least."""
        if self.spread is None:
            return self.sizes
        smallest = min(self.spread.layers)
        return tuple(fixed + smallest for fixed in self.spread.fixed)

    def within(self, room: Sequence[int], *, others: bool = False) -> Iterator[Option]:
        """The option with sizes for which there is room; with `others`, in more than one way."""
        rooms = tuple(room[card] for card in self.cards)
        if self.spread is None:
            if all(size <= there for size, there in zip(self.sizes, rooms, strict=True)):
                yield self
        elif sum(self.sizes) <= sum(rooms):
            even = divide(self.spread, rooms)
            ways = divisions(self.spread, rooms) if others else (even,)
            for split in ways:
                if split is not None:
                    yield replace(self, sizes=self.spread.cards(split), split=split)


@dataclass(frozen=True, slots=True)
class Item:
    """Something to place. `fixed` items name their cards, and so can tell equal cards apart."""

    id: ServiceId
    options: tuple[Option, ...]
    fixed: bool = False

    @property
    def least(self) -> int:
        """Bytes that it takes at least, over all its cards."""
        return min((sum(option.sizes) for option in self.options), default=0)

    @property
    def divisible(self) -> bool:
        """Whether it can be divided between its layers."""
        return any(option.spread is not None for option in self.options)


@dataclass(slots=True)
class Nodes:
    """How many nodes a search may still visit. One budget is shared by all searches of a plan."""

    left: int = NODE_LIMIT

    def spend(self) -> None:
        """Visit a node.

        Raises:
            SearchLimitError: the bound is reached.
        """
        if self.left <= 0:
            raise SearchLimitError
        self.left -= 1


def pack(
    items: Sequence[Item], room: Sequence[int], classes: Sequence[int], nodes: Nodes
) -> dict[ServiceId, Option] | None:
    """An option for each item such that no card takes more than its room; None if there is none.

    Args:
        items: what to place.
        room: bytes per card; a card below zero takes nothing.
        classes: cards of one class differ in nothing but their room.
        nodes: the bound of the search.

    Raises:
        SearchLimitError: the bound is reached before an answer is found.
    """
    search = _Search(sorted(items, key=_hardest_first), list(room), classes, nodes)
    return search.chosen if search.run() else None


def _hardest_first(item: Item) -> tuple[bool, bool, int, int, str]:
    largest = max((max(option.sizes, default=0) for option in item.options), default=0)
    return (item.divisible, not item.fixed, -largest, -item.least, item.id)


@dataclass(frozen=True, slots=True)
class _Rest:
    """What the items that are not placed yet need at least."""

    size: int = 0
    slots: int = 0
    smallest: int = 0
    """Bytes of the smallest slot."""

    def and_also(self, item: Item) -> _Rest:
        sizes = [size for option in item.options for size in option.least if size]
        slots = min((sum(1 for size in option.sizes if size) for option in item.options), default=0)
        smallest = min([*sizes, self.smallest] if self.smallest else sizes, default=0)
        return _Rest(self.size + item.least, self.slots + slots, smallest)

    def may_fit(self, room: Sequence[int]) -> bool:
        """Whether neither bytes nor slots forbid it. Room below the smallest slot is of no use."""
        if not self.smallest:
            return True
        useful = [size for size in room if size >= self.smallest]
        return self.size <= sum(useful) and self.slots <= sum(size // self.smallest for size in useful)


@dataclass(slots=True)
class _Search:
    items: list[Item]
    room: list[int]
    classes: Sequence[int]
    nodes: Nodes
    chosen: dict[ServiceId, Option] = field(default_factory=dict)
    _dead: set[object] = field(default_factory=set)
    _rest: list[_Rest] = field(default_factory=list)
    """From each depth on."""

    def run(self) -> bool:
        rest = _Rest()
        self._rest = [rest]
        for item in reversed(self.items):
            rest = rest.and_also(item)
            self._rest.append(rest)
        self._rest.reverse()
        return self._place(0)

    def _place(self, depth: int) -> bool:
        if depth == len(self.items):
            return True
        self.nodes.spend()
        if not self._rest[depth].may_fit(self.room):
            return False
        state = (depth, self._state(depth))
        if state in self._dead:
            return False
        item = self.items[depth]
        rest = self.items[depth + 1 :]
        others = any(one.divisible for one in rest)
        named = any(one.fixed for one in rest)
        for way in self._branches(item, named=named):
            for option in way.within(self.room, others=others):
                self._take(option, 1)
                self.chosen[item.id] = option
                if self._place(depth + 1):
                    return True
                self._take(option, -1)
                del self.chosen[item.id]
        self._dead.add(state)
        return False

    def _state(self, depth: int) -> tuple[object, ...]:
        """What later items can see: while one of them names its cards, no two cards are equal."""
        if any(item.fixed for item in self.items[depth:]):
            return tuple(self.room)
        return tuple(sorted(zip(self.classes, self.room, strict=True)))

    def _branches(self, item: Item, *, named: bool) -> list[Option]:
        fitting = [option for option in item.options if self._may_fit(option)]
        if item.fixed or len(fitting) < 2:
            return fitting
        fitting.sort(key=self._preference)
        if named:
            return fitting
        unlike: dict[object, Option] = {}
        for option in fitting:
            unlike.setdefault(self._signature(option), option)
        return list(unlike.values())

    def _may_fit(self, option: Option) -> bool:
        room = self.room
        return all(size <= room[card] for card, size in zip(option.cards, option.least, strict=True))

    def _preference(self, option: Option) -> tuple[object, ...]:
        """Former cards first, then as few models of card as possible, then best fit."""
        tight = sum(self.room[card] for card in option.cards)
        kinds = len({self.classes[card] for card in option.cards}) if option.spread else 1
        return (-option.former, kinds, tight, option.cards)

    def _signature(self, option: Option) -> tuple[object, ...]:
        cards = tuple((self.classes[card], self.room[card]) for card in option.cards)
        if option.spread is not None:
            return (option.spread, cards)
        return tuple(sorted(zip(option.sizes, cards, strict=True)))

    def _take(self, option: Option, sign: int) -> None:
        for card, size in zip(option.cards, option.sizes, strict=True):
            self.room[card] -= sign * size


def totals(chosen: Mapping[ServiceId, Option], cards: int) -> list[int]:
    """Bytes taken on each of so many cards."""
    taken = [0] * cards
    for option in chosen.values():
        for card, size in zip(option.cards, option.sizes, strict=True):
            taken[card] += size
    return taken
