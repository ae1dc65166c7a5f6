"""Says why there is no room: per card what is needed, what there is, who holds it, and what would fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpumod.core.cards import Card
from gpumod.core.facts import Facts
from gpumod.core.footprint import Footprint, FootprintKey, Source
from gpumod.core.names import CardId, ServiceId
from gpumod.core.plan import Holder, Refusal, RefusalCode
from gpumod.core.spec import ServiceSpec
from gpumod.core.units import format_size
from gpumod.planner.budget import Ledger, sizes_on
from gpumod.planner.cards import card_named, cards_asked, class_footprints, describe, footprint_on
from gpumod.planner.packing import Item, Nodes, SearchLimitError, pack
from gpumod.planner.placement import Table

_SHOWN_HOLDERS = 4


_SOURCES = {
    Source.ESTIMATED: " (estimated; `vram:` declares it)",
    Source.LEARNED: " (as earlier launches took)",
}


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A failed search for room, and everything that its explanation needs."""

    facts: Facts
    table: Table
    starting: tuple[ServiceSpec, ...]
    items: tuple[Item, ...]
    leaving: frozenset[ServiceId]

    def refusals(self) -> list[Refusal]:
        """Each service that has no room even alone; else that they have none together."""
        room = self.table.room(self.leaving)
        alone = [
            refusal
            for spec, item in zip(self.starting, self.items, strict=True)
            if not _fits_alone(item, room)
            for refusal in self._alone(spec, room)
        ]
        return alone or [self._together(room)]

    # --- one service ------------------------------------------------------------------------------

    def _alone(self, spec: ServiceSpec, room: Sequence[int]) -> list[Refusal]:
        if any(footprint.spread is not None for _, footprint in class_footprints(self.facts, spec)):
            return [self._no_division(spec, room)]
        found = [self._on_card(spec, at, need, room[at]) for at, need in self._needs(spec)]
        refusals = [one for one in found if one is not None]
        if refusals:
            return refusals
        return [self._no_combination(spec, room)]

    def _no_combination(self, spec: ServiceSpec, room: Sequence[int]) -> Refusal:
        """Each card has room for a slot, and no choice of cards has room for all of them."""
        count = cards_asked(spec)
        known = class_footprints(self.facts, spec)
        if not known:
            detail = f"{spec.id}: what it takes on {count} of these cards is not known"
            return Refusal(RefusalCode.DOES_NOT_FIT, detail, spec.id)
        sizes = " and ".join(format_size(size) for size in known[0][1].cards)
        kind = " of one model" if len({one.card.name for one in self.table.ledgers}) > 1 else ""
        return Refusal(
            RefusalCode.DOES_NOT_FIT,
            f"{spec.id} needs {sizes} on {count} cards{kind}; there is on {self._rooms(room)}",
            spec.id,
            need=sum(known[0][1].cards),
            have=sum(max(0, size) for size in room),
            holders=self._all_holders(),
        )

    def _no_division(self, spec: ServiceSpec, room: Sequence[int]) -> Refusal:
        """However its layers are divided over as many cards as it asks for."""
        count = cards_asked(spec)
        need = min(sum(footprint.cards) for _, footprint in class_footprints(self.facts, spec))
        most = sum(sorted((max(0, size) for size in room), reverse=True)[:count])
        more = len(room) > count and sum(max(0, size) for size in room) >= need
        return Refusal(
            RefusalCode.DOES_NOT_FIT,
            f"{spec.id} needs {format_size(need)} together on {count} cards, however its layers are divided; "
            f"there is on {self._rooms(room)}",
            spec.id,
            need=need,
            have=most,
            holders=self._all_holders(),
            would_fit=f"cards: {count + 1} may" if more else "",
        )

    def _needs(self, spec: ServiceSpec) -> list[tuple[int, int]]:
        """(position, bytes) of each card that the service could use; the least where slots differ."""
        found = []
        if spec.cards.exact:
            cards = [card_named(self.facts.reading, name) for name in spec.cards.exact]
            there = [card for card in cards if card is not None]
            footprint = footprint_on(self.facts, spec, there)
            sizes = sizes_on(footprint, tuple(card.id for card in there)) if footprint else ()
            for card, size in zip(there, sizes, strict=False):
                position = self.table.position(card.id)
                if position is not None:
                    found.append((position, size))
            return found
        for position, one in enumerate(self.table.ledgers):
            footprint = self.facts.footprints.get(FootprintKey(spec.id, spec.cards.count, one.card.name))
            if footprint is not None and footprint.cards:
                found.append((position, _least(footprint, one.card.id)))
        return found

    def _on_card(self, spec: ServiceSpec, position: int, need: int, have: int) -> Refusal | None:
        if need <= have:
            return None
        one = self.table.ledgers[position]
        holders = card_holders(one, self.leaving)
        detail = (
            f"{spec.id} needs {format_size(need)}{self._known_how(spec, one.card)} on {describe(one.card)}, "
            f"which has {format_size(max(0, have))} to give{held_by(holders)}"
        )
        return Refusal(
            RefusalCode.DOES_NOT_FIT,
            detail,
            spec.id,
            one.card.id,
            need=need,
            have=max(0, have),
            holders=holders,
            would_fit=self._would_fit(spec, position, need, have),
        )

    def _known_how(self, spec: ServiceSpec, card: Card) -> str:
        """Where the number comes from, as far as the user did not write it."""
        footprint = self.facts.footprints.get(FootprintKey(spec.id, cards_asked(spec), card.name))
        return _SOURCES.get(footprint.source, "") if footprint is not None else ""

    def _would_fit(self, spec: ServiceSpec, position: int, need: int, have: int) -> str:
        one = self.table.ledgers[position]
        missing = need - have
        helps = [
            (charge.size, charge.service)
            for charge in one.charges
            if charge.service not in self.leaving and one.room(self.leaving | {charge.service}) >= need
        ]
        if helps:
            size, service = min(helps)
            return f"stopping {service} ({format_size(size)}) would make room there"
        if need > one.capacity - one.card.headroom:
            more = self._on_more_cards(spec)
            larger = f"a card of {format_size(need + one.card.headroom + one.card.reserved)} would do"
            return f"{larger}, or {more}" if more else larger
        elsewhere = self._elsewhere(spec, position)
        if elsewhere:
            return elsewhere
        back = one.foreign if one.foreign >= missing else 0
        if back:
            return f"{format_size(missing)} of the {format_size(back)} that others hold would do"
        return f"{format_size(missing)} more would do: stop several services of this card"

    def _elsewhere(self, spec: ServiceSpec, position: int) -> str:
        """Another card that has room for a service which was bound to one."""
        if len(spec.cards.exact) != 1:
            return ""
        room = self.table.room(self.leaving)
        for other, one in enumerate(self.table.ledgers):
            footprint = self.facts.footprints.get(FootprintKey(spec.id, 1, one.card.name))
            if other != position and footprint is not None and _least(footprint, one.card.id) <= room[other]:
                return f"{describe(one.card)} has room ({format_size(room[other])})"
        return ""

    def _on_more_cards(self, spec: ServiceSpec) -> str:
        """A larger number of cards on which the service is known to fit."""
        room = self.table.room(self.leaving)
        for count in range(cards_asked(spec) + 1, len(self.table.ledgers) + 1):
            for name in sorted({one.card.name for one in self.table.ledgers}):
                footprint = self.facts.footprints.get(FootprintKey(spec.id, count, name))
                rooms = sorted(
                    size for size, one in zip(room, self.table.ledgers, strict=True) if one.card.name == name
                )[-count:]
                if footprint is not None and len(rooms) == count:
                    needs = sorted(footprint.cards)
                    if all(size <= there for size, there in zip(needs, rooms, strict=True)):
                        return f"cards: {count} would"
        return ""

    # --- several services -------------------------------------------------------------------------

    def _together(self, room: Sequence[int]) -> Refusal:
        need = sum(item.least for item in self.items)
        have = sum(max(0, size) for size in room)
        each = ", ".join(f"{item.id} {format_size(item.least)}" for item in self.items)
        return Refusal(
            RefusalCode.DOES_NOT_FIT,
            f"each fits alone, and not together: {each}; there is on {self._rooms(room)}",
            need=need,
            have=have,
            holders=self._all_holders(),
            would_fit=self._without_one(room),
        )

    def _rooms(self, room: Sequence[int]) -> str:
        return ", ".join(
            f"{describe(one.card)} {format_size(max(0, size))}"
            for one, size in zip(self.table.ledgers, room, strict=True)
        )

    def _all_holders(self) -> tuple[Holder, ...]:
        return tuple(holder for one in self.table.ledgers for holder in card_holders(one, self.leaving))

    def _without_one(self, room: Sequence[int]) -> str:
        for item in sorted(self.items, key=lambda item: (item.least, item.id)):
            others = [other for other in self.items if other is not item]
            try:
                if pack(others, room, self.table.classes, Nodes()) is not None:
                    return f"without {item.id} the others would fit"
            except SearchLimitError:
                return ""
        return ""


