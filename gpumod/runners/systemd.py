"""The runner that makes each attempt a transient unit of systemd.

Processes are read from the unit's cgroup and, should the bus be away, killed there as well: what
systemd knows is never the only way to what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.errors import StartFailedError
from gpumod.core.ports import Liveness, RunFound
from gpumod.core.service import ExitReport
from gpumod.runners.bus import ManagerBus, ManagerError, bus_address
from gpumod.runners.cgroup import cgroup_processes, mounted
from gpumod.runners.procfs import kill_all
from gpumod.runners.program import (
    DEFAULT_CWD,
    check_text,
    find_program,
    make_log_folder,
    refusal,
    user_numbers,
)
from gpumod.runners.tree import identify
from gpumod.runners.units import (
    SLICE,
    START_SECONDS,
    UnitState,
    unit_key,
    unit_name,
    unit_path,
    unit_pattern,
    unit_properties,
)
from gpumod.runners.watch import send

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.ports import RunRequest
    from gpumod.core.service import ProcessIdentity, RunKey

_EXISTS = "org.freedesktop.systemd1.UnitExists"
_KILL_SLICE = 0.1
_SETTLE_SECONDS = 2.0
_PAUSE = 0.002


class SystemdRunner:
    """Runs attempts as units of the `system` manager or of this user's own (`user`).

    Args:
        manager: whose units.
        instance: tells the units of several daemons on one machine apart.
        daemon_unit: the unit that this daemon itself runs in; empty when there is none.
        bounds: how long to wait for what.
    """

    name = "systemd"

    def __init__(
        self, manager: str, instance: str, *, daemon_unit: str = "", bounds: Bounds = DEFAULT_BOUNDS
    ) -> None:
        self._system = manager == "system"
        self._instance = instance
        self._daemon_unit = daemon_unit
        self._bounds = bounds
        self._bus = ManagerBus(bus_address(manager), self._changed, self._missed_changes)
        self._root: str | None = None
        self._watched: dict[str, RunKey] = {}
        self._announced: set[RunKey] = set()
        self._starting: set[RunKey] = set()
        self._listeners: list[Callable[[ExitReport], None]] = []
        self._looking: dict[RunKey, asyncio.Task[None]] = {}
        self._look_again: set[RunKey] = set()

    async def start(self, request: RunRequest) -> RunFound:
        """See `Runner`."""
        key = request.key
        check_text(request)
        make_log_folder(request)
        user_numbers(request.user)
        program = find_program(request)
        name = unit_name(self._instance, key)
        properties = unit_properties(request, program, system=self._system, daemon_unit=self._daemon_unit)
        self._starting.add(key)
        try:
            await self._watch(key)
            signature = "ssa(sv)a(sa(sv))"
            result = await self._bus.run_job(
                "StartTransientUnit", signature, name, "fail", properties, [], seconds=START_SECONDS + 5
            )
            state = await self._state(key)
        except ManagerError as error:
            if error.name == _EXISTS:
                raise StartFailedError(
                    f"generation {key.generation} of {key.service} was started before"
                ) from None
            if not error.name:  # no answer, so it may have been started
                with contextlib.suppress(ManagerError):
                    await self.kill(key)
            raise StartFailedError(f"{key.service} could not be started: {error.detail}") from error
        finally:
            self._starting.discard(key)
        if result != "done" and not state.executed:
            self._announced.add(key)  # it never ran: its end is no news
            await self.kill(key)
            await self.forget(key)
            raise _refusal(request, program, state)
        self._changed(unit_path(name))
        return self._found(key, state)

    async def find(self, key: RunKey) -> RunFound:
        """See `Runner`.

        Raises:
            ManagerError: systemd does not answer.
        """
        state = await self._state(key)
        if (
            state.liveness is Liveness.RUNNING
            and unit_path(unit_name(self._instance, key)) not in self._watched
        ):
            await self._watch(key)
            state = await self._state(key)
            self._changed(unit_path(unit_name(self._instance, key)))
        return self._found(key, state)

    async def runs(self) -> tuple[RunFound, ...]:
        """See `Runner`.

        Raises:
            ManagerError: systemd does not answer.
        """
        (units,) = await self._bus.call("ListUnitsByPatterns", "asas", [], [unit_pattern(self._instance)])
        keys = sorted(key for unit in units if (key := unit_key(self._instance, unit[0])) is not None)
        found = [await self.find(key) for key in keys]
        return tuple(one for one in found if one.liveness is not Liveness.ABSENT)

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """See `Runner`.

        Raises:
            ManagerError: systemd did not answer once since this object was made.
        """
        return await asyncio.to_thread(cgroup_processes, await self._cgroup(key))

    async def signal(self, key: RunKey, number: int) -> None:
        """See `Runner`."""
        with contextlib.suppress(ManagerError):
            state = await self._state(key)
            leader = identify(state.leader) if state.leader else None
            if leader is not None:
                send(leader, number)

    async def kill(self, key: RunKey) -> None:
        """See `Runner`. Works without the bus too.

        Raises:
            ManagerError: systemd did not answer once since this object was made.
        """
        cgroup = await self._cgroup(key)
        deadline = asyncio.get_running_loop().time() + self._bounds.after_kill
        with contextlib.suppress(ManagerError):
            await self._bus.call(
                "KillUnit", "ssi", unit_name(self._instance, key), "all", int(signal.SIGKILL)
            )
        # What was forked meanwhile, and everything where systemd does not answer.
        while not await asyncio.to_thread(kill_all, lambda: _living(cgroup), _KILL_SLICE):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_KILL_SLICE)
        with contextlib.suppress(ManagerError):
            await self._until(key, lambda state: state.liveness is not Liveness.RUNNING)

    async def forget(self, key: RunKey) -> None:
        """See `Runner`. An attempt that still has processes is not forgotten."""
        if await self.processes(key):
            return
        name = unit_name(self._instance, key)
        with contextlib.suppress(ManagerError):
            state = await self._until(key, lambda state: state.liveness is not Liveness.RUNNING)
            await self._announce(key, state)
            await self._bus.unwatch(unit_path(name))
            if state.remains:
                await self._bus.run_job("StopUnit", "ss", name, "replace", seconds=self._bounds.after_kill)
            with contextlib.suppress(ManagerError):
                await self._bus.call("ResetFailedUnit", "s", name)
            await self._until(key, lambda state: state.liveness is Liveness.ABSENT)
        self._watched.pop(unit_path(name), None)
        self._announced.discard(key)

    def subscribe(self, on_exit: Callable[[ExitReport], None]) -> Callable[[], None]:
        """See `Runner`. Told of are attempts that this object started or found running."""
        self._listeners.append(on_exit)

        def stop() -> None:
            if on_exit in self._listeners:
                self._listeners.remove(on_exit)

        return stop

    async def close(self) -> None:
        """See `Runner`."""
        self._listeners.clear()
        self._watched.clear()
        if self._looking:
            for task in self._looking.values():
                task.cancel()
            await asyncio.wait(self._looking.values())
        await self._bus.close()

    # --- inside ------------------------------------------------------------------------------

    async def _state(self, key: RunKey) -> UnitState:
        await self._cgroup(key)  # known from the first contact on, and needed when there is none
        return UnitState(key, await self._bus.properties(unit_path(unit_name(self._instance, key))))

    async def _cgroup(self, key: RunKey) -> str:
        """Where the unit's processes are; the same place whether systemd knows the unit or not."""
        if self._root is None:
            manager = str(await self._bus.manager_property("ControlGroup"))
            self._root = mounted() + manager.rstrip("/")
        return f"{self._root}/{SLICE}/{unit_name(self._instance, key)}"

    @staticmethod
    def _found(key: RunKey, state: UnitState) -> RunFound:
        leader = identify(state.leader) if state.leader else None
        report = state.exit
        if state.liveness is Liveness.EXITED and report is None:
            report = ExitReport(key, None, None, 0.0)
        return RunFound(key, state.liveness, leader, report)

    async def _until(self, key: RunKey, condition: Callable[[UnitState], bool]) -> UnitState:
        """The unit's state once it is so, or as it is after a while."""
        deadline = asyncio.get_running_loop().time() + _SETTLE_SECONDS
        while not condition(state := await self._state(key)):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_PAUSE)
        return state

    # --- news --------------------------------------------------------------------------------

    async def _watch(self, key: RunKey) -> None:
        path = unit_path(unit_name(self._instance, key))
        self._watched[path] = key
        await self._bus.watch(path)

    def _changed(self, path: str) -> None:
        """Look at a unit soon; while a look is under way, once more after it."""
        key = self._watched.get(path)
        if key is None:
            return
        if key in self._looking:
            self._look_again.add(key)
            return
        task = asyncio.create_task(self._look(key), name=f"look at {key}")
        self._looking[key] = task
        task.add_done_callback(lambda _: self._looked(key))

    def _looked(self, key: RunKey) -> None:
        del self._looking[key]
        if key in self._look_again:
            self._look_again.discard(key)
            self._changed(unit_path(unit_name(self._instance, key)))

    def _missed_changes(self) -> None:
        for path in tuple(self._watched):
            self._changed(path)

    async def _look(self, key: RunKey) -> None:
        with contextlib.suppress(ManagerError):  # looked at again after the reconnection
            await self._announce(key, await self._state(key))

    async def _announce(self, key: RunKey, state: UnitState) -> None:
        """Tell of an end, once."""
        path = unit_path(unit_name(self._instance, key))
        silent = key in self._announced or key in self._starting or path not in self._watched
        if silent or state.liveness is Liveness.RUNNING:
            return
        self._announced.add(key)
        report = state.exit or ExitReport(key, None, None, 0.0)
        for listener in tuple(self._listeners):
            listener(report)


def _living(cgroup: str) -> list[int]:
    return [one.pid for one in cgroup_processes(cgroup)]


def _refusal(request: RunRequest, program: str, state: UnitState) -> StartFailedError:
    step = state.failed_step
    numbers = {"program": _why_not_executed(program), "cwd": _why_not(request.cwd or DEFAULT_CWD)}
    if step:
        return refusal(request, program, step, numbers.get(step, errno.EACCES))
    return StartFailedError(f"systemd could not start {request.key.service}: {state.result}")


def _why_not_executed(program: str) -> int:
    if (number := _why_not(program)) != errno.EACCES:
        return number
    return errno.ENOEXEC if os.access(program, os.X_OK) else errno.EACCES


def _why_not(path: str) -> int:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno or errno.EIO
    return errno.EACCES
