"""Waiting: a bound that a machine's standstill does not use up, and a sleep that can be cut short."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpumod.core.ports import Clock

_SHARE = 3
"""What part of a bound the time between two looks may use up: one in so many."""
_LEAST = 0.5
"""Seconds that it may use up beside what a look takes, however short the bound is."""
_MOST = 5.0
"""Seconds that it may use up, however long the bound is."""


class Patience:
    """So many seconds of waiting, looked at again and again.

    A virtual machine that is held, a laptop's lid, a thrashing disk: where all stands still, what is
    waited for does too. So the time between two looks counts for a third of the bound and 5 s at the most,
    but always as much as a look may take; and whoever looks once more before it gives up has seen what
    became of it.
    """

    def __init__(self, clock: Clock, seconds: float, *, look: float = 0.0) -> None:
        """Args: `seconds` is the bound, `look` how many of them one look may take of itself."""
        self._clock = clock
        self._gap = max(look + _LEAST, min(_MOST, seconds / _SHARE))
        self._began = self._looked = clock.monotonic()
        self._left = seconds

    @property
    def waited(self) -> float:
        """Seconds since the beginning, standstills included."""
        return self._clock.monotonic() - self._began

    def left(self) -> float:
        """Seconds to wait still, 0 once it is over. To be asked *before* each look at what is waited for."""
        now = self._clock.monotonic()
        self._left = max(0.0, self._left - min(now - self._looked, self._gap))
        self._looked = now
        return self._left


async def sleep_unless(clock: Clock, seconds: float, nudge: asyncio.Event) -> None:
    """Sleep for so long, or until the event is set if that is sooner."""
    nudged = asyncio.ensure_future(nudge.wait())
    slept = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({nudged, slept}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        nudged.cancel()
        slept.cancel()
        await asyncio.gather(nudged, slept, return_exceptions=True)
