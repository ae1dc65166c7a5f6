"""The queue at work: shows the brain what the box is like, and does what it says."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from gpumod.core.errors import GpumodError
from gpumod.core.names import ModeId, ServiceId, SwitchId
from gpumod.core.ports import Admission, Clock, Leases, Switching
from gpumod.core.service import ServiceRecord
from gpumod.core.switch import SwitchRecord, SwitchState
from gpumod.gateway.demand import asking
from gpumod.gateway.demand.alarm import Alarm
from gpumod.gateway.demand.brain import Brain
from gpumod.gateway.demand.idling import Idling
from gpumod.gateway.demand.journal import Journal
from gpumod.gateway.demand.rules import Rules
from gpumod.gateway.demand.sensing import Senses
from gpumod.gateway.demand.values import (
    Asked,
    Begin,
    Closed,
    Ended,
    Event,
    Explain,
    Fail,
    Goal,
    Gone,
    Instruction,
    Pass,
    Seen,
    Sight,
    Tick,
    TicketId,
    Verdict,
    Wish,
)

_log = logging.getLogger(__name__)
_RETRY = 1.0
"""Seconds until the box is looked at again after a look has failed."""

Settle = Callable[["ServiceId | Verdict"], None]
"""Called once with how a request's waiting has ended; not at all when its client went away."""


