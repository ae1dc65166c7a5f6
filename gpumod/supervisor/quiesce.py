"""Quiet a service: close its admission, drain it, and stop it until no process of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError, StopFailedError
from gpumod.core.spec import AfterDeadline
from gpumod.core.states import ServiceState
from gpumod.core.units import format_duration
from gpumod.supervisor.patience import Patience

if TYPE_CHECKING:
    from gpumod.core.names import ServiceId
    from gpumod.core.ports import Rung
    from gpumod.core.service import RunKey, ServiceRecord
    from gpumod.supervisor.admission import Gate
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_QUIET_READINGS = 2
"""Zero requests must be seen this often in a row: a request may be on its way between two looks."""
_QUIET_GAP = 0.005
"""Seconds between two such looks."""
_GONE_SLOWER, _GONE_SLOWEST = 1.05, 0.1
"""Looks at a tree that goes get further apart, so that the last one is late by a twentieth of the whole."""


class DrainRefusedError(GpumodError):
    """Requests outlasted the drain deadline and the preset says `then: refuse`."""


class Quiescer:
    """Stops services the way their engines need it."""

    def __init__(self, parts: Parts, world: World, gate: Gate) -> None:
        self._parts = parts
        self._world = world
        self._gate = gate
        self._drained: set[RunKey] = set()

    async def close(self, service: ServiceId) -> str:
        """Let no new request in."""
        record = self._world.get(service)
        if record is None or record.state is not ServiceState.READY:
            return "nothing to close"
        await self._world.change(
            record.key, ServiceState.DRAINING, "leaving: admission is closed", admitting=False
        )
        return f"{self._gate.in_flight(service)} requests inside"

    async def reopen(self, service: ServiceId) -> str:
        """Take a drain back, as long as nothing was signalled."""
        record = self._world.get(service)
        if record is None:
            return "gone"
        self._drained.discard(record.key)
        if record.state is ServiceState.DRAINING:
            await self._world.change(
                record.key, ServiceState.READY, "stays: its drain was taken back", admitting=True
            )
        return "admission open"

    async def drain(self, service: ServiceId) -> str:
        """Wait until the engine has nothing in flight, seen twice, or until the deadline.

        Raises:
            DrainRefusedError: the deadline passed and the preset wants no request to be cut.
        """
        record = self._world.get(service)
        if record is None or record.launch is None or record.state is not ServiceState.DRAINING:
            return "nothing to drain"
        patience = Patience(self._parts.clock, record.spec.drain.deadline, look=self._parts.bounds.probe)
        quiet = 0
        busy: int | None = None
        while quiet < _QUIET_READINGS:
            late = not patience.left()
            busy = await self._busy(record)
            quiet = quiet + 1 if busy == 0 else 0
            if busy is None and not await self._alive(record):
                break
            if quiet < _QUIET_READINGS:
                if late and not quiet:
                    return self._deadline_passed(record, busy)
                await self._parts.clock.sleep(self._parts.bounds.drain_interval if busy else _QUIET_GAP)
        self._drained.add(record.key)
        return f"quiet after {format_duration(patience.waited)}"

    async def stop(self, service: ServiceId) -> str:
        """Walk the engine's stop ladder until no process of the service is left.

        Raises:
            StopFailedError: a process survives SIGKILL; its pid is in the facts.
        """
        record = self._world.get(service)
        if record is None or record.launch is None:
            return "nothing to stop"
        drained = record.key in self._drained
        ladder = self._parts.engine(record.spec.engine).ladder(
            record.spec, record.launch, state=record.state, drained=drained
        )
        started = self._parts.clock.monotonic()
        if record.state not in {ServiceState.STOPPING, ServiceState.STOPPED}:
            reason = "stopping: drained" if drained else "stopping: not drained"
            await self._world.change(record.key, ServiceState.STOPPING, reason, admitting=False)
        rung_name = await self._descend(record, ladder)
        self._drained.discard(record.key)
        await self._finish(record)
        return f"gone after {format_duration(self._parts.clock.monotonic() - started)} ({rung_name})"

    async def remove(self, record: ServiceRecord) -> None:
        """SIGKILL whatever is left of an attempt that ended or that nobody wants, and forget it.

        Raises:
            StopFailedError: a process survives SIGKILL.
        """
        runner = self._world.runner(record)
        await runner.kill(record.key)
        if record.launch is not None:
            await self._parts.engine(record.spec.engine).clean(record.spec, record.launch)
        if not await self._gone(record, self._parts.bounds.after_kill):
            await self._fail_unkillable(record)
        await self._forget(record)

    async def _descend(self, record: ServiceRecord, ladder: tuple[Rung, ...]) -> str:
        name = "already gone"
        if await self._gone(record, 0.0):
            return name
        for rung in ladder:
            name = f"signal {rung.number}" if rung.act == "signal" else rung.act
            await self._act(record, rung)
            if await self._gone(record, rung.wait):
                return name
        await self._fail_unkillable(record)
        return name

    async def _act(self, record: ServiceRecord, rung: Rung) -> None:
        runner = self._world.runner(record)
        if rung.act == "signal":
            await runner.signal(record.key, rung.number)
        elif rung.act == "command":
            await self._parts.run_command(rung.argv, rung.wait)
        else:
            await runner.kill(record.key)
            if record.launch is not None:
                await self._parts.engine(record.spec.engine).clean(record.spec, record.launch)

    async def _gone(self, record: ServiceRecord, seconds: float) -> bool:
        """Whether every process of the service disappears within so long."""
        patience = Patience(self._parts.clock, seconds)
        interval = self._parts.bounds.gone_interval
        left = seconds
        while await self._alive(record):
            if not left:
                return False
            await self._parts.clock.sleep(min(interval, left))
            left = patience.left()
            interval = min(interval * _GONE_SLOWER, _GONE_SLOWEST)
        return True

    async def _alive(self, record: ServiceRecord) -> bool:
        return bool(await self._pids(record))

    async def _pids(self, record: ServiceRecord) -> tuple[int, ...]:
        """Its living processes; those outside the runner's tree count once the tree is gone."""
        tree = await self._world.runner(record).processes(record.key)
        if tree or record.launch is None:
            return tuple(process.pid for process in tree)
        return await self._parts.engine(record.spec.engine).outside(record.spec, record.launch)

    async def _busy(self, record: ServiceRecord) -> int | None:
        """Requests in flight, by our gate and by the engine; None when the engine does not answer.

        An engine that has no such count is drained by the gate's alone.
        """
        if record.launch is None:
            return 0
        inside = self._gate.in_flight(record.id)
        engine = self._parts.engine(record.spec.engine)
        if not engine.counts_requests(record.spec):
            return inside
        try:
            async with asyncio.timeout(self._parts.bounds.probe):
                told = await engine.in_flight(record.spec, record.launch)
        except TimeoutError:
            return None
        return None if told is None else max(inside, told)

    @staticmethod
    def _deadline_passed(record: ServiceRecord, busy: int | None) -> str:
        count = "requests that the engine does not count" if busy is None else f"{busy} requests"
        after = format_duration(record.spec.drain.deadline)
        if record.spec.drain.then is AfterDeadline.REFUSE:
            message = (
                f"{record.id} still has {count} in flight after {after}, and its preset says `then: refuse`"
            )
            raise DrainRefusedError(message, {"service": record.id, "in_flight": busy})
        return f"deadline of {after} passed with {count} in flight: they are cut"

    async def _finish(self, record: ServiceRecord) -> None:
        if record.launch is not None:
            await self._parts.engine(record.spec.engine).clean(record.spec, record.launch)
        current = self._world.current(record.key)
        if current is not None and current.state is ServiceState.STOPPING:
            await self._world.change(
                record.key, ServiceState.STOPPED, "no process of it is left", observed=()
            )
        await self._forget(record)

    async def _forget(self, record: ServiceRecord) -> None:
        with contextlib.suppress(OSError):
            await self._world.runner(record).forget(record.key)

    async def _fail_unkillable(self, record: ServiceRecord) -> None:
        pids = await self._pids(record)
        self._world.cannot_kill(record.key, pids)
        reason = f"processes {', '.join(map(str, pids))} survive SIGKILL (stuck in the kernel or the driver)"
        current = self._world.current(record.key)
        if current is not None and current.state is ServiceState.STOPPING:
            await self._world.change(record.key, ServiceState.FAILED, reason)
        _log.error("%s: %s", record.id, reason)
        raise StopFailedError(f"{record.id}: {reason}", {"service": record.id, "pids": pids})
