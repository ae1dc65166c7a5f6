"""Says where two numbers of one footprint contradict each other."""

from __future__ import annotations

from typing import Final

from gpumod.core.units import MIB, format_size

_SHARE: Final = 0.05
_LEAST: Final = 256 * MIB
_DECLARED_SHARE: Final = 0.25
_DECLARED_LEAST: Final = 512 * MIB
"""A declared size may be generous; it is told when it is far too much."""


def drifted(formula: tuple[int, ...], seen: tuple[int, ...]) -> str:
    """A sentence where launches took something else than the formula says; empty where they agree.

    Args:
        formula: bytes per card.
        seen: bytes per card that launches took.
    """
    off = max(zip(formula, seen, strict=True), key=lambda pair: abs(pair[0] - pair[1]), default=(0, 0))
    if abs(off[0] - off[1]) <= max(_LEAST, _SHARE * off[1]):
        return ""
    return (
        f"launches took {format_size(off[1])} of a card where the formula says {format_size(off[0])}: "
        "what they took counts; another engine, driver or argument may have changed"
    )


def misdeclared(declared: tuple[int, ...], known: tuple[int, ...], whence: str) -> str:
    """A sentence where a declared size is far from what is known otherwise; empty where it is not.

    Args:
        declared: bytes per card.
        known: the same, as learned or as the formula says.
        whence: which of the two, as `by ...`.
    """
    short = max(zip(declared, known, strict=True), key=lambda pair: pair[1] - pair[0], default=(0, 0))
    if short[1] - short[0] > max(_LEAST, _SHARE * short[1]):
        words = f"it takes {format_size(short[1])} {whence}: it may run out of memory"
        return f"`vram:` declares {format_size(short[0])} of a card, and {words}"
    much = max(zip(declared, known, strict=True), key=lambda pair: pair[0] - pair[1], default=(0, 0))
    if much[0] - much[1] > max(_DECLARED_LEAST, _DECLARED_SHARE * much[1]):
        words = f"it takes {format_size(much[1])} {whence}: `vram: auto` would leave others the difference"
        return f"`vram:` declares {format_size(much[0])} of a card, and {words}"
    return ""
