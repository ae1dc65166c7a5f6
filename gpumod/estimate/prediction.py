"""What the formulas say of one launch."""

from __future__ import annotations

from dataclasses import dataclass

from gpumod.core.footprint import KvPool, Part, Spread


@dataclass(frozen=True, slots=True)
class Prediction:
    """Bytes that a launch will take, part by part.

    Args:
        parts: every one with as many cards as the launch has.
        loading: bytes that the host needs on top of what stays while the engine loads.
        spread: how the model could be divided over the cards; None where that is not ours to choose.
        split: layers per card that `parts` holds for; empty where there is one card or the engine decides.
        notes: what a reader of the numbers should know; sentences.
        pool: vLLM's KV cache; None for other engines and where it is not known.
    """

    parts: tuple[Part, ...]
    loading: int = 0
    spread: Spread | None = None
    split: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    pool: KvPool | None = None

    @property
    def cards(self) -> tuple[int, ...]:
        """Bytes on each card."""
        return tuple(map(sum, zip(*(part.cards for part in self.parts), strict=True)))

    @property
    def resident(self) -> int:
        """Bytes of host memory that stay while the service runs."""
        return sum(part.host for part in self.parts)

    def part(self, name: str) -> Part | None:
        """The part of that name."""
        return next((part for part in self.parts if part.name == name), None)
