"""Numbers as people read them, with their unit, their interval and how many samples are behind them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from gpumod.core.units import GIB, KIB, MIB, format_duration

NOT_MEASURED: Final = "not measured"
_SIGNIFICANT: Final = 3


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit; `not measured` where there is none."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    if unit == "p":
        return "p < 0.001" if 0 <= value < 0.001 else f"p = {value:.2g}"
    factor, shown = shown_in(unit, value)
    number = value * factor
    return _join(_digits(number, 0 if number.is_integer() else _decimals(number)), shown)


def interval(low: float | None, high: float | None, unit: str, value: float | None = None) -> str:
    """`19.2 to 21.0 tokens/s`, in the unit that `value` is shown in; empty where there is no interval."""
    if low is None and high is None:
        return ""
    ends = [one for one in (low, high) if one is not None]
    factor, shown = shown_in(unit, value if value is not None else max(ends, key=abs))
    decimals = max(_decimals(one * factor) for one in ends)
    if low is not None and high is not None and high > low:
        # Two digits of the width: close ends are not to look like one number.
        decimals = max(min(decimals, 6), min(6, 1 - math.floor(math.log10((high - low) * factor))), 0)
    texts = [_digits(one * factor, decimals) for one in ends]
    if low is None or high is None:
        return _join(f"{'from' if high is None else 'up to'} {texts[0]}", shown)
    return _join(f"{texts[0]} to {texts[1]}", shown)


def within(number: float | None, scale: tuple[float, float] | None) -> float | None:
    """An end of an interval that is not beyond the scale."""
    if number is None or scale is None or not math.isfinite(number):
        return None if number is None or not math.isfinite(number) else number
    return min(max(number, scale[0]), scale[1])


def instant(at: float | None) -> str:
    """Unix time as date and time of day in UTC."""
    if at is None or at <= 0:
        return "not known"
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "not known"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    return "not known" if seconds is None or not math.isfinite(seconds) else format_duration(seconds)


def size(value: float) -> str:
    """Bytes for people, and the exact number, by which files are told apart."""
    exact = f"{value:.0f} bytes"
    return exact if abs(value) < KIB else f"{quantity(value, 'bytes')} ({exact})"


def shown_in(unit: str, value: float) -> tuple[float, str]:
    """What to multiply numbers of the size of `value` with, and the unit of the product."""
    if unit == "share":
        return 100.0, "%"
    name, slash, per = unit.partition("/")
    if name == "bytes":
        for step, short in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if abs(value) >= step:
                return 1 / step, short + slash + per
        return 1.0, unit
    if unit == "s" and 0 < abs(value) < 1:
        return 1000.0, "ms"
    return 1.0, unit


def _decimals(value: float) -> int:
    if not value or not math.isfinite(value):
        return 0
    return min(6, max(0, _SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))))


def _digits(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    return text.removeprefix("-") if float(text) == 0 else text


def _join(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit else number
