"""The runner that needs nothing but Linux: each attempt lives under a keeper of its own.

What it cannot do: enforce `memory_max` (there is no cgroup of ours); promise to find every process
after somebody SIGKILLs a keeper (see `gpumod.runners.tree.orphans`); outlive a logout where logind
is told to end a user's processes with it (`KillUserProcesses=yes`).
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.ports import Liveness, RunFound
from gpumod.runners.attempt import RECORD_SECONDS, Attempt, find
from gpumod.runners.keeper import KILL_SIGNAL
from gpumod.runners.rundir import RunDir, run_keys
from gpumod.runners.spawn import spawn
from gpumod.runners.tree import kill_orphans, living_keeper, processes
from gpumod.runners.watch import collect, ends, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpumod.core.ports import RunRequest
    from gpumod.core.service import ExitReport, ProcessIdentity, RunKey


class ProcessRunner:
    """Runs attempts under keepers; `state_dir` holds what has to survive the daemon."""

    name = "process"

    def __init__(self, state_dir: Path, *, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._state_dir = state_dir
        self._bounds = bounds
        self._starting: dict[RunKey, asyncio.Task[RunFound]] = {}
        self._watched: dict[RunKey, Attempt] = {}
        self._listeners: list[Callable[[ExitReport], None]] = []
        self._remembered: dict[RunKey, tuple[ProcessIdentity, ...]] = {}

    async def start(self, request: RunRequest) -> RunFound:
        """See `Runner`. `memory_max` is not enforced."""
        await self._started(request.key)
        task = asyncio.create_task(self._start(request), name=f"start {request.key}")
        self._starting[request.key] = task
        task.add_done_callback(lambda done: self._start_ended(request.key, done))
        # A caller that gives up does not leave half a start behind.
        return await asyncio.shield(task)

    async def find(self, key: RunKey) -> RunFound:
        """See `Runner`."""
        await self._started(key)
        run_dir = self._run_dir(key)
        found = await asyncio.to_thread(find, run_dir)
        if found.liveness is Liveness.RUNNING and found.leader is not None and key not in self._watched:
            self._watched[key] = Attempt(run_dir, found.leader, self._announce)
        return found

    async def runs(self) -> tuple[RunFound, ...]:
        """See `Runner`."""
        keys = await asyncio.to_thread(run_keys, self._state_dir)
        return tuple([await self.find(key) for key in keys])

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """See `Runner`."""
        return await asyncio.to_thread(self._tree, key, starting=key in self._starting)

    async def signal(self, key: RunKey, number: int) -> None:
        """See `Runner`."""
        await self._started(key)
        leader = await asyncio.to_thread(self._run_dir(key).leader)
        if leader is not None:
            send(leader, number)

    async def kill(self, key: RunKey) -> None:
        """See `Runner`."""
        await self._started(key)
        run_dir = self._run_dir(key)
        keeper = await asyncio.to_thread(living_keeper, run_dir)
        if keeper is not None:
            send(keeper, signal.SIGCONT)
            send(keeper, KILL_SIGNAL)
            if not await ends(keeper, self._bounds.after_kill):
                return
        await asyncio.to_thread(kill_orphans, run_dir, self._bounds.after_kill)

    async def forget(self, key: RunKey) -> None:
        """See `Runner`. An attempt that still has processes is not forgotten."""
        await self._started(key)
        run_dir = self._run_dir(key)
        if await asyncio.to_thread(processes, run_dir):
            return
        keeper = await asyncio.to_thread(run_dir.keeper)
        if keeper is not None:
            if not await ends(keeper, RECORD_SECONDS):
                return
            collect(keeper)
        attempt = self._watched.pop(key, None)
        if attempt is not None:
            await attempt.reported()
            attempt.close()
        self._remembered.pop(key, None)
        await asyncio.to_thread(run_dir.remove)

    def subscribe(self, on_exit: Callable[[ExitReport], None]) -> Callable[[], None]:
        """See `Runner`. Told of are attempts that this object started or found running."""
        self._listeners.append(on_exit)

        def stop() -> None:
            if on_exit in self._listeners:
                self._listeners.remove(on_exit)

        return stop

    async def close(self) -> None:
        """See `Runner`."""
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        self._listeners.clear()
        attempts = tuple(self._watched.values())
        self._watched.clear()
        for attempt in attempts:
            attempt.close()
        await asyncio.gather(*(attempt.settled() for attempt in attempts))

    # --- inside ------------------------------------------------------------------------------

    def _run_dir(self, key: RunKey) -> RunDir:
        return RunDir(self._state_dir, key)

    async def _start(self, request: RunRequest) -> RunFound:
        run_dir = self._run_dir(request.key)
        leader = await asyncio.to_thread(spawn, request, run_dir)
        self._watched[request.key] = Attempt(run_dir, leader, self._announce)
        return RunFound(request.key, Liveness.RUNNING, leader)

    def _start_ended(self, key: RunKey, task: asyncio.Task[RunFound]) -> None:
        del self._starting[key]
        if not task.cancelled():
            task.exception()  # the caller, if there still is one, gets it too

    async def _started(self, key: RunKey) -> None:
        """Wait for a start of ours that is under way; its outcome is its caller's."""
        if key in self._starting:
            await asyncio.wait({self._starting[key]})

    def _announce(self, report: ExitReport) -> None:
        for listener in tuple(self._listeners):
            listener(report)

    def _tree(self, key: RunKey, *, starting: bool) -> tuple[ProcessIdentity, ...]:
        run_dir = self._run_dir(key)
        if starting and run_dir.keeper() is None:
            return ()
        tree = processes(run_dir)
        if tree and self._remembered.get(key) != tree:
            run_dir.remember_tree(tree)
            self._remembered[key] = tree
        return tree
