"""Where each start goes: without moving anything that stays, else with as few moves as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Final

from gpumod.core.cards import Card
from gpumod.core.facts import Facts, RunningService
from gpumod.core.names import CardId, ServiceId
from gpumod.core.spec import ServiceSpec
from gpumod.planner.budget import Ledger, charge_on, ledgers, sizes_on
from gpumod.planner.cards import card_named, cards_asked, exact_ids, footprint_on
from gpumod.planner.packing import Item, Nodes, Option, pack

_FEW: Final = 3
"""So many cards are tried in every order, where a model is divided between its layers."""


@dataclass(frozen=True, slots=True)
class Table:
    """The cards that can be planned with, by index."""

    ledgers: tuple[Ledger, ...]
    classes: tuple[int, ...]
    """Cards of one class differ in nothing but their room."""

    def position(self, card: CardId) -> int | None:
        """Where a card is in the table; None if it cannot be planned with."""
        return next((at for at, one in enumerate(self.ledgers) if one.card.id == card), None)

    def room(self, leaving: frozenset[ServiceId]) -> list[int]:
        """Bytes that may be given away on each card, once some services have left."""
        return [one.room(leaving) for one in self.ledgers]


@dataclass(frozen=True, slots=True)
class Movable:
    """A kept service that may be stopped and started elsewhere if nothing else helps."""

    running: RunningService
    item: Item


@dataclass(frozen=True, slots=True)
class Placement:
    """The cards of each start, and the kept services that had to become starts."""

    cards: dict[ServiceId, tuple[CardId, ...]]
    moved: frozenset[ServiceId]
    splits: dict[ServiceId, tuple[int, ...]] = field(default_factory=dict)
    """Layers per card of those that were divided between their layers."""


def card_table(facts: Facts) -> Table:
    """The usable cards of a box."""
    usable = tuple(one for one in ledgers(facts) if one.card.usable)
    kinds = sorted({_kind(one.card) for one in usable})
    return Table(usable, tuple(kinds.index(_kind(one.card)) for one in usable))


def item_for(facts: Facts, table: Table, spec: ServiceSpec) -> Item:
    """Every way to place a service; without options where it asks for what is not there."""
    running = facts.running(spec.id)
    former = running.record.cards if running else ()
    if spec.cards.exact:
        return Item(spec.id, tuple(_exact_option(facts, table, spec)), fixed=True)
    asked = cards_asked(spec)
    options = (
        option
        for chosen in combinations(range(len(table.ledgers)), asked)
        for option in _options(facts, table, spec, chosen, former)
    )
    return Item(spec.id, tuple(options))


def place(
    table: Table,
    starts: Sequence[Item],
    movable: Sequence[Movable],
    leaving: frozenset[ServiceId],
    nodes: Nodes,
) -> Placement | None:
    """Room for all starts; None if there is none, whatever is moved.

    The fewest moves win; among equals those of the smallest services.

    Raises:
        SearchLimitError: the bound is reached before an answer is found.
    """
    chosen = pack(starts, table.room(leaving), table.classes, nodes)
    if chosen is not None:
        return _placement(table, chosen, frozenset())
    if not movable or not _could_be(table, starts, movable, leaving, nodes):
        return None
    smallest_first = sorted(movable, key=lambda one: (_held(one.running), one.item.id))
    for count in range(1, len(smallest_first) + 1):
        for moved in combinations(smallest_first, count):
            nodes.spend()
            ids = frozenset(one.item.id for one in moved)
            items = [*starts, *(one.item for one in moved)]
            chosen = pack(items, table.room(leaving | ids), table.classes, nodes)
            if chosen is not None:
                return _placement(table, chosen, ids)
    return None


def _could_be(
    table: Table,
    starts: Sequence[Item],
    movable: Sequence[Movable],
    leaving: frozenset[ServiceId],
    nodes: Nodes,
) -> bool:
    """Whether everything would fit if each kept service could stay or move for nothing.

    If not, no choice of moves can help: one search answers for all of them.
    """
    everyone = leaving | {one.item.id for one in movable}
    present = table.room(leaving)
    items = list(starts)
    for one in movable:
        stays = _stays(table, one.running, present)
        items.append(Item(one.item.id, (*stays, *one.item.options)))
    return pack(items, table.room(everyone), table.classes, nodes) is not None


def _stays(table: Table, running: RunningService, present: Sequence[int]) -> Iterator[Option]:
    """Staying as an option, also on any like cards, so that the search may still swap these.

    Where a card is over its budget already, or what was seen there is old, staying costs nothing more.
    """
    kinds, sizes = [], []
    for card in running.record.cards:
        position = table.position(card)
        if position is None:
            continue
        one = table.ledgers[position]
        stale = one.card.free + sum(charge.observed for charge in one.charges) > one.capacity
        if not stale and present[position] >= 0:
            kinds.append(table.classes[position])
            sizes.append(charge_on(running, one.card.id).size)
    for chosen in combinations(range(len(table.ledgers)), len(sizes)):
        for cards in _arrangements(chosen, tuple(sizes)):
            if [table.classes[position] for position in cards] == kinds:
                yield Option(cards, tuple(sizes))


def _exact_option(facts: Facts, table: Table, spec: ServiceSpec) -> Iterator[Option]:
    ids = exact_ids(facts.reading, spec.cards) or ()
    positions = tuple(position for card in ids if (position := table.position(card)) is not None)
    if len(positions) == len(spec.cards.exact):
        cards = [card for name in spec.cards.exact if (card := card_named(facts.reading, name)) is not None]
        footprint = footprint_on(facts, spec, cards)
        if footprint is not None:
            yield Option(positions, sizes_on(footprint, ids), 0, footprint.spread)


def _options(
    facts: Facts, table: Table, spec: ServiceSpec, chosen: tuple[int, ...], former: tuple[CardId, ...]
) -> Iterator[Option]:
    cards = [table.ledgers[position].card for position in chosen]
    if len(cards) > 1 and any(card.is_host for card in cards):
        return
    footprint = footprint_on(facts, spec, cards)
    if footprint is None:
        return
    sizes = sizes_on(footprint, tuple(card.id for card in cards))
    divided = footprint.spread is not None
    for positions in _orders(chosen) if divided else _arrangements(chosen, sizes):
        on = [table.ledgers[position].card for position in positions]
        ids = tuple(card.id for card in on)
        likeness = len(set(ids) & set(former)) + (ids == former)
        here = footprint_on(facts, spec, on) if divided else footprint
        if here is not None:
            yield Option(positions, here.cards if divided else sizes, likeness, here.spread)


def _orders(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of cards for the layers: all of a few cards, and of many, which differ little, two."""
    if len(chosen) <= _FEW:
        yield from permutations(chosen)
    else:
        yield from (chosen, chosen[::-1])


