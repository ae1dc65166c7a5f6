"""One attempt under a keeper: what its run directory and /proc say, and the news of its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from gpumod.core.ports import Liveness, RunFound
from gpumod.runners.tree import exists, living_keeper
from gpumod.runners.watch import EndWatch, collect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.service import ExitReport, ProcessIdentity
    from gpumod.runners.rundir import RunDir

RECORD_SECONDS = 5.0
"""How soon after a death its keeper has written down how it was, or is gone itself."""
_PAUSE = 0.001


def find(run_dir: RunDir) -> RunFound:
    """What there is of an attempt. Blocks while a keeper is about to say more."""
    key = run_dir.key
    if not run_dir.exists():
        return RunFound(key, Liveness.ABSENT)
    leader = _leader(run_dir)
    report = run_dir.exit()
    if report is None:
        if leader is None:
            alive = living_keeper(run_dir) is not None
            return RunFound(key, Liveness.RUNNING if alive else Liveness.ABSENT)
        if exists(leader):
            return RunFound(key, Liveness.RUNNING, leader)
        report = end_of(run_dir, leader)
    return RunFound(key, Liveness.EXITED, leader, report)


def _leader(run_dir: RunDir) -> ProcessIdentity | None:
    """The leader; a keeper that lives is given time to name it."""
    deadline = time.monotonic() + RECORD_SECONDS
    while (leader := run_dir.leader()) is None:
        if living_keeper(run_dir) is None or time.monotonic() > deadline:
            return run_dir.leader()
        time.sleep(_PAUSE)
    return leader


def end_of(run_dir: RunDir, leader: ProcessIdentity) -> ExitReport:
    """How a dead leader ended. Its pid is its own until its keeper, if that lives, has told."""
    deadline = time.monotonic() + RECORD_SECONDS
    while (report := run_dir.exit()) is None:
        keeper = run_dir.keeper()
        hopeless = keeper is None or not exists(keeper) or not exists(leader, zombie=True)
        if hopeless or time.monotonic() > deadline:
            return run_dir.exit() or run_dir.unseen_exit()
        time.sleep(_PAUSE)
    return report


class Attempt:
    """Watches a running attempt: announces its leader's end once, collects its keeper."""

    def __init__(
        self, run_dir: RunDir, leader: ProcessIdentity, announce: Callable[[ExitReport], None]
    ) -> None:
        self._run_dir = run_dir
        self._announce = announce
        self._report: asyncio.Task[None] | None = None
        self._leader = EndWatch(leader, lambda: self._begin_report(leader))
        keeper = run_dir.keeper()
        self._keeper = EndWatch(keeper, lambda: collect(keeper)) if keeper is not None else None

    async def reported(self) -> None:
        """Wait until the end of a leader that is dead has been announced."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECORD_SECONDS):
                await self._leader.ended.wait()
        await self.settled()

    async def settled(self) -> None:
        """Wait for an announcement that is under way."""
        if self._report is not None:
            await asyncio.wait({self._report})

    def close(self) -> None:
        """Watch no more."""
        self._leader.close()
        if self._keeper is not None:
            self._keeper.close()

    def _begin_report(self, leader: ProcessIdentity) -> None:
        self._report = asyncio.create_task(self._tell(leader), name=f"end of {self._run_dir.key}")

    async def _tell(self, leader: ProcessIdentity) -> None:
        self._announce(await asyncio.to_thread(end_of, self._run_dir, leader))
