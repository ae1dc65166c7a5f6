"""Sizes and durations as people write them: ``20500MiB``, ``240s``."""

from __future__ import annotations

import re
from typing import Final

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3

_SIZE_UNITS: Final = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": 1024**4,
}
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_AND_UNIT: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]+)\s*")
_LARGEST_SIZE: Final = 2**50


def parse_size(text: str) -> int:
    """Bytes in a size with a unit, e.g. ``20500MiB``, ``14.25GB``.

    Raises:
        ValueError: no unit, an unknown unit, not a number, or more than 1 PiB.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        message = f"{text!r} is not a size: write a number with a unit, such as 20500MiB or 14.25GB"
        raise ValueError(message)
    size = round(float(match[1]) * unit)
    if size > _LARGEST_SIZE:
        message = f"{text!r} is larger than 1 PiB"
        raise ValueError(message)
    return size


def parse_duration(text: str) -> float:
    """Seconds in a duration with a unit, e.g. ``240s``, ``10m``, ``500ms``.

    Raises:
        ValueError: no unit, an unknown unit, not a number, or more than 366 days.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = _DURATION_UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        message = f"{text!r} is not a duration: write a number with a unit, such as 240s, 10m or 500ms"
        raise ValueError(message)
    seconds = float(match[1]) * unit
    if seconds > 366 * 86400:
        message = f"{text!r} is longer than 366 days"
        raise ValueError(message)
    return seconds


def format_size(size: int) -> str:
    """A size for people: whole MiB below 10 GiB, else GiB with one decimal.

    The sign is kept, so that a shortage can be shown as it is.
    """
    if abs(size) >= 10 * GIB:
        return f"{size / GIB:.1f} GiB"
    if abs(size) >= MIB or size == 0:
        return f"{size / MIB:.0f} MiB"
    return f"{size / KIB:.0f} KiB"


def format_duration(seconds: float) -> str:
    """A duration for people: ``85 ms``, ``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
