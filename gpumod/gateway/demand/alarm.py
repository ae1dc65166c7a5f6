"""Wakes somebody when the next thing is due, however often that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gpumod.core.ports import Clock


class Alarm:
    """One sleeper for all that is due.

    Args:
        clock: monotonic seconds.
        due: when the next thing is due; None: nothing is.
        ring: called with the time when it is; whatever was due then is not due any more.
    """

    def __init__(self, clock: Clock, due: Callable[[], float | None], ring: Callable[[float], None]) -> None:
        self._clock = clock
        self._due = due
        self._ring = ring
        self._armed: float | None = None
        self._changed = asyncio.Event()

    def arm(self) -> None:
        """What is due may have changed: see to it that nobody sleeps past it."""
        due = self._due()
        if due is not None and (self._armed is None or due < self._armed):
            self._changed.set()

    async def run(self) -> None:
        """Ring again and again, until it is cancelled."""
        while True:
            self._changed.clear()
            self._armed = self._due()
            await self._sleep_until(self._armed)
            now = self._clock.monotonic()
            if self._armed is not None and self._armed <= now:
                self._ring(now)

    async def _sleep_until(self, when: float | None) -> None:
        """Until then, or until something nearer is due."""
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._changed.wait())}
        if when is not None:
            waits.add(asyncio.ensure_future(self._clock.sleep(max(0.0, when - self._clock.monotonic()))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
