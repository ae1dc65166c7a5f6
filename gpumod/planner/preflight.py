"""Where each service of a target was looked at, and how much memory there is for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpumod.core.facts import Facts
from gpumod.core.footprint import Footprint
from gpumod.core.names import CardId, ServiceId
from gpumod.core.plan import Plan, Refused, StartOrder, StepKind, Target
from gpumod.core.spec import ServiceSpec
from gpumod.planner.budget import host_ledger, sizes_on
from gpumod.planner.cards import cards_asked, class_footprints, exact_ids
from gpumod.planner.diff import compare
from gpumod.planner.packing import Item, Nodes, Option, SearchLimitError, pack
from gpumod.planner.placement import Table, card_table, item_for


@dataclass(frozen=True, slots=True)
class Look:
    """One service of a target, as it was looked at.

    Args:
        spec: the service.
        runs: it is kept as it runs.
        cards: where it is or would go; where there is no room, the roomiest cards that it may have.
        footprint: what it takes there; None where that is not known.
        room: every card that can be planned with, and bytes that it has for this service once all others of
            the target have theirs.
        host: bytes of the host's memory that there are for it.
    """

    spec: ServiceSpec
    runs: bool
    cards: tuple[CardId, ...]
    footprint: Footprint | None
    room: tuple[tuple[CardId, int], ...]
    host: int


def looks(facts: Facts, target: Target, outcome: Plan | Refused) -> tuple[Look, ...]:
    """Every service of a target, in the target's order."""
    return _Looker(facts, target, outcome).looks()


class _Looker:
    def __init__(self, facts: Facts, target: Target, outcome: Plan | Refused) -> None:
        self._facts = facts
        self._target = target
        self._table = card_table(facts)
        self._diff = compare(facts, target)
        self._orders = _orders(outcome)
        moved = outcome.moves if isinstance(outcome, Plan) else ()
        self._kept = {one.record.id: one for one in self._diff.kept if one.record.id not in moved}
        self._leaving = self._diff.leaving_ids | set(moved)

    def looks(self) -> tuple[Look, ...]:
        return tuple(self._look(spec) for spec in self._target.services)

    def _look(self, spec: ServiceSpec) -> Look:
        kept, order = self._kept.get(spec.id), self._orders.get(spec.id)
        leaving = self._leaving | ({spec.id} if kept else set())
        room = self._without_others(spec.id, self._table.room(frozenset(leaving)))
        names = tuple(one.card.id for one in self._table.ledgers)
        pairs = tuple(zip(names, (max(0, size) for size in room), strict=True))
        host = self._host(frozenset(leaving), spec.id)
        if kept is not None:
            return Look(spec, True, kept.record.cards, kept.record.footprint, pairs, host)
        if order is not None:
            return Look(spec, False, order.cards, order.footprint, pairs, host)
        cards, footprint = self._closest(spec, pairs)
        return Look(spec, False, cards, footprint, pairs, host)

    def _without_others(self, service: ServiceId, room: list[int]) -> Sequence[int]:
        """The room that the target's other starts leave: as planned, or as they would fit without it."""
        if self._orders:
            for name, order in self._orders.items():
                if name != service:
                    self._take(room, order.cards, sizes_on(order.footprint, order.cards))
            return room
        others = [
            item_for(self._facts, self._table, spec) for spec in self._diff.starting if spec.id != service
        ]
        for option in _packed(others, room, self._table).values():
            for at, size in zip(option.cards, option.sizes, strict=True):
                room[at] -= size
        return room

    def _take(self, room: list[int], cards: tuple[CardId, ...], sizes: tuple[int, ...]) -> None:
        for card, size in zip(cards, sizes, strict=True):
            at = self._table.position(card)
            if at is not None:
                room[at] -= size

    def _host(self, leaving: frozenset[ServiceId], service: ServiceId) -> int:
        others = (order for name, order in self._orders.items() if name != service)
        taken = sum(order.footprint.resident for order in others)
        return max(0, host_ledger(self._facts).room(leaving) - taken)

    def _closest(
        self, spec: ServiceSpec, room: tuple[tuple[CardId, int], ...]
    ) -> tuple[tuple[CardId, ...], Footprint | None]:
        """The cards where it comes closest to fitting."""
        count = cards_asked(spec)
        exact = exact_ids(self._facts.reading, spec.cards) if spec.cards.exact else None
        models = {one.card.id: one.card.name for one in self._table.ledgers}
        best: tuple[int, tuple[CardId, ...], Footprint] | None = None
        for name, footprint in class_footprints(self._facts, spec):
            own = [(size, card) for card, size in room if models[card] == name]
            chosen = exact or tuple(card for _, card in sorted(own, key=lambda one: -one[0])[:count])
            if len(chosen) < count:
                continue
            free = dict(room)
            needs = zip(chosen, sizes_on(footprint, chosen), strict=True)
            short = sum(max(0, need - free.get(card, 0)) for card, need in needs)
            if best is None or short < best[0]:
                best = (short, chosen, footprint)
        return (best[1], best[2]) if best is not None else (exact or (), None)


def _orders(outcome: Plan | Refused) -> dict[ServiceId, StartOrder]:
    if isinstance(outcome, Refused):
        return {}
    starts = (step.order for step in outcome.steps if step.kind is StepKind.START)
    return {order.spec.id: order for order in starts if order is not None}


def _packed(items: list[Item], room: Sequence[int], table: Table) -> dict[ServiceId, Option]:
    """Where these fit together; where they do not even without it, nowhere."""
    try:
        return pack(items, room, table.classes, Nodes()) or {}
    except SearchLimitError:
        return {}
