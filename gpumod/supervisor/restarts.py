"""Restarts: a service that died is started again by its policy, through the same plan as ever."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError
from gpumod.core.plan import Refused, Target
from gpumod.core.spec import OnFailure, RestartWhen
from gpumod.core.states import ServiceState
from gpumod.core.switch import RESTART, SwitchRecord, SwitchRequest
from gpumod.core.units import format_duration
from gpumod.planner.target import desired_target

if TYPE_CHECKING:
    from gpumod.core.names import ServiceId
    from gpumod.core.service import ServiceRecord
    from gpumod.supervisor.memory import BoxMemory
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.switcher import Switcher
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_CRASH_LOOP = "crash loop"


def gave_up(reason: str) -> bool:
    """Whether a failed service's reason says that it is not started again."""
    return reason.startswith(_CRASH_LOOP)


class Restarter:
    """Starts dead services again, with back-off, until their policy says that it is a crash loop."""

    def __init__(self, parts: Parts, world: World, memory: BoxMemory, switcher: Switcher) -> None:
        self._parts = parts
        self._world = world
        self._memory = memory
        self._switcher = switcher
        self._tasks: dict[ServiceId, asyncio.Task[None]] = {}
        self._closed = False

    def died(self, service: ServiceId) -> None:
        """A service has died: see to it in the background."""
        task = self._tasks.get(service)
        if not self._closed and (task is None or task.done()):
            self._tasks[service] = asyncio.create_task(self._revive(service), name=f"restart {service}")

    def switched(self, record: SwitchRecord) -> None:
        """A switch has ended: members that died meanwhile are seen to."""
        if record.request.by == RESTART:
            return
        self.see_to_failed()

    def see_to_failed(self) -> None:
        """See to every service that is down, also those that went down with a daemon or the machine."""
        for service in [one.id for one in self._world.all() if one.state is ServiceState.FAILED]:
            self.died(service)

    async def close(self) -> None:
        """Start nothing any more."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _revive(self, service: ServiceId) -> None:
        pause = _FIRST_PAUSE
        while True:
            record = self._wanted_and_failed(service)
            if record is None or not await self._may_restart(record):
                return
            await self._parts.clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            record = self._wanted_and_failed(service)
            if record is None:
                return
            if self._switcher.busy:
                continue
            try:
                await self._restart(record)
            except GpumodError as error:
                _log.warning("restart of %s: %s", service, error.detail)

    async def _may_restart(self, record: ServiceRecord) -> bool:
        """Whether the policy allows one more try; if not, the reason says so."""
        policy = record.spec.restart
        if policy.when is RestartWhen.NEVER:
            return False
        recent = self._recent(record)
        if len(recent) < policy.at_most:
            return True
        loop = f"{_CRASH_LOOP}: restarted {len(recent)} times within {format_duration(policy.within)}"
        if not gave_up(record.reason):
            reason = f"{loop}; last: {record.reason}"
            await self._world.change(record.key, ServiceState.FAILED, reason)
        return False

    async def _restart(self, record: ServiceRecord) -> None:
        """One try. One that is refused, or that another switch comes before, costs none of the policy."""
        desired = self._memory.desired
        target = self._target(record)
        if isinstance(target, Refused):
            return
        request = SwitchRequest(restart=record.id, on_failure=OnFailure.KEEP, by=RESTART)
        tried = (*self._recent(record), self._parts.clock.now())
        await self._world.note(record.key, restarts=tried)
        begun: SwitchRecord | Refused | None = None
        try:
            untouched = {spec.id for spec in target.services} - {record.id}
            begun = await self._switcher.begin_target(request, target, untouched, desired)
        finally:
            if not isinstance(begun, SwitchRecord):
                await self._world.note(record.key, restarts=record.restarts)
        if isinstance(begun, Refused):
            why = "; ".join(reason.detail for reason in begun.reasons)
            await self._world.note(record.key, reason=f"cannot be restarted now: {why}")
            return
        await self._switcher.wait(begun.id, None)

    def _target(self, record: ServiceRecord) -> Target | Refused:
        """This service as the files have it, and all others as they run."""
        target = desired_target(self._memory.catalog, self._memory.desired)
        if isinstance(target, Refused):
            return target
        others = [one for one in self._world.all() if one.id != record.id and one.state is ServiceState.READY]
        again = [spec for spec in target.services if spec.id == record.id]
        return replace(target, services=(*again, *(one.spec for one in others)))

    def _wanted_and_failed(self, service: ServiceId) -> ServiceRecord | None:
        record = self._world.get(service)
        if record is None or record.state is not ServiceState.FAILED:
            return None
        target = desired_target(self._memory.catalog, self._memory.desired)
        wanted = isinstance(target, Target) and service in {spec.id for spec in target.services}
        return record if wanted else None

    def _recent(self, record: ServiceRecord) -> tuple[float, ...]:
        oldest = self._parts.clock.now() - record.spec.restart.within
        return tuple(time for time in record.restarts if time > oldest)
