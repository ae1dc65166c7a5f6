"""Footprints: what a service takes on each card and on the host, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gpumod.core.names import CardId, ServiceId
from gpumod.core.spec import ServiceSpec


class Source(StrEnum):
    """Where a number of bytes comes from."""

    DECLARED = "declared"
    LEARNED = "learned"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Part:
    """One named part of a footprint.

    Args:
        name: in the field's standard terms: weights, KV cache, compute buffer, CUDA context ...
        cards: bytes on each card, in placement order.
        host: bytes of host memory that stay while the service runs.
        source: where these numbers come from.
        note: what they follow from, for showing.
    """

    name: str
    cards: tuple[int, ...] = ()
    source: Source = Source.ESTIMATED
    host: int = 0
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes on all cards together."""
        return sum(self.cards)


@dataclass(frozen=True, slots=True)
class Spread:
    """A model that can be divided over its cards between any two layers.

    Args:
        layers: bytes that follow each layer (weights, KV cache, state) in the model's order; the last one
            is the output.
        fixed: bytes on each card besides its layers, in placement order.
    """

    layers: tuple[int, ...]
    fixed: tuple[int, ...]

    def cards(self, counts: tuple[int, ...]) -> tuple[int, ...]:
        """Bytes per card when the cards take so many layers each, in order."""
        ends = [sum(counts[: index + 1]) for index in range(len(counts))]
        starts = [0, *ends[:-1]]
        return tuple(
            sum(self.layers[start:end]) + fixed
            for start, end, fixed in zip(starts, ends, self.fixed, strict=True)
        )


@dataclass(frozen=True, slots=True)
class KvPool:
    """vLLM's KV cache as vLLM counts it, in blocks, told in tokens.

    Args:
        tokens: what its log calls the cache's size: the concurrency times the longest request.
        concurrency: how many requests of the configured length the cache holds at once.
        largest_context: tokens of the longest single request that it holds.
    """

    tokens: int
    concurrency: float
    largest_context: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a service takes, per card in placement order, and on the host.

    Args:
        cards: what the service is charged on each card.
        source: where `cards` comes from.
        resident: bytes of host memory that the service keeps.
        loading: what the host needs on top of `resident` while the service loads.
        learned_peak: the largest use per card that earlier launches of the same configuration were seen
            to reach, None when there was none.
        note: where the numbers come from, in words.
        parts: what the formula is made of, whatever `source` is.
        formula: what the formula says per card, None where there is no formula for it.
        spread: how the service can be divided over its cards, None where it cannot.
        split: layers per card that `cards` holds for; empty where the engine decides.
        warnings: sentences: numbers that contradict each other.
        pool: vLLM's KV cache; None for other engines and where it is not known.
    """

    cards: tuple[int, ...]
    source: Source
    resident: int = 0
    loading: int = 0
    learned_peak: tuple[int, ...] | None = None
    note: str = ""
    parts: tuple[Part, ...] = ()
    formula: tuple[int, ...] | None = None
    spread: Spread | None = None
    split: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    pool: KvPool | None = None

    def on(self, placement: tuple[CardId, ...], card: CardId) -> int:
        """Bytes on one card of a placement; 0 where the placement does not have it."""
        return self.cards[placement.index(card)] if card in placement else 0


class FootprintKey(NamedTuple):
    """A placement class: a service on so many cards of one model."""

    service: ServiceId
    card_count: int
    card_name: str


class Stage(StrEnum):
    """When a launch is measured."""

    READY = "ready"
    """Loaded, before the first request."""
    WARM = "warm"
    """After the first request."""
    PEAK = "peak"
    """Whenever it holds more than before."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a launch was seen to take, kept under its fingerprint.

    Args:
        fingerprint: names the file identities, the engine's build, every parameter that changes memory
            and the cards.
        service: who it was.
        card_name: the cards' model.
        count: how many cards.
        stage: a `Stage`.
        used: bytes per card, in placement order, as the driver told.
        host: bytes of host memory.
        at: when.
        family: as `fingerprint`, without the parameters: what the same model on the same build and cards
            took can be carried over to other parameters.
        spec: the service as it was launched; None where it was not kept.
        split: layers per card.
        driver: the driver's version; empty where it was not told.
    """

    fingerprint: str
    service: ServiceId
    card_name: str
    count: int
    stage: str
    used: tuple[int, ...]
    host: int
    at: float
    family: str = ""
    spec: ServiceSpec | None = None
    split: tuple[int, ...] = ()
    driver: str = ""
