"""Axes of plots: where a number is drawn, and which numbers stand beside it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_TICKS = 5
_MARGIN = 0.06


@dataclass(frozen=True, slots=True)
class Axis:
    """A line from `start` to `end` in pixels for the numbers from `low` to `high`.

    Args:
        logarithmic: equal factors are equally far apart; `low` is then above 0.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, number: float) -> float:
        """The pixel of a number, rounded to tenths; never beyond the line's ends."""
        low, high, here = (self._even(one) for one in (self.low, self.high, number))
        share = (here - low) / (high - low) if high > low else 0.5
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round numbers on it; at least one."""
        width = self.high - self.low
        if not width > 0:
            return [self.low]
        step = _round_step(width / _TICKS)
        first = math.ceil(self.low / step - 1e-9)
        found = [number * step for number in range(first, first + 4 * _TICKS)]
        return [one for one in found if one <= self.high + step * 1e-9] or [self.low]

    def _even(self, number: float) -> float:
        return math.log2(max(number, self.low)) if self.logarithmic else number


def axis_of(
    numbers: Iterable[float], start: float, end: float, scale: tuple[float, float] | None = None
) -> Axis:
    """An axis on which all numbers are, with some room on both sides that does not go beyond the scale."""
    there = [one for one in numbers if math.isfinite(one)]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    room = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    # Numbers that are all above 0 do not get an axis below it.
    least, most = scale or (0.0 if low >= 0 else -math.inf, math.inf)
    return Axis(max(low - room, min(least, low)), min(high + room, max(most, high)), start, end)


def tick_texts(ticks: Sequence[float], unit: str) -> list[str]:
    """What stands beside ticks: as many digits as tell them apart, and none that binary fractions add."""
    texts: list[str] = []
    for digits in (6, 9, 12):
        texts = [_number(one, digits) for one in ticks]
        if len(set(texts)) == len(texts):
            break
    return [f"{text} {unit}".strip() for text in texts]


def _number(number: float, digits: int) -> str:
    rounded = round(number, 12)
    return f"{rounded:.0f}" if rounded.is_integer() and abs(rounded) < 1e15 else f"{rounded:.{digits}g}"


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
