"""What every kind of advice is made with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gpumod.core.footprint import Footprint
from gpumod.core.preflight import Advice

LONGEST_CONTEXT: Final = 1 << 20
"""Where a model does not say what it was trained for."""


def largest(
    most: int, least: int, step: int, at: Callable[[int], Footprint | None]
) -> tuple[int, Footprint] | None:
    """The largest number of steps from `most` down to `least` that fits, by bisection.

    Asks at most 2 + log2((most - least) / step) times.
    """
    if most < least:
        return None
    top = at(most)
    if top is not None:
        return most, top
    bottom = at(least)
    if bottom is None:
        return None
    low, high, best = 0, math.ceil((most - least) / step), bottom
    while high - low > 1:
        middle = (low + high) // 2
        footprint = at(least + middle * step)
        if footprint is None:
            high = middle
        else:
            low, best = middle, footprint
    return least + low * step, best


def suggest(key: str, value: str, detail: str, footprint: Footprint, loss: float, line: str = "") -> Advice:
    """Advice on one key; `line` where more has to be written than the key."""
    return Advice(
        key, value, line or yaml_line(key, value), detail, footprint.cards, footprint.resident, loss
    )


def yaml_line(key: str, value: str) -> str:
    """A dotted key as it stands in a preset, in one line."""
    outer, _, inner = key.partition(".")
    return f"{outer}: {{{inner}: {value}}}" if inner else f"{outer}: {value}"


def fewer(before: int, after: int) -> str:
    """How much context is lost, in words."""
    return f"{before - after} tokens of context fewer ({1 - after / before:.0%})"


def pool_words(footprint: Footprint) -> str:
    """What vLLM's cache would hold, to be appended to a sentence; empty where that is not known."""
    pool = footprint.pool
    return f": a cache of {pool.tokens} tokens, {pool.concurrency:.1f} requests at once" if pool else ""
