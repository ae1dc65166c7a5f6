"""Which cards a service asks for, and what it takes on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gpumod.core.cards import Card, CardHealth, CardsReading
from gpumod.core.facts import Facts
from gpumod.core.footprint import Footprint, FootprintKey, Spread
from gpumod.core.landmine import Landmine
from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.plan import Refusal, RefusalCode
from gpumod.core.spec import CardRequest, ServiceSpec


def card_named(reading: CardsReading, name: str) -> Card | None:
    """The card with that UUID (or `host`), else the one with that NVML index."""
    by_id = reading.card(CardId(name))
    if by_id is not None or not name.isdecimal():
        return by_id
    return next((card for card in reading.cards if card.index == int(name)), None)


def exact_ids(reading: CardsReading, request: CardRequest) -> tuple[CardId, ...] | None:
    """The cards that a request names, in its order; None if one is not there or was named twice."""
    cards = [card_named(reading, name) for name in request.exact]
    ids = tuple(card.id for card in cards if card is not None)
    return ids if len(set(ids)) == len(request.exact) else None


def cards_asked(spec: ServiceSpec) -> int:
    """How many cards a service runs on."""
    return len(spec.cards.exact) or spec.cards.count


def landmines_on(facts: Facts, spec: ServiceSpec, card_name: str) -> tuple[Landmine, ...]:
    """Known traps of a service on cards of a model."""
    return facts.landmines.get(FootprintKey(spec.id, cards_asked(spec), card_name), ())


def fatal_landmines(facts: Facts, spec: ServiceSpec, card_name: str) -> tuple[Landmine, ...]:
    """What keeps a service from ever working on cards of a model."""
    return tuple(one for one in landmines_on(facts, spec, card_name) if one.fatal)


def footprint_on(facts: Facts, spec: ServiceSpec, cards: Sequence[Card]) -> Footprint | None:
    """What a service takes on these cards in this order; None if it cannot be placed so.

    Cards of different models are only mixed where the user named the cards, where the service takes the same
    on each of them, or where it can be divided between its layers, and its engine allows it.
    """
    if any(fatal_landmines(facts, spec, card.name) for card in cards):
        return None
    known = [facts.footprints.get(FootprintKey(spec.id, len(cards), card.name)) for card in cards]
    footprints = [one for one in known if one is not None and len(one.cards) == len(cards)]
    if not footprints or len(footprints) < len(cards):
        return None
    first = footprints[0]
    if len({card.name for card in cards}) == 1:
        return first
    if facts.findings[spec.id].multi_card_same_model:
        return None
    spread = _mixed_spread([one.spread for one in footprints])
    if spread is not None and first.split:
        return replace(first, cards=spread.cards(first.split), spread=spread)
    if spec.cards.exact:
        return replace(first, cards=tuple(one.cards[slot] for slot, one in enumerate(footprints)))
    return first if all(one.cards == first.cards for one in footprints) else None


def _mixed_spread(spreads: Sequence[Spread | None]) -> Spread | None:
    """Over cards of different models the layers are the same, and what is beside them is each card's own."""
    known = [one for one in spreads if one is not None]
    if len(known) < len(spreads) or len({one.layers for one in known}) > 1:
        return None
    return Spread(known[0].layers, tuple(one.fixed[slot] for slot, one in enumerate(known)))


def candidate_models(facts: Facts, spec: ServiceSpec) -> tuple[str, ...]:
    """The models of the usable cards that a service asks for or could be placed on."""
    if spec.cards.exact:
        named = [card_named(facts.reading, name) for name in spec.cards.exact]
        cards: Iterable[Card] = [card for card in named if card is not None]
    else:
        cards = facts.reading.cards
    return tuple(sorted({card.name for card in cards if card.usable}))


def class_footprints(facts: Facts, spec: ServiceSpec) -> tuple[tuple[str, Footprint], ...]:
    """The footprints of a service on each model of card that it could be placed on, by model."""
    count, names = cards_asked(spec), candidate_models(facts, spec)
    found = ((name, facts.footprints.get(FootprintKey(spec.id, count, name))) for name in names)
    return tuple((name, footprint) for name, footprint in found if footprint is not None)


def card_refusals(facts: Facts, spec: ServiceSpec) -> list[Refusal]:
    """Why a service cannot have the cards that it asks for, whatever is free on them."""
    if not spec.cards.exact:
        return _too_few(facts, spec)
    found = [_named_card_refusal(facts, spec, name) for name in spec.cards.exact]
    refusals = [one for one in found if one is not None]
    if refusals:
        return refusals
    if exact_ids(facts.reading, spec.cards) is None:
        named = ", ".join(spec.cards.exact)
        detail = f"{spec.id}: cards: [{named}] names one card twice; name each card once"
        return [Refusal(RefusalCode.CONTRADICTION, detail, spec.id)]
    cards = [card for name in spec.cards.exact if (card := card_named(facts.reading, name)) is not None]
    if facts.findings[spec.id].multi_card_same_model and len({card.name for card in cards}) > 1:
        models = ", ".join(
            f"{name} is {card.name}" for name, card in zip(spec.cards.exact, cards, strict=True)
        )
        detail = f"{spec.id} needs cards of one model, and {models}; name cards of one model"
        return [Refusal(RefusalCode.CONTRADICTION, detail, spec.id)]
    return []


def describe(card: Card) -> str:
    """A card as people know it."""
    return "the host's memory" if card.is_host else f"card {card.index} ({card.id})"


def _too_few(facts: Facts, spec: ServiceSpec) -> list[Refusal]:
    count = spec.cards.count
    usable = [card for card in facts.reading.cards if card.usable]
    if len(usable) >= count:
        return []
    others = [f"{describe(card)} is {card.health}" for card in facts.reading.cards if not card.usable]
    there = f"{len(usable)} of {len(facts.reading.cards)} cards can be used"
    why = f" ({'; '.join(others)})" if others else ""
    detail = f"{spec.id} asks for {count} card{'s' * (count != 1)}, and {there}{why}"
    return [Refusal(RefusalCode.NO_CARDS, detail, spec.id, need=None, have=None)]


_HEALTH_CODES = {
    CardHealth.LOST: RefusalCode.CARD_LOST,
    CardHealth.UNKNOWN: RefusalCode.CARD_UNKNOWN,
    CardHealth.UNMANAGED: RefusalCode.CARD_UNMANAGED,
}
_HEALTH_WORDS = {
    CardHealth.LOST: "has fallen off the bus",
    CardHealth.UNKNOWN: "does not answer",
    CardHealth.UNMANAGED: "is not managed by gpumod",
}


def health_refusal(card: Card, spec: ServiceSpec) -> Refusal | None:
    """Why nothing can be placed on a card now; None if it can be."""
    if card.usable:
        return None
    reason = f": {card.reason}" if card.reason else ""
    detail = f"{spec.id} cannot use {describe(card)}, which {_HEALTH_WORDS[card.health]}{reason}"
    return Refusal(_HEALTH_CODES[card.health], detail, spec.id, card.id)


def _named_card_refusal(facts: Facts, spec: ServiceSpec, name: str) -> Refusal | None:
    card = card_named(facts.reading, name)
    if card is not None:
        return health_refusal(card, spec)
    have = ", ".join(f"{one.index} = {one.id}" for one in facts.reading.cards if one.id != HOST_CARD)
    host = "host" if facts.reading.card(HOST_CARD) else ""
    there = ", ".join(part for part in (have, host) if part) or "none"
    detail = f"{spec.id} asks for card {name}, and this box has no such card; it has: {there}"
    return Refusal(RefusalCode.NO_SUCH_CARD, detail, spec.id)
