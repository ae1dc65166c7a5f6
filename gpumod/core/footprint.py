"""Footprints: what a service takes on each card and on the host, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gpumod.core.names import CardId, ServiceId


class Source(StrEnum):
    """Where a number of bytes comes from."""

    DECLARED = "declared"
    LEARNED = "learned"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of a footprint, for showing; `size` is bytes."""

    name: str
    size: int
    source: Source


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a service takes, per card in placement order, and on the host.

    `loading` is what the host needs on top of `resident` while the service loads.
    `learned_peak` is the largest use per card that earlier launches of the same configuration
    were seen to reach, None when there was none.
    """

    cards: tuple[int, ...]
    source: Source
    resident: int = 0
    loading: int = 0
    learned_peak: tuple[int, ...] | None = None
    note: str = ""
    parts: tuple[Part, ...] = ()

    def on(self, placement: tuple[CardId, ...], card: CardId) -> int:
        """Bytes on one card of a placement; 0 where the placement does not have it."""
        return self.cards[placement.index(card)] if card in placement else 0


class FootprintKey(NamedTuple):
    """A placement class: a service on so many cards of one model."""

    service: ServiceId
    card_count: int
    card_name: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a launch was seen to take, kept under its fingerprint.

    `stage` is `ready`, `warm` (after the first request) or `peak`. `fingerprint` names the file
    identities, the engine's build and every parameter that changes memory.
    """

    fingerprint: str
    service: ServiceId
    card_name: str
    count: int
    stage: str
    used: tuple[int, ...]
    host: int
    at: float
