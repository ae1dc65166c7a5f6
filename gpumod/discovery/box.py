"""The cards as a preset may use them: what each would have free without what can be stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpumod.core.cards import Card, CardModel, CardsReading
from gpumod.estimate.advice import Room
from gpumod.hardware.detect import open_hardware
from gpumod.hardware.settings import CardKind, HardwareSettings

if TYPE_CHECKING:
    from gpumod.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Box:
    """Where services can go.

    Args:
        rooms: what a service can be given on each card, the most first.
        host: bytes that it may keep of the host's memory.
        on_host: the one card is the host's own memory.
    """

    rooms: tuple[Room, ...]
    host: int
    on_host: bool = False

    @property
    def models(self) -> tuple[CardModel, ...]:
        """The cards' models, the one with most room first."""
        return tuple(dict.fromkeys(room.model for room in self.rooms))

    def of_model(self, model: CardModel) -> tuple[Room, ...]:
        """The cards of one model: a service is spread over equal cards only."""
        return tuple(room for room in self.rooms if room.model == model)


class _Clock:
    """The machine's time, as the port `Clock` wants it."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def read_cards(settings: Settings) -> CardsReading:
    """Look at the cards once, as the daemon would."""
    hardware = open_hardware(
        HardwareSettings(
            cards=CardKind(settings.cards),
            headroom=settings.headroom,
            headroom_of=settings.headroom_of,
            host_headroom=settings.host_headroom,
            host_limit=settings.host_limit,
            bounds=settings.bounds,
        ),
        _Clock(),
    )
    try:
        return await hardware.read()
    finally:
        await hardware.close()


def box_of(reading: CardsReading) -> Box:
    """The rooms for services, the largest first. Pure."""
    cards = [card for card in reading.cards if card.usable]
    rooms = [Room(card.id, card.model, _room(card)) for card in cards]
    host = max(0, reading.host.available - reading.host.headroom)
    on_host = any(card.is_host for card in cards)
    return Box(tuple(sorted(rooms, key=lambda room: -room.free)), host, on_host)


def held(cards: Iterable[Card]) -> tuple[tuple[Card, int], ...]:
    """Cards on which processes compute now, and what they hold in bytes."""
    return tuple((card, used) for card in cards if (used := _stoppable(card)) > 0)


def _room(card: Card) -> int:
    """What a card has for services: processes that compute can be stopped, a desktop stays."""
    capacity = card.total - card.reserved
    return max(0, min(capacity, card.free + _stoppable(card)) - card.headroom)


def _stoppable(card: Card) -> int:
    if card.is_host:
        return 0
    computing = [one for one in card.processes if not one.graphics]
    sizes = [one.used for one in computing if one.used is not None]
    if computing and len(sizes) < len(computing):
        # The driver does not tell of each: all that is used and is not a desktop's is theirs.
        desktop = sum(one.used or 0 for one in card.processes if one.graphics)
        return max(0, card.total - card.reserved - card.free - desktop)
    return sum(sizes)
