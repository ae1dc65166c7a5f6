"""After a start: find what still runs, adopt or remove it, and converge."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError, StopFailedError, StoreError, SwitchRunningError
from gpumod.core.events import EventKind
from gpumod.core.names import BLANK
from gpumod.core.plan import Refused, Target
from gpumod.core.ports import Liveness, Readiness
from gpumod.core.service import Desired
from gpumod.core.spec import OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import DAEMON_NAMES, RECOVERY, SwitchRecord, SwitchRequest, SwitchState
from gpumod.planner.target import desired_target, resolve_target

if TYPE_CHECKING:
    from gpumod.core.names import ServiceId
    from gpumod.core.ports import Events, RunFound, Runner
    from gpumod.core.service import RunKey, ServiceRecord
    from gpumod.core.spec import ServiceSpec
    from gpumod.supervisor.memory import BoxMemory
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.quiesce import Quiescer
    from gpumod.supervisor.switcher import Switcher
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_AS_DESIRED = SwitchRequest(by=RECOVERY)
_SERVING = frozenset({ServiceState.READY, ServiceState.DRAINING})


class Recovery:
    """Replays the journal and makes the box what it should be again (invariant 5)."""

    def __init__(
        self,
        parts: Parts,
        world: World,
        memory: BoxMemory,
        quiescer: Quiescer,
        switcher: Switcher,
        events: Events,
    ) -> None:
        self._parts = parts
        self._world = world
        self._memory = memory
        self._quiescer = quiescer
        self._switcher = switcher
        self._events = events
        self._interrupted: SwitchRecord | None = None
        self._adopted: set[RunKey] = set()
        self._sweeps = False
        """Whether what is not asked for is stopped: where a switch was interrupted, or `boot:` decides."""

    async def take_over(self) -> None:
        """Load what the store has, adopt what still runs and is ours, remove what is not."""
        self._interrupted = await self._parts.store.open_switch()
        self._world.load(await self._parts.store.services())
        found = {
            (runner, one.key): one for runner in self._parts.runners.values() for one in await runner.runs()
        }
        for record in self._world.all():
            run = found.pop((self._world.runner(record), record.key), None) if record.runner else None
            await self._settle(record, run)
        for (runner, _), stray in found.items():
            await self._remove_stray(runner, stray)

    async def converge(self, boot: str, *, rebooted: bool) -> None:
        """Finish or take back an interrupted switch, else bring back the mode that should be.

        Args:
            boot: the setting: `last`, `blank` or a mode's id; it counts after a reboot of the machine.
            rebooted: whether the machine was restarted since the last daemon.
        """
        try:
            await self._go_on(boot if rebooted else "last")
        except SwitchRunningError as error:
            self._note(f"the box is left to who was faster: {error.detail}")
        await self._switcher.tie_loose_ends()

    async def _go_on(self, boot: str) -> None:
        interrupted, self._interrupted = self._interrupted, None
        self._sweeps = boot != "last" or interrupted is not None
        if boot != "last":
            self._memory.desired = Desired(boot, since=self._parts.clock.now())
            await self._parts.store.save_desired(self._memory.desired)
            if interrupted is not None:
                await self._close(interrupted)
        elif interrupted is not None:
            await self._finish(interrupted)
            return
        await self._try(self._as_desired(), _AS_DESIRED)

    # --- what still runs ---------------------------------------------------------------------

    async def _settle(self, record: ServiceRecord, run: RunFound | None) -> None:
        if record.runner and record.runner not in self._parts.runners:
            self._note(
                f"{record.id} was started by runner {record.runner}, which is not available now: "
                "what may be left of it can neither be seen nor ended"
            )
        if run is None or run.liveness is not Liveness.RUNNING:
            await self._bury(record, run)
            return
        problem = await self._unfit(record)
        if problem:
            self._note(f"{record.id} (generation {record.generation}) is removed: {problem}")
            await self._remove(record)
            return
        if record.state is ServiceState.STARTING:
            await self._world.change(record.key, ServiceState.LOADING, "adopted while it loads")
        elif record.state is ServiceState.READY:
            await self._world.note(record.key, admitting=True)
        self._adopted.add(record.key)
        self._note(f"{record.id} (generation {record.generation}, {record.state}) still runs and is adopted")

    async def _unfit(self, record: ServiceRecord) -> str:
        """Why a running attempt cannot be adopted; empty when it can."""
        if record.state in {ServiceState.STOPPED, ServiceState.FAILED} or record.launch is None:
            return f"it is recorded as {record.state}"
        if record.state is not ServiceState.READY:
            return ""
        engine = self._parts.engine(record.spec.engine)
        pids = [process.pid for process in await self._world.runner(record).processes(record.key)]
        owned = await engine.owns_listener(record.spec, record.launch, pids)
        if owned is None:
            owned = await self._parts.host.listens(record.launch.port, pids)
        if owned is False:
            return f"it does not listen on its port {record.launch.port}"
        answer = await engine.probe(record.spec, record.launch)
        return answer.detail if answer.readiness is Readiness.WRONG_MODEL else ""

    async def _bury(self, record: ServiceRecord, run: RunFound | None) -> None:
        """An attempt has ended while no daemon watched; survivors of its tree are removed."""
        if record.state.may_hold_memory and record.state is not ServiceState.STOPPING:
            how = run.exit.phrase if run is not None and run.exit is not None else "ended unseen"
            reason = f"{how} while the daemon was away"
            await self._world.change(record.key, ServiceState.FAILED, reason, admitting=False, observed=())
            self._note(f"{record.id}: {reason}")
        if not await self._clear(record):
            return
        if record.state is ServiceState.STOPPING:
            await self._world.change(record.key, ServiceState.STOPPED, "stopped while the daemon was away")

    async def _remove(self, record: ServiceRecord) -> None:
        if record.state.may_hold_memory:
            await self._world.change(record.key, ServiceState.STOPPING, "cannot be adopted", admitting=False)
        if await self._clear(record) and record.state.may_hold_memory:
            await self._world.change(
                record.key, ServiceState.STOPPED, "removed at the daemon's start", observed=()
            )

    async def _clear(self, record: ServiceRecord) -> bool:
        """End and forget what is left of an attempt; whether nothing is."""
        if not record.runner:
            return True
        try:
            await self._quiescer.remove(record)
        except StopFailedError as error:
            self._note(error.detail)
            return False
        await self._world.runner(record).forget(record.key)
        return True

    async def _remove_stray(self, runner: Runner, stray: RunFound) -> None:
        """An attempt that no record knows, or of an older generation than the record's."""
        if stray.liveness is Liveness.RUNNING:
            self._note(
                f"{stray.key.service} (generation {stray.key.generation}) is not ours any more: killed"
            )
        await runner.kill(stray.key)
        left = await runner.processes(stray.key)
        if left:
            self._world.cannot_kill(stray.key, [process.pid for process in left])
            return
        await runner.forget(stray.key)

    # --- where to go -------------------------------------------------------------------------

    async def _finish(self, interrupted: SwitchRecord) -> None:
        """Go on to the interrupted switch's end: its target, else where it came from, else blank."""
        forward = interrupted.state is SwitchState.RUNNING
        self._note(
            f"switch {interrupted.id} ({interrupted.request.phrase}) was interrupted and is "
            + ("finished" if forward else "taken back")
        )
        back = desired_target(self._memory.catalog, self._memory.desired)
        target = self._target_of(interrupted) if forward else back
        wish = interrupted.request if forward else _AS_DESIRED
        await self._close(interrupted)
        if await self._try(target, wish) or (forward and await self._try(back, _AS_DESIRED)):
            return
        blank = SwitchRequest(mode=BLANK, force=True)
        await self._try(resolve_target(self._memory.catalog, self._memory.desired, blank), blank)

    def _as_desired(self) -> Target | Refused:
        """What the box should be, and what was adopted beside it: a start of the daemon stops nothing.

        A member that was taken out of its mode's file serves until somebody switches.
        """
        target = desired_target(self._memory.catalog, self._memory.desired)
        if self._sweeps or isinstance(target, Refused):
            return target
        serving = [one for one in self._world.all() if one.key in self._adopted and one.state in _SERVING]
        wanted = {spec.id for spec in target.services}
        beside = tuple(one.spec for one in serving if one.id not in wanted)
        return replace(
            target, services=(*target.services, *beside), stay=tuple(record.id for record in serving)
        )

    def _as_they_run(self, wish: SwitchRequest) -> dict[ServiceId, ServiceSpec]:
        """What runs and stays as it runs: a restart of the daemon, an upgrade too, touches no engine.

        Only a mode that somebody asked for, and a service that is to be changed, are as the files say.
        """
        whole = wish.mode is not None or wish.exactly is not None
        if whole and wish.by not in DAEMON_NAMES:
            return {}
        return {
            record.id: record.spec
            for record in self._world.all()
            if record.state.may_hold_memory and record.id not in {wish.start, wish.restart}
        }

    def _target_of(self, interrupted: SwitchRecord) -> Target | Refused:
        request = interrupted.request
        if request.by in DAEMON_NAMES:
            return desired_target(self._memory.catalog, self._memory.desired)
        try:
            return resolve_target(self._memory.catalog, self._memory.desired, replace(request, force=True))
        except GpumodError as error:
            self._note(f"{request.phrase} cannot be finished: {error.detail}")
            return Refused(Target(interrupted.target, ()))

    async def _close(self, interrupted: SwitchRecord) -> None:
        ended = replace(
            interrupted,
            state=SwitchState.FAILED,
            ended=self._parts.clock.now(),
            reason="the daemon was interrupted in this switch",
            left="recovery went on from here",
        )
        await self._parts.store.update_switch(ended)

    async def _try(self, target: Target | Refused, wish: SwitchRequest) -> bool:
        """Go to a target that a wish led to; whether it was reached.

        Raises:
            SwitchRunningError: somebody else has begun a switch meanwhile.
        """
        if isinstance(target, Target):
            request = SwitchRequest(
                mode=target.mode, force=self._sweeps, on_failure=OnFailure.KEEP, by=RECOVERY
            )
            running = self._as_they_run(wish)
            services = tuple(running.get(spec.id, spec) for spec in target.services)
            target = replace(target, services=services, force=self._sweeps)
            try:
                started = await self._switcher.begin_target(request, target, running.keys())
            except (SwitchRunningError, StoreError):
                raise
            except GpumodError as error:
                self._note(f"mode {target.mode} cannot be reached: {error.detail}")
                return False
            if isinstance(started, SwitchRecord):
                ended = await self._switcher.wait(started.id, None) or started
                if ended.state is not SwitchState.COMMITTED:
                    self._note(f"mode {target.mode} was not reached: {ended.reason}")
                return ended.state is SwitchState.COMMITTED
            target = started
        self._note(
            "; ".join(
                [f"mode {target.target.mode} cannot be reached", *(one.detail for one in target.reasons)]
            )
        )
        return False

    def _note(self, note: str) -> None:
        """Remember for the status, and tell."""
        self._memory.notes.append(note)
        self._events.publish(EventKind.DAEMON, "recovery", note)
