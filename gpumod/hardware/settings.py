"""What the hardware adapters have to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.names import HOST_CARD, CardId


class CardKind(StrEnum):
    """Which memory devices are this box's cards."""

    AUTO = "auto"
    """NVIDIA's where the box has any, else the host's memory."""
    HOST = "host"
    NVIDIA = "nvidia"
    """NVIDIA's also where none is seen on the PCI bus: a virtual machine or sandbox may hide the bus."""


@dataclass(frozen=True, slots=True)
class HardwareSettings:
    """Sizes are bytes.

    Args:
        cards: which devices are the cards.
        headroom: what is left alone on every card.
        headroom_of: the same for single cards, by UUID, by index as text, or `host`.
        host_headroom: what is left alone of the host's memory, as the host budget.
        host_limit: the size that the host card pretends to have at most; None: the host's own.
        bounds: how long a driver call may take.
        root: where /proc, /sys and /dev are found.
    """

    cards: CardKind = CardKind.AUTO
    headroom: int = 0
    headroom_of: Mapping[str, int] = field(default_factory=dict)
    host_headroom: int = 0
    host_limit: int | None = None
    bounds: Bounds = DEFAULT_BOUNDS
    root: str = "/"

    def headroom_on(self, card: CardId, index: int) -> int:
        """What is left alone on one card."""
        if card in self.headroom_of:
            return self.headroom_of[card]
        if card != HOST_CARD and str(index) in self.headroom_of:
            return self.headroom_of[str(index)]
        return self.headroom
