"""Given to level `compose`: calls again what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def retry(
    function: Callable[[], Any], *, attempts: int, base: float, sleep: Callable[[float], object]
) -> Any:
    """Call it up to `attempts` times, with doubling delays; the last exception is raised."""
    for number in range(attempts - 1):
        try:
            return function()
        except Exception:
            sleep(base * 2**number)
    return function()
