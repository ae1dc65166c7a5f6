"""Which device holds each layer and each tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOST: Final = -1
"""The host's memory, where cards are numbered from 0 in placement order.

On the host card there is one card, number 0, which is the CPU back end.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a launch's layers are.

    Args:
        layers: each layer's device: a card's number, or `HOST`.
        output: the output's device.
        counts: layers per card, the output counted as the last one.
        moved: tensors that are not with their layer (`--n-cpu-moe`, `-ot`), by name, with their device.
    """

    layers: tuple[int, ...]
    output: int
    counts: tuple[int, ...]
    moved: tuple[tuple[str, int], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every layer and tensor is on a card."""
        return HOST not in {self.output, *self.layers, *(device for _, device in self.moved)}


@dataclass(frozen=True, slots=True)
class Devices:
    """Bytes by device.

    Args:
        cards: on each card, in placement order.
        host: of the host's memory; on the host card its memory is `cards`.
    """

    cards: tuple[int, ...]
    host: int = 0

    def __add__(self, other: Devices) -> Devices:
        cards = zip(self.cards, other.cards, strict=True)
        return Devices(tuple(a + b for a, b in cards), self.host + other.host)

    @property
    def size(self) -> int:
        """Bytes on all cards and the host together."""
        return sum(self.cards) + self.host
