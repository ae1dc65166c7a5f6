"""After a start: find what still runs, adopt or remove it, and converge."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError, StopFailedError, StoreError, SwitchRunningError
from gpumod.core.events import EventKind
from gpumod.core.names import BLANK
from gpumod.core.plan import Refused, Target
from gpumod.core.ports import Liveness, Readiness
from gpumod.core.service import Desired
from gpumod.core.spec import OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import (
    DAEMON_NAMES,
    RECOVERY,
    SwitchRecord,
    SwitchRequest,
    SwitchState,
    is_automatic,
)
from gpumod.planner.target import desired_target, resolve_target
from gpumod.supervisor.retrying import Retrier

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


@dataclass(frozen=True, slots=True)
class _Try:
    """How an attempt to go somewhere ended: `why` it did not get there, and whether it was `begun` at all."""

    why: str = ""
    begun: bool = True


def _refused(refused: Refused) -> _Try:
    reasons = "; ".join(reason.detail for reason in refused.reasons)
    return _Try(f"mode {refused.target.mode} cannot be reached: {reasons or 'no reason given'}", begun=False)


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
        self._boot = "last"
        self._died_before: frozenset[RunKey] = frozenset()
        self._first = True
        self._why = ""
        self._retrier = Retrier(parts.clock, self._once_more)

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
        failed = (record for record in self._world.all() if record.state is ServiceState.FAILED)
        self._died_before = frozenset(record.key for record in failed)

    async def converge(self, boot: str, *, rebooted: bool) -> None:
        """Finish or take back an interrupted switch, else bring back the mode that should be.

        What cannot be reached now is tried again in the background, for as long as nobody switches.

        Args:
            boot: the setting: `last`, `blank` or a mode's id; it counts after a reboot of the machine.
            rebooted: whether the machine was restarted since the last daemon.
        """
        self._boot = boot if rebooted else "last"
        why = await self._go()
        await self._switcher.tie_loose_ends()
        self._first = False
        if why:
            self._events.publish(EventKind.DAEMON, "recovery", why)
            self._retrier.begin(why)

    def try_now(self) -> None:
        """Something has come back that may have been missing."""
        self._retrier.now()

    def yield_to(self, switch: SwitchRecord) -> None:
        """Somebody's own switch decides from now on what the box should be; a policy's does not."""
        by = switch.request.by
        if by not in DAEMON_NAMES and not is_automatic(by):
            self.give_up()

    def give_up(self) -> None:
        """Try no more to bring back what was there before the start."""
        self._retrier.give_up()

    @property
    def outlook(self) -> str:
        """When recovery tries again and why, in a sentence; empty when it does not."""
        return self._retrier.outlook

    async def close(self) -> None:
        """Try no more; what runs goes on running."""
        await self._retrier.close()

    async def _once_more(self) -> str:
        """Why the box is still not what it should be; empty when it is."""
        try:
            why = await self._go()
        except Exception:  # noqa: BLE001 - a defect must not end the trying
            _log.exception("defect in recovery")
            return "recovery failed; see the daemon's log"
        if not why:
            self._memory.trouble = ""
            self._note_success()
        return why

    def _note_success(self) -> None:
        """Say that it succeeded, unless a service has failed since, which is its restart policy's."""
        if not any(self._died_since(record.id) for record in self._world.all()):
            self._note(f"mode {self._memory.mode_id} was reached after more than one try")

    async def _go(self) -> str:
        """Go to where the box should be; answers why it did not get there."""
        try:
            self._why = (await self._go_on()).why
        except SwitchRunningError as error:
            # Nothing new is known of what stood in the way before.
            self._why = self._why or f"another switch came first: {error.detail}"
        except StoreError as error:
            self._why = self._memory.trouble = error.detail
        return self._why

    async def _go_on(self) -> _Try:
        if self._boot != "last":
            await self._let_boot_decide()
        elif self._interrupted is not None:
            return await self._finish(self._interrupted)
        return await self._try(self._as_desired(), _AS_DESIRED)

    async def _let_boot_decide(self) -> None:
        self._sweeps = True
        self._memory.desired = Desired(self._boot, since=self._parts.clock.now())
        await self._parts.store.save_desired(self._memory.desired)
        if self._interrupted is not None:
            await self._close(self._interrupted)
        self._boot = "last"

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

    async def _finish(self, interrupted: SwitchRecord) -> _Try:
        """Go on to the interrupted switch's end: its target, else where it came from, else blank."""
        await self._close(interrupted)
        self._sweeps = True
        forward = interrupted.state is SwitchState.RUNNING
        self._note(
            f"switch {interrupted.id} ({interrupted.request.phrase}) was interrupted and is "
            + ("finished" if forward else "taken back")
        )
        back = desired_target(self._memory.catalog, self._memory.desired)
        target = self._target_of(interrupted) if forward else back
        wish = interrupted.request if forward else _AS_DESIRED
        tried = [await self._try(target, wish)]
        if tried[-1].why and forward:
            self._note(tried[-1].why)
            tried.append(await self._try(back, _AS_DESIRED))
        if not tried[-1].why or not any(one.begun for one in tried):
            # Where nothing could even be begun, a driver or a disk is away: there is nothing to clear up.
            return tried[-1]
        self._note(tried[-1].why)
        blank = SwitchRequest(mode=BLANK, force=True)
        return await self._try(resolve_target(self._memory.catalog, self._memory.desired, blank), blank)

    def _as_desired(self) -> Target | Refused:
        """What the box should be, less what is the restart policy's, and what was adopted beside it.

        A start of the daemon stops nothing: a member that was taken out of its mode's file serves until
        somebody switches.
        """
        target = desired_target(self._memory.catalog, self._memory.desired)
        if isinstance(target, Refused):
            return target
        wanted = tuple(spec for spec in target.services if not self._died_since(spec.id))
        if self._sweeps:
            return replace(target, services=wanted)
        serving = [one for one in self._world.all() if one.key in self._adopted and one.state in _SERVING]
        members = {spec.id for spec in target.services}
        beside = tuple(one.spec for one in serving if one.id not in members)
        return replace(target, services=(*wanted, *beside), stay=tuple(record.id for record in serving))

    def _died_since(self, service: ServiceId) -> bool:
        """Whether a service was up or tried since the start, and failed: its restart policy sees to it."""
        record = self._world.get(service)
        failed = record is not None and record.state is ServiceState.FAILED
        return failed and record is not None and record.key not in self._died_before

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
        self._interrupted = None

    async def _try(self, target: Target | Refused, wish: SwitchRequest) -> _Try:
        """Go to a target that a wish led to.

        Raises:
            SwitchRunningError: somebody else has begun a switch meanwhile.
        """
        if isinstance(target, Refused):
            return _refused(target)
        desired = self._memory.desired
        # A lease that was granted since the start is respected: only what was under way goes past leases.
        force = self._sweeps and self._first
        running = self._as_they_run(wish)
        services = tuple(running.get(spec.id, spec) for spec in target.services)
        target = replace(target, services=services, force=force)
        request = SwitchRequest(mode=target.mode, force=force, on_failure=OnFailure.KEEP, by=RECOVERY)
        try:
            started = await self._switcher.begin_target(request, target, running.keys(), desired)
        except (SwitchRunningError, StoreError):
            raise
        except GpumodError as error:
            return _Try(f"mode {target.mode} cannot be reached: {error.detail}", begun=False)
        if isinstance(started, Refused):
            return _refused(started)
        ended = await self._switcher.wait(started.id, None) or started
        reached = ended.state is SwitchState.COMMITTED
        return _Try("" if reached else f"mode {target.mode} was not reached: {ended.reason}")

    def _note(self, note: str) -> None:
        """Remember for the status, and tell."""
        self._memory.notes.append(note)
        self._events.publish(EventKind.DAEMON, "recovery", note)
