"""The memory barrier: memory is free when it is proven free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.errors import MemoryHeldError
from gpumod.core.units import format_duration
from gpumod.planner.release import released
from gpumod.supervisor.patience import Patience

if TYPE_CHECKING:
    from gpumod.core.names import ServiceId
    from gpumod.core.plan import Step
    from gpumod.supervisor.facts import FactFinder
    from gpumod.supervisor.parts import Parts


class Barrier:
    """Waits until the processes have left the cards and the cards' free memory covers the need."""

    def __init__(self, parts: Parts, finder: FactFinder) -> None:
        self._parts = parts
        self._finder = finder
        self._pids: dict[ServiceId, frozenset[int]] = {}

    async def remember(self, service: ServiceId) -> None:
        """Note which processes a service has, before it is stopped."""
        trees = await self._finder.trees()
        pids = frozenset(pid for pid, owner in trees.items() if owner == service)
        self._pids[service] = self._pids.get(service, frozenset()) | pids

    def forget(self) -> None:
        """The switch has ended: pids may be given to other processes from now on."""
        self._pids.clear()

    async def wait(self, step: Step) -> str:
        """Wait for consecutive readings that prove the release; answers with the proof's level.

        Where nothing was stopped there is nothing to settle, and one reading is proof. Given up is only
        after a reading that began after the bound.

        Raises:
            MemoryHeldError: the memory is not free within the bound; the detail names who holds it.
        """
        bounds, clock = self._parts.bounds, self._parts.clock
        gone_pids = frozenset[int]().union(*(self._pids.get(service, frozenset()) for service in step.gone))
        needed = bounds.barrier_readings if step.gone else 1
        patience = Patience(clock, bounds.barrier)
        good = 0
        while True:
            late = not patience.left()
            facts = await self._finder.now(only=step.cards)
            verdict = released(facts, step, gone_pids)
            good = good + 1 if verdict.free else 0
            if good >= needed:
                waited = format_duration(patience.waited)
                return f"{verdict.level} after {waited}, {good} reading{'s' * (good != 1)}"
            if late and not verdict.free:
                message = (
                    f"memory did not come back within {format_duration(bounds.barrier)}: {verdict.reason}"
                )
                raise MemoryHeldError(message, {"cards": list(step.cards), "reason": verdict.reason})
            await clock.sleep(bounds.barrier_interval)
