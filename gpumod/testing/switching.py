"""A box in memory: the ports that the API, the CLI and the gateway talk to, without any process.

It follows the design's rules on switches (one at a time, joined when identical, refused with numbers,
undone on failure), with two cards of 24 GiB, a few presets and modes, and steps that take as long as told.
Misbehaviour can be switched on: calls that never answer, calls that fail, services that do not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

from gpumod.core.cards import Card, CardProcess, CardsReading, DriverState, HostMemory
from gpumod.core.errors import NotFoundError, SwitchRunningError
from gpumod.core.events import EventKind
from gpumod.core.names import BLANK, CardId, ModeId, ServiceId, SwitchId
from gpumod.core.plan import (
    Plan,
    Refused,
    Step,
    StepKind,
)
from gpumod.core.preflight import Preflight
from gpumod.core.service import ServiceRecord
from gpumod.core.spec import (
    Catalog,
    OnFailure,
    ServiceSpec,
)
from gpumod.core.states import ServiceState
from gpumod.core.switch import (
    BoxState,
    BoxStatus,
    Phase,
    StepRecord,
    StepState,
    SwitchRecord,
    SwitchRequest,
    SwitchState,
)
from gpumod.core.units import GIB
from gpumod.testing.switching_catalog import (
    CAPACITY,
    CARDS,
    HEADROOM,
    budgets,
    catalog,
    foreign_on,
    port_of,
    started,
)
from gpumod.testing.switching_parts import FakeEvents, FakeHistory, FakeLeases, Faults
from gpumod.testing.switching_plan import Present, plan
from gpumod.testing.switching_preflight import preflight


class FakeBox:
    """Implements the `Switching` and `Admission` ports; has the other fakes as members.

    Args:
        step_seconds: how long each step of a switch takes.
    """

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.step_seconds = step_seconds
        self.going = asyncio.Event()
        """While it is cleared, a running switch stands still before its next step."""
        self.going.set()
        self.faults = Faults()
        self.events = FakeEvents()
        self.history = FakeHistory(self.events, self.faults)
        self.leases = FakeLeases(lambda: {record.id for record in self.running()}, self.events, self.faults)
        self.begun = 0
        """How many switches were really begun."""
        self.driver = DriverState.OK
        self._catalog = catalog()
        self._mode = BLANK
        self._overridden = False
        self._services: dict[ServiceId, ServiceRecord] = {}
        self._generations: dict[ServiceId, int] = {}
        self._logs: dict[ServiceId, list[tuple[int, str]]] = {}
        self._log_grew = asyncio.Condition()
        self._switches: dict[SwitchId, SwitchRecord] = {}
        self._running: SwitchId | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended: dict[SwitchId, asyncio.Event] = {}
        self._cancelled: set[SwitchId] = set()
        self._requests: dict[ServiceId, int] = {}
        self._listeners: list[Callable[[], None]] = []

    # --- Switching ----------------------------------------------------------------------------

    async def status(self) -> BoxStatus:
        """What the box is like."""
        await self.faults.meet("status")
        return BoxStatus(
            state=self._state(),
            reason=self._reason(),
            mode=self._mode,
            at=time.time(),
            version="fake",
            reading=self._reading(),
            services=tuple(self._services.values()),
            budgets=budgets(self.running()),
            leases=self.leases.holding(),
            switch=self._switches[self._running] if self._running else None,
            notes=("this box is a fake: nothing runs",),
        )

    async def plan(self, request: SwitchRequest) -> Plan | Refused:
        """What a switch would do now."""
        await self.faults.meet("plan")
        return plan(request, self._present())

    async def preflight(
        self, preset_or_mode: str, *, fit_context: bool = False, oracle: bool = False
    ) -> Preflight:
        """Whether a preset or a mode would start now."""
        await self.faults.meet("preflight")
        request = SwitchRequest(start=ServiceId(preset_or_mode))
        if self._catalog.mode(ModeId(preset_or_mode)):
            request = SwitchRequest(mode=ModeId(preset_or_mode))
        return preflight(plan(request, self._present()), fit_context=fit_context, oracle=oracle)

    async def begin(self, request: SwitchRequest) -> SwitchRecord | Refused:
        """Start a switch; an identical running one is joined."""
        await self.faults.meet("begin")
        planned = plan(request, self._present())
        if self._running is not None:
            present = self._switches[self._running]
            if present.request.same_wish(request):
                return self._keep(replace(present, joined=present.joined + 1))
            if not (request.mode == BLANK and request.force):
                raise SwitchRunningError(f"{present.request.phrase} is under way", {"switch": present.id})
            await self.cancel(present.id, request.by)
            await self.wait(present.id)
            planned = plan(request, self._present())
        return planned if isinstance(planned, Refused) else self._begin(request, planned)

    async def wait(self, switch: SwitchId, timeout: float | None = None) -> SwitchRecord:
        """The record once the switch has ended, or as it is when the timeout passes."""
        self._known(switch)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended[switch].wait(), timeout)
        return self._switches[switch]

    async def cancel(self, switch: SwitchId, by: str = "") -> SwitchRecord:
        """Ask a running switch to stop and undo itself."""
        record = self._known(switch)
        if not record.state.ended and switch not in self._cancelled:
            self._cancelled.add(switch)
            self._keep(replace(record, reason=f"cancelled by {by or 'somebody'}"))
        return self._switches[switch]

    async def switch(self, switch: SwitchId) -> SwitchRecord:
        """One switch with its steps."""
        await self.faults.meet("switch")
        return self._known(switch)

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first."""
        await self.faults.meet("switches")
        return tuple(replace(one, steps=()) for one in reversed(self._switches.values()))[:limit]

    def catalog(self) -> Catalog:
        """The presets and modes in use."""
        return self._catalog

    async def reload(self) -> Catalog:
        """Read the files again: there are none."""
        await self.faults.meet("reload")
        self.events.publish(EventKind.CONFIG, "files", "read again")
        return self._catalog

    async def log(self, service: ServiceId, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a service's log."""
        await self.faults.meet("log")
        return tuple(line for _, line in deque(self._log_of(service), maxlen=lines))

    def follow_log(self, service: ServiceId, after: int | None = None) -> AsyncIterator[tuple[int, str]]:
        """(offset after the line, line) from an offset, then those to come."""
        kept = self._log_of(service)
        return self._follow_log(kept, (kept[-1][0] if kept else 0) if after is None else after)

    async def _follow_log(self, kept: list[tuple[int, str]], seen: int) -> AsyncIterator[tuple[int, str]]:
        while True:
            for offset, line in tuple(kept):
                if offset > seen:
                    seen = offset
                    yield offset, line
            async with self._log_grew:
                if not kept or kept[-1][0] <= seen:
                    await self._log_grew.wait()

    # --- Admission ----------------------------------------------------------------------------

    def admits(self, service: ServiceId) -> bool:
        """Whether new requests may be sent to it."""
        record = self._services.get(service)
        return record is not None and record.admitting

    def port(self, service: ServiceId) -> int | None:
        """Where it would listen."""
        record = self._services.get(service)
        return record.launch.port if record and record.launch and record.admitting else None

    def resolve(self, model: str) -> ServiceId | None:
        """The service that answers to an id, an alias or a route."""
        return next(iter(self.candidates(model)), None)

    def candidates(self, model: str) -> tuple[ServiceId, ...]:
        """The services that answer to a name."""
        mode = self._catalog.mode(self._mode)
        routed = dict(mode.routes).get(model) if mode else None
        here = self.running()
        found = [record.id for record in here if model in {record.id, record.spec.name}]
        found += [routed] if routed else []
        found += [record.id for record in here if model in record.spec.aliases]
        return tuple(dict.fromkeys(found))

    def generation(self, service: ServiceId) -> int | None:
        """Which attempt runs."""
        record = self._services.get(service)
        return record.generation if record and record.state.may_hold_memory else None

    def expected(self, service: ServiceId) -> bool:
        """Whether it starts."""
        record = self._services.get(service)
        return record is not None and record.state.is_starting

    def spec(self, service: ServiceId) -> ServiceSpec | None:
        """The service as it was asked for."""
        record = self._services.get(service)
        return record.spec if record else None

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Be told of every change."""
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change)

    def changed(self) -> None:
        """Tell everybody that answers may have changed."""
        for listener in tuple(self._listeners):
            listener()

    def entered(self, service: ServiceId) -> None:
        """A request was let in."""
        self._requests[service] = self._requests.get(service, 0) + 1

    def left(self, service: ServiceId) -> None:
        """A request has ended."""
        self._requests[service] -= 1

    def in_flight(self, service: ServiceId) -> int:
        """Requests that were let in and have not ended."""
        return self._requests.get(service, 0)

    def mode(self) -> ModeId:
        """The mode that is committed."""
        return self._mode

    # --- for tests ----------------------------------------------------------------------------

    def running(self) -> tuple[ServiceRecord, ...]:
        """Services that hold memory."""
        return tuple(record for record in self._services.values() if record.state.may_hold_memory)

    async def write_log(self, service: str, line: str) -> None:
        """Let a service say something."""
        kept = self._logs.setdefault(ServiceId(service), [])
        async with self._log_grew:
            kept.append(((kept[-1][0] if kept else 0) + len(line.encode(errors="replace")) + 1, line))
            self._log_grew.notify_all()

    async def close(self) -> None:
        """End a running switch where it stands."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- inside

    def _present(self) -> Present:
        return Present(self._catalog, self._mode, self.running(), self.leases.holding())

    def _begin(self, request: SwitchRequest, plan: Plan) -> SwitchRecord:
        id_ = SwitchId(f"S{len(self._switches) + 1}")
        now = time.time()
        record = SwitchRecord(
            id=id_,
            request=request,
            source=self._mode,
            target=plan.target.mode,
            state=SwitchState.RUNNING,
            started=now,
            steps=tuple(
                StepRecord(Phase.DO, step.index, step.kind, step.phrase, step.service, cards=step.cards)
                for step in plan.steps
            ),
        )
        self._ended[id_] = asyncio.Event()
        if plan.empty:
            self._ended[id_].set()
            return self._keep(
                replace(record, state=SwitchState.COMMITTED, ended=now, reason="the box already is there")
            )
        self.begun += 1
        self._keep(record)
        self._running = id_
        self._task = asyncio.create_task(self._run(id_, plan), name=f"fake switch {id_}")
        return record

    async def _run(self, id_: SwitchId, plan: Plan) -> None:
        self.events.publish(EventKind.SWITCH, id_, f"{self._switches[id_].request.phrase}: begun")
        former = dict(self._services)
        failure = ""
        for step in plan.steps:
            started = self._note(id_, step, StepState.RUNNING)
            await asyncio.sleep(self.step_seconds)
            await self.going.wait()
            failure = await self._act(step, former)
            if id_ in self._cancelled:
                failure = self._switches[id_].reason
            self._note(id_, step, StepState.FAILED if failure else StepState.DONE, started, failure)
            if failure:
                break
        self._end(id_, plan, former, failure)

    async def _act(self, step: Step, former: Mapping[ServiceId, ServiceRecord]) -> str:
        """Do a step; why it failed, or nothing."""
        service = step.service
        if service is None:
            return ""
        if step.kind is StepKind.START and step.order is not None:
            generation = self._generations[service] = self._generations.get(service, 0) + 1
            self._services[service] = started(step.order, generation, former.get(service))
            self.changed()
            await self.write_log(service, f"loading {step.order.spec.model}")
        elif step.kind is StepKind.READY and service in self.faults.will_not_start:
            await self.write_log(service, "error: failed to load model")
            self._become(
                service, ServiceState.FAILED, "exited with code 1 while loading: failed to load model"
            )
            return f"{service} exited with code 1 while loading"
        elif step.kind is StepKind.READY:
            await self.write_log(service, "server is listening")
            self._become(service, ServiceState.READY, "answers", ready_at=time.time())
        elif step.kind is StepKind.OPEN:
            self._become(service, ServiceState.READY, "answers", admitting=True)
        elif step.kind is StepKind.CLOSE:
            self._become(service, ServiceState.DRAINING, "leaves", admitting=False)
        elif step.kind is StepKind.STOP:
            await self.write_log(service, "exiting")
            self._become(service, ServiceState.STOPPED, "a plan stopped it")
        return ""

    def _end(self, id_: SwitchId, plan: Plan, former: dict[ServiceId, ServiceRecord], failure: str) -> None:
        record = self._switches[id_]
        if not failure:
            self._overridden = record.request.mode is None
            self._mode = plan.target.mode
            self.changed()
            state, left = SwitchState.COMMITTED, str(self._mode)
        elif plan.target.on_failure is OnFailure.RESTORE:
            broken = {key: one for key, one in self._services.items() if one.state is ServiceState.FAILED}
            self._services = broken | former
            state, left = SwitchState.ROLLED_BACK, f"{self._mode}, restored"
        else:
            self._services = {}
            self._mode = BLANK
            self.changed()
            state, left = SwitchState.FAILED, "blank"
        self._keep(replace(record, state=state, ended=time.time(), reason=failure, left=left))
        self._running = None
        self._ended[id_].set()
        self.events.publish(
            EventKind.SWITCH, id_, f"{record.request.phrase}: {state}", state=state, left=left
        )

    def _note(
        self, id_: SwitchId, step: Step, state: StepState, started: float | None = None, detail: str = ""
    ) -> float:
        record = self._switches[id_]
        now = time.time()
        noted = replace(
            record.steps[step.index],
            state=state,
            started=started or now,
            ended=now if started else None,
            detail=detail,
        )
        steps = (*record.steps[: step.index], noted, *record.steps[step.index + 1 :])
        self._keep(replace(record, steps=steps))
        self.events.publish(EventKind.STEP, id_, f"{noted.phrase}: {state}", index=step.index, state=state)
        return now

    def _become(
        self,
        service: ServiceId,
        state: ServiceState,
        reason: str,
        *,
        admitting: bool = False,
        ready_at: float | None = None,
    ) -> None:
        record = self._services[service]
        self._services[service] = replace(
            record,
            state=state,
            reason=reason,
            since=time.time(),
            admitting=admitting,
            ready_at=ready_at or record.ready_at,
            launch=record.launch if state.may_hold_memory else None,
        )
        self.events.publish(EventKind.SERVICE, service, f"{service} is {state}: {reason}", state=state)
        self.changed()

    def _keep(self, record: SwitchRecord) -> SwitchRecord:
        self._switches[record.id] = record
        return record

    def _known(self, switch: SwitchId) -> SwitchRecord:
        if switch not in self._switches:
            raise NotFoundError(f"no switch {switch}", {"switch": switch})
        return self._switches[switch]

    def _log_of(self, service: ServiceId) -> list[tuple[int, str]]:
        if service not in self._logs:
            raise NotFoundError(f"no service {service} has run here", {"service": service})
        return self._logs[service]

    def _state(self) -> BoxState:
        if self._running:
            return BoxState.SWITCHING
        return BoxState.MODIFIED if self._overridden else BoxState.SETTLED

    def _reason(self) -> str:
        if self._running:
            return f"{self._switches[self._running].request.phrase} is under way"
        return "services were started or stopped by hand" if self._overridden else f"{self._mode} is in place"

    def _reading(self) -> CardsReading:
        cards = tuple(self._card(index, card) for index, card in enumerate(CARDS))
        host = HostMemory(total=64 * GIB, available=40 * GIB, headroom=2 * GIB)
        reason = "" if self.driver is DriverState.OK else "the driver does not answer"
        return CardsReading(time.time(), self.driver, cards, host, reason, driver_version="580.00")

    def _card(self, index: int, card: CardId) -> Card:
        ours = tuple(
            CardProcess(
                4000 + port_of(record.id) % 1000,
                record.reserved(card),
                "llama-server",
                "gpumod",
                service=record.id,
            )
            for record in self.running()
            if record.reserved(card)
        )
        processes = (*ours, *foreign_on(card))
        used = sum(process.used or 0 for process in processes)
        return Card(
            id=card,
            index=index,
            name="NVIDIA GeForce RTX 4090",
            total=CAPACITY,
            free=CAPACITY - used,
            headroom=HEADROOM,
            compute_capability=(8, 9),
            processes=processes,
            utilization=0,
            temperature=38,
            power_watts=21.5,
            power_limit_watts=450.0,
        )
