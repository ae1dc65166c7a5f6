"""A clock whose time passes only when everybody waits for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

_PATIENCE = 50
"""Turns of the event loop that must pass without a new sleeper before time moves on."""
_LONG = 30.0
"""A jump of more virtual seconds than this is only made after so much real time without a nearer one:"""
_QUIET = 0.05


class FakeClock:
    """Virtual time: a sleep of an hour takes no time, and sleepers wake in order."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._armed = False
        self._looks = 0
        self._standstills: dict[int, float] = {}

    def stand_still(self, seconds: float, *, after: int) -> None:
        """Let everything stand still for so long, once, at so many looks at the clock from now."""
        self._standstills[self._looks + after] = seconds

    def _look(self) -> None:
        self._looks += 1
        self._now += self._standstills.pop(self._looks, 0.0)

    def now(self) -> float:
        """Virtual Unix time."""
        return self._now

    def monotonic(self) -> float:
        """Virtual time again: it never goes back."""
        self._look()
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until virtual time has passed."""
        self._look()
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), waker))
        self._arm()
        await waker

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._tick, _PATIENCE)

    def _tick(self, left: int) -> None:
        loop = asyncio.get_running_loop()
        self._forget_cancelled()
        if left:
            loop.call_soon(self._tick, left - 1)
        elif self._sleepers and self._sleepers[0][0] - self._now > _LONG:
            # Work in real threads may still end: only when nothing does for a while is everybody waiting.
            loop.call_later(_QUIET, self._wake_next)
        else:
            self._wake_next()

    def _forget_cancelled(self) -> None:
        """Who waits no longer must not make the next jump look short."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)

    def _wake_next(self) -> None:
        self._armed = False
        while self._sleepers:
            at, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                self._now = max(self._now, at)
                waker.set_result(None)
                break
        if self._sleepers:
            self._arm()