def _arrangements(cards: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every different way to give these cards to slots of these sizes."""
    if len(set(sizes)) < 2:
        yield cards
        return
    slots: dict[int, list[int]] = {}
    for slot, size in enumerate(sizes):
        slots.setdefault(size, []).append(slot)
    yield from _fill(list(slots.values()), cards, {}, len(sizes))


def _fill(
    groups: list[list[int]], rest: tuple[int, ...], given: dict[int, int], count: int
) -> Iterator[tuple[int, ...]]:
    if not groups:
        yield tuple(given[slot] for slot in range(count))
        return
    for part in combinations(rest, len(groups[0])):
        others = tuple(card for card in rest if card not in part)
        yield from _fill(groups[1:], others, given | dict(zip(groups[0], part, strict=True)), count)


def _kind(card: Card) -> tuple[bool, str]:
    return (card.is_host, card.name)


def _held(running: RunningService) -> int:
    return sum(charge_on(running, card).size for card in running.record.cards)


def _placement(table: Table, chosen: dict[ServiceId, Option], moved: frozenset[ServiceId]) -> Placement:
    cards = {
        service: tuple(table.ledgers[position].card.id for position in option.cards)
        for service, option in chosen.items()
    }
    splits = {service: option.split for service, option in chosen.items() if option.split}
    return Placement(cards, moved, splits)