class Demand:
    """Lets requests wait for services, and asks for switches in their name."""

    def __init__(
        self,
        switching: Switching,
        admission: Admission,
        leases: Leases,
        clock: Clock,
        rules: Rules,
        *,
        recovering: Callable[[], bool] = lambda: False,
    ) -> None:
        self._switching = switching
        self._admission = admission
        self._clock = clock
        self._brain = Brain(rules)
        self._journal = Journal(switching)
        self._suspects: dict[ServiceId, tuple[int, float]] = {}
        self._senses = Senses(admission, self.usable, recovering)
        self._idling = Idling(switching, admission, leases, clock, rules.residency)
        self._inside: dict[ServiceId, Counter[int]] = {}
        self._settle: dict[TicketId, Settle] = {}
        self._numbers = itertools.count(1)
        self._followed: set[SwitchId] = set()
        self._over: dict[SwitchId, SwitchRecord | None] = {}
        self._look_due = asyncio.Event()
        self._alarm = Alarm(clock, self._wake, self._ring)
        self._retry_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping_idle = False
        self._unsubscribe: Callable[[], None] = _nothing

    # --- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn from the journal, and begin to look at the box."""
        await self._journal.read()
        self._unsubscribe = self._admission.subscribe(self._look_due.set)
        self._look_due.set()
        self._spawn(self._look_always(), "demand: look")
        self._spawn(self._alarm.run(), "demand: alarm")

    async def close(self) -> None:
        """Answer everybody who waits, and end. May be called again."""
        unsubscribe, self._unsubscribe = self._unsubscribe, _nothing
        unsubscribe()
        self._tell(Closed())
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what the door uses ------------------------------------------------------------------------

    def ask(self, wish: Wish, settle: Settle) -> TicketId:
        """Let a request wait. `settle` may be called before this returns: the queue may be full."""
        ticket = next(self._numbers)
        self._settle[ticket] = settle
        self._tell(Asked(ticket, wish))
        self._look_due.set()
        return ticket

    def gone(self, ticket: TicketId) -> None:
        """The client of a waiting request went away."""
        self._settle.pop(ticket, None)
        self._tell(Gone(ticket))

    def entered(self, service: ServiceId, priority: int) -> None:
        """A request is let in."""
        self._admission.entered(service)
        inside = self._inside.get(service)
        if inside is None:
            inside = self._inside[service] = Counter()
        inside[priority] += 1

    def left(self, service: ServiceId, priority: int, *, used: bool = True) -> None:
        """A request that was let in has ended. One that only looked has not `used` the service."""
        self._admission.left(service)
        inside = self._inside[service]
        inside[priority] -= 1
        if not inside[priority]:
            del inside[priority]
            if self._brain.waiting:
                self._look_due.set()
        if used:
            self._idling.used(service, self._clock.monotonic())

    def suspect(self, service: ServiceId, generation: int, until: float) -> None:
        """The engine did not answer: until then, or until a newer attempt, it gets no request."""
        self._suspects[service] = (generation, until)
        self._alarm.arm()
        self._look_due.set()

    def usable(self, service: ServiceId) -> bool:
        """Whether a service that admits is to be trusted."""
        generation, until = self._suspects.get(service, (None, 0.0))
        if generation is None or self._admission.generation(service) != generation:
            return True
        return self._clock.monotonic() >= until

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._brain.waiting

    @property
    def idled_mode(self) -> ModeId | None:
        """The mode that an idle policy has left for blank."""
        return self._journal.idled.mode

    def seconds(self, goal: Goal | None) -> float:
        """How long it takes to get there, as learned."""
        return self._journal.seconds(goal)

    # --- looking at the box --------------------------------------------------------------------------

    async def _look_always(self) -> None:
        while True:
            await self._look_due.wait()
            self._look_due.clear()
            try:
                await self._look()
                self._retry_at = None
            except GpumodError as error:
                _log.warning("the box could not be looked at: %s", error.detail)
                self._look_later()
            except Exception:  # noqa: BLE001 - whatever it was, those who wait must not be forgotten for it
                _log.exception("a look at the box failed")
                self._look_later()

    def _look_later(self) -> None:
        self._retry_at = self._clock.monotonic() + _RETRY
        self._alarm.arm()

    async def _look(self) -> None:
        """Show the brain the box. Where nobody waits the box is not asked: whoever asks keeps it busy."""
        admission = self._admission
        mode = admission.mode()
        self._journal.looked(mode, admission.admits)
        idle = not self._stopping_idle and self._idling.due()
        if not (self._brain.waiting or self._followed or idle):
            self._tell(Seen(Sight(mode)))
            return
        status = await self._switching.status()
        running = status.switch if status.switch and not status.switch.state.ended else None
        for event in await self._endings(running):
            self._tell(event)
        if running is not None:
            self._follow(running.id)
        self._show(status.services, running)
        if idle:
            self._stopping_idle = True
            self._spawn(self._idle(status.services), "demand: idle")

    def _show(self, records: tuple[ServiceRecord, ...], running: SwitchRecord | None) -> None:
        catalog, idled = self._switching.catalog(), self._journal.idled
        sight = self._senses.sight(self._brain.models, catalog, records, running, idled, self._inside)
        self._tell(Seen(sight))

    async def _endings(self, running: SwitchRecord | None) -> list[Ended]:
        """How followed switches have ended that do not run any more."""
        events: list[Ended] = []
        for switch in sorted(self._followed - ({running.id} if running else set())):
            known = switch in self._over
            record = self._over.pop(switch) if known else await self._record(switch)
            if record is not None and record.state.ended:
                self._journal.over(record)
                events.append(_ended(record))
            elif known:
                events.append(Ended(switch, reason="its end is not known"))
            else:
                continue  # whoever waits for its end knows it in a moment
            self._followed.discard(switch)
        return events

    async def _record(self, switch: SwitchId) -> SwitchRecord | None:
        try:
            return await self._switching.switch(switch)
        except GpumodError:
            return None

    def _follow(self, switch: SwitchId) -> None:
        if switch not in self._followed:
            self._followed.add(switch)
            self._spawn(self._wait_for(switch), f"demand: follow {switch}")

    async def _wait_for(self, switch: SwitchId) -> None:
        record: SwitchRecord | None = None
        try:
            record = await self._switching.wait(switch)
        except GpumodError as error:
            _log.warning("the end of switch %s is not known: %s", switch, error.detail)
        if switch in self._followed:
            self._over[switch] = record
            self._look_due.set()

    # --- what the brain says ---------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        for instruction in self._brain.take(event, self._clock.monotonic()):
            self._do(instruction)
        self._alarm.arm()

    def _do(self, instruction: Instruction) -> None:
        match instruction:
            case Pass(ticket=ticket, service=service):
                if settle := self._settle.pop(ticket, None):
                    settle(service)
            case Fail(ticket=ticket, verdict=verdict):
                if settle := self._settle.pop(ticket, None):
                    settle(self._timed(verdict))
            case Begin():
                self._spawn(self._begin(instruction), f"demand: {instruction.goal.phrase}")
            case Explain(goal=goal):
                self._spawn(self._explain(goal), f"demand: plan of {goal.phrase}")

    def _timed(self, verdict: Verdict) -> Verdict:
        """When to ask again, from how long the switch takes, where nothing better is known."""
        if verdict.after is not None or not verdict.passing:
            return verdict
        return replace(verdict, after=self.seconds(verdict.goal))

    async def _begin(self, wanted: Begin) -> None:
        result, record = await asking.begin(self._switching, wanted)
        self._tell(result)
        if record is not None and record.state.ended:
            self._tell(_ended(record))  # there was nothing to do
        elif record is not None:
            self._follow(record.id)
        self._look_due.set()

    async def _explain(self, goal: Goal) -> None:
        self._tell(await asking.explain(self._switching, goal, self.seconds(goal)))

    async def _idle(self, records: tuple[ServiceRecord, ...]) -> None:
        """Stop what is idle: in a task of its own, since planning takes time and nobody waits for it."""
        try:
            switch = await self._idling.look(records, self._brain.settled, self._held)
            if switch is not None:
                self._follow(switch)
                self._look_due.set()
        except Exception:  # noqa: BLE001 - what is idle can wait, and must not take the gateway down
            _log.exception("what is idle could not be looked at")
            self._idling.put_off(self._clock.monotonic())
        finally:
            self._stopping_idle = False
            self._look_due.set()
            self._alarm.arm()

    def _held(self) -> bool:
        """Whether a switch or somebody who waits forbids to stop anything."""
        return bool(self._followed) or self._brain.pending or bool(self._brain.waiting)

    # --- time --------------------------------------------------------------------------------------------

    def _wake(self) -> float | None:
        """When the next thing is due."""
        suspicion = min((until for _, until in self._suspects.values()), default=None)
        times = (self._brain.wake, self._idling.again, self._retry_at, suspicion)
        return min((one for one in times if one is not None), default=None)

    def _ring(self, now: float) -> None:
        """Something is due."""
        self._retry_at = None
        self._idling.expire(now)
        for service, (_, until) in tuple(self._suspects.items()):
            if until <= now:
                del self._suspects[service]
        self._look_due.set()
        self._tell(Tick())

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ended(record: SwitchRecord) -> Ended:
    failed = record.state is not SwitchState.COMMITTED
    reason = (record.reason or f"it ended {record.state}") if failed else ""
    request = record.request
    return Ended(record.id, reason, request.mode, request.start)


def _nothing() -> None:
    """There is nothing to end."""
