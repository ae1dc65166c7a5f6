"""Tries again, further and further apart, what did not come to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gpumod.core.units import format_duration
from gpumod.supervisor.patience import sleep_unless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gpumod.core.ports import Clock

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0


class Retrier:
    """Tries in the background until it succeeds, or until it is told to give up."""

    def __init__(self, clock: Clock, attempt: Callable[[], Awaitable[str]]) -> None:
        """Args: `attempt` answers in a sentence why it did not succeed, empty when it did; never raises."""
        self._clock = clock
        self._attempt = attempt
        self._why = ""
        self._next = 0.0
        self._given_up = False
        self._nudge = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def outlook(self) -> str:
        """When it tries again and why it has to, in a sentence; empty when it does not."""
        if self._given_up or not self._why:
            return ""
        left = self._next - self._clock.now()
        when = f"in {format_duration(left)}" if left > 0 else "now"
        return f"recovery tries again {when}: {self._why}"

    def begin(self, why: str) -> None:
        """Try again from now on, as something has not succeeded; not after `give_up`."""
        if not self._given_up:
            self._why = why
            self._nudge.clear()
            self._task = asyncio.create_task(self._insist(), name="recovery, again")

    def now(self) -> None:
        """What stood in the way may be gone: try at once, and be as quick about it as at the beginning."""
        self._nudge.set()

    def give_up(self) -> None:
        """Try no more, now and for good; an attempt that is under way goes on to its end."""
        self._given_up = True
        self._nudge.set()

    async def close(self) -> None:
        """Stop, also in the middle of an attempt."""
        self._given_up = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _insist(self) -> None:
        pause = _FIRST_PAUSE
        while self._why:
            self._next = self._clock.now() + pause
            await sleep_unless(self._clock, pause, self._nudge)
            if self._given_up:
                return
            pause = _FIRST_PAUSE if self._nudge.is_set() else min(pause * 2, _LONGEST_PAUSE)
            self._nudge.clear()
            self._next = 0.0
            self._why = await self._attempt()