def card_holders(one: Ledger, leaving: frozenset[ServiceId] = frozenset()) -> tuple[Holder, ...]:
    """Who keeps memory of a card: our services and foreign processes, largest first."""
    ours = [
        Holder(charge.size, service=charge.service) for charge in one.charges if charge.service not in leaving
    ]
    ids = {charge.service for charge in one.charges}
    foreign = [
        Holder(process.used, pid=process.pid, command=process.command, user=process.user)
        for process in one.card.processes
        if process.service is None or process.service not in ids | leaving
    ]
    return tuple(
        sorted(
            (*ours, *foreign), key=lambda holder: (-(holder.size or 0), holder.service or "", holder.pid or 0)
        )
    )


def holder_words(holder: Holder) -> str:
    """A holder in words: ``chat 12.0 GiB``, ``process 77 (python, alice) 2048 MiB``."""
    size = format_size(holder.size) if holder.size is not None else "unknown size"
    if holder.service is not None:
        return f"{holder.service} {size}"
    words = ", ".join(word for word in (holder.command, holder.user) if word)
    return f"process {holder.pid}{f' ({words})' if words else ''} {size}"


def held_by(holders: Sequence[Holder]) -> str:
    """Who holds a card's memory, to be appended to a sentence; empty when nobody does."""
    if not holders:
        return ""
    shown = ", ".join(holder_words(holder) for holder in holders[:_SHOWN_HOLDERS])
    rest = len(holders) - _SHOWN_HOLDERS
    return f"; held: {shown}" + (f" and {rest} more" if rest > 0 else "")


def _fits_alone(item: Item, room: Sequence[int]) -> bool:
    return any(next(option.within(room), None) is not None for option in item.options)


def _least(footprint: Footprint, card: CardId) -> int:
    return min(sizes_on(footprint, (card,) * len(footprint.cards)))
