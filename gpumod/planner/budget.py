"""Who is charged what: the budget of each card and of the host.

A service is charged max(reserved, observed). What it has reserved and does not hold yet is unrealised:
the driver still shows it as free, so

    available = free - headroom - unrealised

(invariant 1). Foreign is what is used and is held by none of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gpumod.core.cards import Card
from gpumod.core.facts import Facts, RunningService
from gpumod.core.footprint import Footprint
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.plan import CardBudget, StartOrder
from gpumod.core.states import ServiceState

_AT_WORK = frozenset({ServiceState.READY, ServiceState.DRAINING, ServiceState.STOPPING})


@dataclass(frozen=True, slots=True)
class Charge:
    """What one service counts for on one card or on the host, in bytes.

    `told` is whether `observed` was seen; otherwise it is what was last seen or is assumed.
    """

    service: ServiceId
    reserved: int
    observed: int
    told: bool = True

    @property
    def size(self) -> int:
        """What the service is charged."""
        return max(self.reserved, self.observed)

    @property
    def unrealised(self) -> int:
        """What it may still take."""
        return max(0, self.reserved - self.observed)


@dataclass(frozen=True, slots=True)
class Ledger:
    """A card with everything that is charged on it."""

    card: Card
    charges: tuple[Charge, ...]

    @property
    def capacity(self) -> int:
        """Bytes that can be allocated on the card at most."""
        return self.card.total - self.card.reserved

    @property
    def foreign(self) -> int:
        """Bytes that are used and not ours."""
        used = self.capacity - self.card.free
        return max(0, used - sum(charge.observed for charge in self.charges))

    @property
    def available(self) -> int:
        """Bytes that may still be given away; below zero when the card is over its budget."""
        return self.room()

    def room(self, leaving: Collection[ServiceId] = ()) -> int:
        """Bytes that may be given away once some services have left and gave back what they hold."""
        back = sum(charge.observed for charge in self.charges if charge.service in leaving)
        unrealised = sum(charge.unrealised for charge in self.charges if charge.service not in leaving)
        # What was last seen of a service may be old: no card can become more than empty.
        return (
            min(self.card.free + back, max(self.card.free, self.capacity)) - self.card.headroom - unrealised
        )

    def budget(self, leaving: Collection[ServiceId] = (), taken: int = 0) -> CardBudget:
        """The card's budget, once some have left and others have taken."""
        staying = sum(charge.size for charge in self.charges if charge.service not in leaving)
        return CardBudget(
            card=self.card.id,
            total=self.card.total,
            headroom=self.card.headroom,
            foreign=self.foreign,
            charged=staying + taken,
            available=self.room(leaving) - taken,
        )


def sizes_on(footprint: Footprint, cards: tuple[CardId, ...]) -> tuple[int, ...]:
    """Bytes that a footprint takes on each card of a placement.

    On the host card the resident bytes belong to the card as well: both are the host's memory, and what
    is observed there (anonymous memory of the process tree) cannot tell them apart.
    """
    return tuple(
        size + (footprint.resident if card == HOST_CARD else 0)
        for size, card in zip(footprint.cards, cards, strict=True)
    )


def resident_on_host(footprint: Footprint, cards: tuple[CardId, ...]) -> int:
    """Bytes of the host's memory that a service keeps after loading."""
    return footprint.resident + footprint.on(cards, HOST_CARD)


def charge_on(running: RunningService, card: CardId) -> Charge:
    """What a service is charged on a card.

    Where the driver does not tell what it holds: a service at work is taken to hold what it was last
    seen to hold, else its reservation; one that starts is taken to hold nothing yet.
    """
    record = running.record
    seen = dict(running.held).get(card)
    if record.state.is_starting:
        # Charged in full also before its first process exists: that is what the reservation is for.
        return Charge(record.id, _reserved(running, card), seen or 0, told=seen is not None)
    if not running.alive:
        return Charge(record.id, 0, seen or 0)
    last = record.last_observed(card)
    if record.state in _AT_WORK:
        reserved = _reserved(running, card)
        observed = _first(seen, last, reserved)
        return Charge(record.id, reserved, observed, told=seen is not None)
    # Asleep, parked, or failed with processes left: what is there stays, and nothing more is taken.
    observed = _first(seen, last, 0)
    return Charge(record.id, observed, observed, told=seen is not None)


def charge_on_host(running: RunningService) -> Charge:
    """What a service is charged of the host's memory; its loading peak while it loads."""
    record = running.record
    footprint = record.footprint
    resident = resident_on_host(footprint, record.cards) if footprint else 0
    held = max(running.host_held, dict(running.held).get(HOST_CARD, 0))
    if record.state.is_starting:
        peak = footprint.loading if footprint else 0
        return Charge(record.id, resident + peak, held)
    if running.alive and record.state in _AT_WORK:
        return Charge(record.id, resident, held or resident, told=held > 0)
    return Charge(record.id, held, held)


def ledger(card: Card, services: Iterable[RunningService]) -> Ledger:
    """A card's ledger; services that are charged nothing there are left out."""
    charges = (charge_on(one, card.id) for one in services)
    return Ledger(card, tuple(charge for charge in charges if charge.size))


def ledgers(facts: Facts) -> tuple[Ledger, ...]:
    """The ledgers of all cards, by index."""
    cards = sorted(facts.reading.cards, key=lambda card: (card.index, card.id))
    return tuple(ledger(card, facts.services) for card in cards)


def host_ledger(facts: Facts) -> Ledger:
    """The host's memory as a ledger of its own, on every box."""
    host = facts.reading.host
    card = Card(
        id=HOST_CARD,
        index=0,
        name="host memory",
        total=host.total,
        free=host.available,
        headroom=host.headroom,
    )
    return Ledger(card, tuple(charge for one in facts.services if (charge := charge_on_host(one)).size))


def budgets(facts: Facts) -> tuple[CardBudget, ...]:
    """What each card has, who is charged, and what is left."""
    return tuple(one.budget() for one in ledgers(facts))


def budgets_after(
    facts: Facts, leaving: frozenset[ServiceId], orders: Iterable[StartOrder]
) -> tuple[CardBudget, ...]:
    """The budgets once some services have left and others have started."""
    taken: dict[CardId, int] = {}
    for order in orders:
        for card, size in zip(order.cards, sizes_on(order.footprint, order.cards), strict=True):
            taken[card] = taken.get(card, 0) + size
    return tuple(one.budget(leaving, taken.get(one.card.id, 0)) for one in ledgers(facts))


def overcommitted(facts: Facts) -> tuple[CardId, ...]:
    """Cards on which charges and foreign use together exceed capacity less headroom.

    A service that starts where the driver does not tell what it holds is left out: it would count twice,
    as its own reservation and as foreign use.
    """
    return tuple(one.card.id for one in ledgers(facts) if one.card.usable and _sure(one).available < 0)


def _sure(one: Ledger) -> Ledger:
    return Ledger(one.card, tuple(charge for charge in one.charges if charge.told or charge.observed))


def _reserved(running: RunningService, card: CardId) -> int:
    record = running.record
    if record.footprint is None or card not in record.cards:
        return 0
    return sizes_on(record.footprint, record.cards)[record.cards.index(card)]


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
