"""One switch at a time: joining, refusing, pre-empting, and running it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import NotFoundError, StoreError, SwitchRunningError, UnreachableError
from gpumod.core.events import EventKind
from gpumod.core.names import BLANK, ServiceId, SwitchId
from gpumod.core.plan import Plan, RefusalCode, Refused, Target
from gpumod.core.service import Desired
from gpumod.core.states import ServiceState
from gpumod.core.switch import SwitchRecord, SwitchRequest, SwitchState, is_automatic
from gpumod.core.units import format_duration
from gpumod.planner.explain import explain
from gpumod.planner.switch import plan_switch
from gpumod.planner.target import resolve_target
from gpumod.supervisor.conductor import Conductor
from gpumod.supervisor.running import RunningSwitch, already_running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from gpumod.core.facts import Facts
    from gpumod.core.ports import Events
    from gpumod.supervisor.hands import Hands
    from gpumod.supervisor.leases import LeaseBook
    from gpumod.supervisor.memory import BoxMemory
    from gpumod.supervisor.parts import Parts

_log = logging.getLogger(__name__)
_IDLE_KEPT = 64
"""Switches that had nothing to do, of which this many can be asked for by their ids."""


class Switcher:
    """Runs switches under the one lock that changes the box."""

    def __init__(
        self,
        parts: Parts,
        hands: Hands,
        memory: BoxMemory,
        leases: LeaseBook,
        events: Events,
        look: Callable[[], Awaitable[None]],
        on_end: Callable[[SwitchRecord], None],
    ) -> None:
        """Args: `look` has a fresh look at the box, and does not raise."""
        self._parts = parts
        self._hands = hands
        self._memory = memory
        self._leases = leases
        self._events = events
        self._look = look
        self._on_end = on_end
        self._entry = asyncio.Lock()
        self._running: RunningSwitch | None = None
        self._leaving: frozenset[ServiceId] = frozenset()
        self._idle: dict[SwitchId, SwitchRecord] = {}
        self._closed = False
        self._coming = 0
        """Wishes that a policy's switch has given way to, and that have not begun yet."""
        self.refusals: Counter[RefusalCode] = Counter()
        """Why switches were refused, since the daemon began."""

    @property
    def busy(self) -> bool:
        """Whether a switch is under way."""
        return self._running is not None

    @property
    def leaving(self) -> frozenset[ServiceId]:
        """Services that the running switch stops."""
        return self._leaving

    @property
    def current(self) -> SwitchRecord | None:
        """The running switch as it stands."""
        return self._running.conductor.record if self._running else None

    async def plan(self, request: SwitchRequest) -> Plan | Refused:
        """What a switch would do now."""
        target = self._resolve(request)
        return target if isinstance(target, Refused) else await self._plan(target, self._untouched(request))

    async def study(self, request: SwitchRequest) -> tuple[Plan | Refused, Facts | None]:
        """The same with the facts that it was decided from; None where it did not come to facts."""
        target = self._resolve(request)
        if isinstance(target, Refused):
            return target, None
        facts = await self._facts(target, self._untouched(request))
        return plan_switch(facts, target), facts

    async def _plan(self, target: Target, untouched: Collection[ServiceId]) -> Plan | Refused:
        return plan_switch(await self._facts(target, untouched), target)

    async def _facts(self, target: Target, untouched: Collection[ServiceId]) -> Facts:
        """Facts that also know of the leases that were taken while they were gathered."""
        facts = await self._hands.finder.gather(
            target.services, desired=self._memory.desired, untouched=untouched
        )
        return replace(facts, leases=self._leases.held())

    async def begin(self, request: SwitchRequest) -> SwitchRecord | Refused:
        """Start a switch, or join the one that is under way to the same end.

        Raises:
            SwitchRunningError: another one is under way, and this one does not come before it.
        """
        forced = request.mode == BLANK and request.force
        coming = False
        try:
            while True:
                async with self._entry:
                    running, target = self._running, self._resolve(request)
                    if running is None:
                        return await self._start_alone(request, target)
                    ended = running.conductor.record.state.ended
                    if not ended and running.leads_to(request, target) and not running.conductor.leaving:
                        return running.join(request)
                    if not ended and forced:
                        running.conductor.cancel(_pre_empted(request), preempt=True)
                if not ended and not forced:
                    running.check_gives_way(request)
                    if not coming:
                        await self._check_possible(running, request, target)
                        coming, self._coming = True, self._coming + 1
                    running.check_gives_way(request)  # somebody may have joined it meanwhile
                    running.conductor.cancel(_pre_empted(request))
                await asyncio.wait({running.task})
        finally:
            if coming:
                self._coming -= 1

    async def _start_alone(self, request: SwitchRequest, target: Target | Refused) -> SwitchRecord | Refused:
        if isinstance(target, Refused):
            return target
        if self._coming and is_automatic(request.by):
            raise _comes_first()
        return await self._start(request, target, self._untouched(request))

    async def _check_possible(
        self, running: RunningSwitch, request: SwitchRequest, target: Target | Refused
    ) -> None:
        """A wish that would be refused ends nobody's switch.

        Raises:
            SwitchRunningError: it would be, as things are now.
        """
        plan = target if isinstance(target, Refused) else await self._plan(target, self._untouched(request))
        if isinstance(plan, Refused):
            raise already_running(running.conductor.record)

    async def begin_target(
        self, request: SwitchRequest, target: Target, untouched: Collection[ServiceId], desired: Desired
    ) -> SwitchRecord | Refused:
        """Start a switch to a target that the daemon itself decided on (recovery, restart).

        Args:
            request: what is recorded as the wish.
            target: where to go.
            untouched: services of the target that stay as they run, whatever the files say now.
            desired: what the box should be when the target was decided on.

        Raises:
            SwitchRunningError: a switch is under way, or somebody has changed meanwhile what should be.
        """
        async with self._entry:
            if self._running is not None:
                raise already_running(self._running.conductor.record)
            if (self._coming and is_automatic(request.by)) or not desired.same(self._memory.desired):
                raise _comes_first()
            return await self._start(request, target, untouched)

    async def tie_loose_ends(self) -> None:
        """Bring what is between two states to one of them, unless a switch runs that sees to it."""
        async with self._entry:
            if self._running is None:
                await self._hands.loose_ends.tie()

    async def wait(self, switch: SwitchId, seconds: float | None) -> SwitchRecord | None:
        """The record once a running switch has ended or the time is over; None if it does not run."""
        running = self._running
        if running is None or running.conductor.record.id != switch:
            return None
        await asyncio.wait({running.task}, timeout=seconds)
        return running.conductor.record

    async def cancel(self, switch: SwitchId, by: str) -> SwitchRecord | None:
        """Ask a running switch to stop and undo itself; None if it does not run."""
        running = self._running
        if running is None or running.conductor.record.id != switch:
            return None
        running.conductor.cancel(f"cancelled by {by}" if by else "cancelled")
        await running.conductor.keep_cancel()
        return running.conductor.record

    async def close(self) -> None:
        """Let go of a running switch without undoing it: the next daemon converges."""
        self._closed = True
        async with self._entry:  # what is being planned now does not begin any more
            running = self._running
        if running is not None:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    def _resolve(self, request: SwitchRequest) -> Target | Refused:
        return resolve_target(self._memory.catalog, self._memory.desired, request, self._hands.world.all())

    def _untouched(self, request: SwitchRequest) -> frozenset[ServiceId]:
        """What a change of one service leaves as it runs; a mode is taken as its files have it now."""
        if request.mode is not None or request.exactly is not None:
            return frozenset()
        changed = request.start if request.preset is not None else request.restart
        return frozenset(record.id for record in self._hands.world.all() if record.id != changed)

    async def _start(
        self, request: SwitchRequest, target: Target, untouched: Collection[ServiceId]
    ) -> SwitchRecord | Refused:
        plan = await self._plan(target, untouched)
        if self._closed:
            raise UnreachableError("the daemon is ending: ask again once it is back")
        if isinstance(plan, Refused):
            self._tell_refused(request, plan)
            return plan
        # From here on no lease is given on what the plan stops, and none was when it was made.
        self._leaving = frozenset((*plan.stops, *plan.moves))
        try:
            return await self._carry_out(request, plan)
        finally:
            if self._running is None:
                self._leaving = frozenset()

    async def _carry_out(self, request: SwitchRequest, plan: Plan) -> SwitchRecord:
        target = plan.target
        now = self._parts.clock.now()
        record = SwitchRecord(
            id=SwitchId(self._parts.new_id()),
            request=request,
            source=self._memory.mode_id,
            target=target.mode,
            state=SwitchState.RUNNING,
            started=now,
        )
        if plan.empty:
            return await self._already_there(record, plan, now)
        conductor = Conductor(self._parts, self._events, self._hands, self._memory, record, plan)
        await self._parts.store.begin_switch(conductor.record)
        for line in explain(plan):
            _log.info("%s: %s", record.id, line)
        task = asyncio.create_task(self._run(conductor, request), name=request.phrase)
        own = not is_automatic(request.by)
        self._running = RunningSwitch(request, plan.target, conductor, task, own)
        self._tell(conductor.record)
        return conductor.record

    async def _already_there(self, record: SwitchRecord, plan: Plan, now: float) -> SwitchRecord:
        """Nothing to do: say so, and take over a desired state that differs in name alone."""
        target = plan.target
        reason = f"nothing to do: the box is in mode {target.mode} and healthy"
        done = replace(
            record, state=SwitchState.COMMITTED, ended=now, left=f"in mode {target.mode}", reason=reason
        )
        self._remember(done)
        desired = self._memory.desired
        await self._hands.world.take_specs(target.services)
        await self._hands.world.take_charges(plan.charges)
        if (desired.mode, desired.added, desired.removed) != (target.mode, target.added, target.removed):
            self._memory.desired = Desired(target.mode, target.added, target.removed, now)
            await self._parts.store.begin_switch(record)
            await self._parts.store.commit_switch(done, self._memory.desired)
        return done

    def _remember(self, record: SwitchRecord) -> None:
        """Nothing was done, so nothing is in the journal; whoever asks for it is answered all the same."""
        self._idle[record.id] = record
        while len(self._idle) > _IDLE_KEPT:
            del self._idle[next(iter(self._idle))]

    def idle(self, switch: SwitchId) -> SwitchRecord | None:
        """A recent switch that had nothing to do."""
        return self._idle.get(switch)

    async def _run(self, conductor: Conductor, request: SwitchRequest) -> SwitchRecord:
        try:
            await conductor.run(request.deadline)
            await self._forget_stopped()
            # Whoever waited for the end and asks for the status then sees what it has left.
            await self._look()
        finally:
            self._running = None
            self._leaving = frozenset()
            self._hands.barrier.forget()
        record = conductor.record
        self._tell(record)
        self._on_end(record)
        return record

    async def _forget_stopped(self) -> None:
        """Drop services that are gone and that the committed state does not want."""
        wanted = self._wanted()
        for record in self._hands.world.all():
            gone = record.state is ServiceState.STOPPED
            if record.state is ServiceState.FAILED:
                gone = not await self._hands.world.runner(record).processes(record.key)
            if gone and record.id not in wanted:
                try:
                    await self._hands.world.drop(record.id)
                except StoreError as error:
                    _log.error("%s could not be dropped from the store: %s", record.id, error.detail)

    def _wanted(self) -> set[ServiceId]:
        mode, desired = self._memory.mode, self._memory.desired
        members = {spec.id for spec in mode.services} if mode else set()
        return {*members, *(spec.id for spec in desired.added)} - set(desired.removed)

    def _tell(self, record: SwitchRecord) -> None:
        self._events.publish(
            EventKind.SWITCH,
            record.id,
            _sentence(record),
            state=record.state.value,
            source=record.source,
            target=record.target,
            reason=record.reason,
            left=record.left,
            steps=len(record.steps),
        )

    def _tell_refused(self, request: SwitchRequest, refused: Refused) -> None:
        self.refusals.update(reason.code for reason in refused.reasons)
        reasons = [reason.detail for reason in refused.reasons]
        message = f"{request.phrase} refused: {'; '.join(reasons)}"
        self._events.publish(EventKind.SWITCH, request.mode or "", message, state="refused", reasons=reasons)


def _sentence(record: SwitchRecord) -> str:
    """How a switch stands, in words; the reason only where it did not go as asked."""
    said = f"{record.request.phrase}: {record.state.value.replace('_', ' ')}"
    if record.left:
        said += f", {record.left}"
    if record.ended is not None:
        said += f", after {format_duration(record.ended - record.started)}"
    return f"{said}: {record.reason}" if record.reason else said


def _comes_first() -> SwitchRunningError:
    return SwitchRunningError("a switch that somebody asked for comes first: ask again after it")


def _pre_empted(request: SwitchRequest) -> str:
    by = f" by {request.by}" if request.by else ""
    return f"pre-empted{by}: {request.phrase}"


def unknown_switch(switch: SwitchId) -> NotFoundError:
    """The error for a switch that the journal does not have."""
    return NotFoundError(f"no switch {switch}: `gpumodctl events` shows recent ones", {"switch": switch})
