"""The supervisor as the other rooms see it: one object behind the `Switching` port."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError, NotFoundError
from gpumod.core.events import EventKind
from gpumod.core.names import ModeId, PresetId, ServiceId, SwitchId
from gpumod.core.near import hint
from gpumod.core.preflight import Preflight
from gpumod.core.switch import DAEMON_NAMES, RECOVERY, BoxStatus, SwitchRecord, SwitchRequest, SwitchState
from gpumod.planner.budget import budgets, overcommitted
from gpumod.planner.status import box_state
from gpumod.runners.log import follow, tail
from gpumod.supervisor.admission import Gate
from gpumod.supervisor.barrier import Barrier
from gpumod.supervisor.events import EventBus
from gpumod.supervisor.facts import FactFinder
from gpumod.supervisor.hands import Hands
from gpumod.supervisor.launcher import Launcher
from gpumod.supervisor.leases import LeaseBook
from gpumod.supervisor.memory import BoxMemory
from gpumod.supervisor.ports import PortBook
from gpumod.supervisor.preflight import PreflightReport
from gpumod.supervisor.quiesce import Quiescer
from gpumod.supervisor.recovery import Recovery
from gpumod.supervisor.restarts import Restarter
from gpumod.supervisor.switcher import Switcher, unknown_switch
from gpumod.supervisor.watch import Watch
from gpumod.supervisor.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gpumod.core.cards import CardsReading
    from gpumod.core.plan import Plan, Refused
    from gpumod.core.spec import Catalog
    from gpumod.supervisor.parts import Parts

_log = logging.getLogger(__name__)


class Supervisor:
    """Implements the `Switching` port; offers `events`, `leases` and `gate` for the others."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._memory = BoxMemory()
        self.events = EventBus(parts.store, parts.clock)
        self._world = World(parts.store, parts.clock, self.events, dict(parts.runners))
        self.gate = Gate(self._world, lambda: self._memory.mode)
        self._world.on_change = self._memory.on_change = self.gate.changed
        self.leases = LeaseBook(
            parts.store,
            parts.clock,
            self.events,
            self._world,
            parts.new_id,
            lambda: self._switcher.leaving,
        )
        self._ports = PortBook(parts.store, *parts.port_range)
        finder = FactFinder(parts, self._world, self._ports)
        self._quiescer = Quiescer(parts, self._world, self.gate)
        launcher = Launcher(parts, self._world, finder, self._ports)
        hands = Hands(self._quiescer, Barrier(parts, finder), launcher, finder, self._world)
        self._switcher = Switcher(
            parts, hands, self._memory, self.leases, self.events, self._look, self._switch_ended
        )
        self._reports = PreflightReport(parts)
        self._restarter = Restarter(parts, self._world, self._memory, self._switcher)
        self._recovery = Recovery(
            parts, self._world, self._memory, self._quiescer, self._switcher, self.events
        )
        self._watch = Watch(
            parts,
            self._world,
            self._memory,
            finder,
            launcher,
            self._quiescer,
            self.leases,
            self.events,
            self._restarter.died,
            self._recovery.try_now,
        )
        self._converging: asyncio.Task[None] | None = None

    # --- life --------------------------------------------------------------------------------

    async def start(self, *, boot: str = "last", rebooted: bool = False) -> None:
        """Take over what runs, begin to watch, and converge in the background.

        Raises:
            StoreError: the store cannot be read; nothing was touched.
        """
        self._memory.catalog = await asyncio.to_thread(self._parts.load_catalog)
        self._memory.desired = await self._parts.store.desired() or self._memory.desired
        for measurement in await self._parts.store.measurements():
            self._parts.footprints.learn(measurement)
        await self._ports.load()
        self.events.start()
        await self._recovery.take_over()
        await self.leases.load()
        await self._watch.refresh()
        self._watch.start()
        self._converging = asyncio.create_task(self._converge(boot, rebooted=rebooted), name="recovery")

    async def settled(self) -> None:
        """Wait until recovery has done what it can at once; what it tries again later is not waited for."""
        if self._converging is not None:
            await asyncio.wait({self._converging})

    @property
    def recovering(self) -> bool:
        """Whether recovery is still at what it can do at once."""
        return self._converging is not None and not self._converging.done()

    @property
    def refusals(self) -> Mapping[str, int]:
        """How often switches were refused for which reason, since the daemon began."""
        return {code.value: count for code, count in self._switcher.refusals.items()}

    @property
    def trouble(self) -> str:
        """Why the box's state is not known; empty when it is."""
        return self._memory.trouble or self._world.stuck

    @property
    def store_trouble(self) -> str:
        """Why the store does not keep what happens; empty when it does."""
        return self.events.trouble

    @property
    def reading(self) -> CardsReading:
        """The last look at the cards."""
        return self._memory.facts.reading

    async def close(self) -> None:
        """Stop supervising; engines are left running, a running switch is left to the next daemon."""
        await self._restarter.close()
        if self._converging is not None:
            self._converging.cancel()
            await asyncio.gather(self._converging, return_exceptions=True)
        await self._recovery.close()
        await self._switcher.close()
        await self._watch.close()
        await self.events.close()

    async def _converge(self, boot: str, *, rebooted: bool) -> None:
        try:
            await self._recovery.converge(boot, rebooted=rebooted)
            self._restarter.see_to_failed()
        except Exception:  # noqa: BLE001 - the daemon must go on to answer, and says so
            _log.exception("defect in recovery")
            self._memory.trouble = "recovery failed; see the daemon's log"

    # --- Switching ---------------------------------------------------------------------------

    async def status(self) -> BoxStatus:
        """What the box is like, from memory."""
        self._watch.looked()
        memory, records = self._memory, self._world.all()
        switch = self._switcher.current
        facts = replace(
            memory.facts,
            services=tuple(
                one.with_record(self._world.get(one.record.id) or one.record) for one in memory.facts.services
            ),
        )
        state, reason = box_state(memory.desired, memory.catalog, records, switch, facts, self.trouble)
        return BoxStatus(
            state=state,
            reason=reason,
            mode=memory.mode_id,
            at=self._parts.clock.now(),
            version=self._parts.version,
            reading=facts.reading,
            services=records,
            budgets=budgets(facts),
            leases=self.leases.held(),
            switch=switch,
            overcommitted=overcommitted(facts),
            notes=self._notes(),
        )

    async def plan(self, request: SwitchRequest) -> Plan | Refused:
        """What a switch would do now."""
        return await self._switcher.plan(request)

    async def preflight(
        self, preset_or_mode: str, *, fit_context: bool = False, oracle: bool = False
    ) -> Preflight:
        """Whether a mode, or a preset on top of what runs, would start now, and what it would take."""
        outcome, facts = await self._switcher.study(self._preflight_request(preset_or_mode))
        if facts is None:
            return Preflight(outcome)
        return await self._reports.of(outcome, facts, fit_context=fit_context, oracle=oracle)

    def _preflight_request(self, preset_or_mode: str) -> SwitchRequest:
        if preset_or_mode == "blank" or self._memory.catalog.mode(ModeId(preset_or_mode)):
            return SwitchRequest(mode=ModeId(preset_or_mode))
        if self._memory.catalog.preset(PresetId(preset_or_mode)) is None and not self._is_disabled(
            preset_or_mode
        ):
            catalog = self._memory.catalog
            known = {*(one.id for one in catalog.modes), *(one.preset for one in catalog.presets)}
            raise NotFoundError(
                f"{preset_or_mode} is neither a mode nor a preset; {hint(preset_or_mode, known)}",
                {"name": preset_or_mode},
            )
        return SwitchRequest(start=ServiceId(preset_or_mode))

    async def begin(self, request: SwitchRequest) -> SwitchRecord | Refused:
        """Start a switch and return at once."""
        return await self._switcher.begin(request)

    async def wait(self, switch: SwitchId, timeout: float | None = None) -> SwitchRecord:
        """The record once the switch has ended, or as it is when the timeout passes."""
        return await self._switcher.wait(switch, timeout) or await self.switch(switch)

    async def cancel(self, switch: SwitchId, by: str = "") -> SwitchRecord:
        """Ask a running switch to stop and undo itself; an ended one is returned as it ended."""
        cancelled = await self._switcher.cancel(switch, by)
        if cancelled is not None and cancelled.request.by == RECOVERY:
            self._recovery.give_up()
        return cancelled or await self.switch(switch)

    async def switch(self, switch: SwitchId) -> SwitchRecord:
        """One switch with its steps."""
        current = self._switcher.current
        known = current if current and current.id == switch else self._switcher.idle(switch)
        found = known or await self._parts.store.switch(switch)
        if found is None:
            raise unknown_switch(switch)
        return found

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first."""
        return await self._parts.store.switches(limit)

    def catalog(self) -> Catalog:
        """The presets and modes in use."""
        return self._memory.catalog

    async def reload(self) -> Catalog:
        """Read the files again; running services are not touched, what is down is tried again."""
        self._memory.catalog = await asyncio.to_thread(self._parts.load_catalog)
        problems = len(self._memory.catalog.problems)
        self.events.publish(
            EventKind.CONFIG, "catalog", f"files read again: {problems} problems", problems=problems
        )
        self._recovery.try_now()
        self._restarter.see_to_failed()
        return self._memory.catalog

    async def log(self, service: ServiceId, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a service's log."""
        return tuple(await asyncio.to_thread(tail, self._log_path(service), lines))

    def follow_log(self, service: ServiceId, after: int | None = None) -> AsyncIterator[tuple[int, str]]:
        """(offset after the line, line), then those to come."""
        return follow(self._log_path(service), after)

    # --- inside ------------------------------------------------------------------------------

    def _log_path(self, service: ServiceId) -> str:
        known = self._world.get(service) is not None or service in self._ports.known
        if not known:
            raise NotFoundError(f"no service {service} has run here", {"service": service})
        return self._parts.log_path(service)

    def _is_disabled(self, name: str) -> bool:
        return name in dict(self._memory.catalog.disabled)

    def _notes(self) -> tuple[str, ...]:
        """What people should know besides the state: each once, and no list of consequences."""
        notes = [*self._memory.notes, *self._memory.card_errors.values()]
        if self._recovery.outlook:
            notes.append(self._recovery.outlook)
        if self.store_trouble:
            notes.append(self.store_trouble)
        disabled = sorted({name for name, _ in self._memory.catalog.disabled})
        if disabled:
            notes.append(f"disabled: {', '.join(disabled)}; `gpumodctl config check` says why")
        return tuple(notes)

    def _switch_ended(self, record: SwitchRecord) -> None:
        if record.state is SwitchState.COMMITTED and record.request.by not in DAEMON_NAMES:
            # What was found at the start is old news once somebody has moved the box on.
            self._memory.notes.clear()
        self._recovery.yield_to(record)
        self._restarter.switched(record)

    async def _look(self) -> None:
        try:
            await self._watch.refresh()
        except GpumodError as error:
            _log.error("the look after a switch: %s", error.detail)
        except Exception:  # noqa: BLE001 - a bad look must not keep a switch from ending
            _log.exception("defect in the watcher")
