"""Takes jobs from the queue, one at a time, for as long as the daemon lives."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gpumod.bench.worker.interrupts import Lost
from gpumod.bench.worker.run import JobRun
from gpumod.core.errors import GpumodError, StoreError
from gpumod.core.events import EventKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.core.job import JobRecord

_log = logging.getLogger(__name__)


class JobWorker:
    """Runs jobs in the background."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Begin once the box has settled after the daemon's start.

        Args:
            settled: waits for that.
        """
        self._task = asyncio.create_task(self._work(settled), name="jobs")

    def poke(self) -> None:
        """Look at the queue now: something was submitted or cancelled."""
        self._wake.set()

    async def close(self) -> None:
        """Stop at once; a job that runs is left as it is, for the next daemon."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, settled: Callable[[], Awaitable[None]]) -> None:
        await settled()
        stale = 0.0  # one daemon per state directory: whoever owned a running job before is gone
        while True:
            job = await self._claim(stale)
            stale = self._parts.pace.stale
            if job is None:
                await self._idle()
            else:
                await self._run(job)

    async def _claim(self, stale: float) -> JobRecord | None:
        try:
            return await self._parts.store.claim(self._parts.owner, self._parts.clock.now(), stale=stale)
        except StoreError as error:
            _log.error("the queue cannot be read: %s", error.detail)
            return None

    async def _run(self, job: JobRecord) -> None:
        again = f", attempt {job.attempt}" if job.attempt > 1 else ""
        message = f"job {job.id} ({job.request.suite}) begins{again}"
        self._parts.events.publish(EventKind.JOB, job.id, message, state=job.state.value, attempt=job.attempt)
        try:
            await JobRun(self._parts, job, self._wake).run()
        except Lost:
            _log.warning("job %s has another owner now", job.id)
        except GpumodError as error:
            _log.error("job %s cannot go on at present: %s", job.id, error.detail)
        except Exception:  # noqa: BLE001 - the other jobs go on
            _log.exception("defect in the worker at job %s", job.id)
            await self._parts.clock.sleep(self._parts.pace.idle)

    async def _idle(self) -> None:
        """Wait for a poke, or a while."""
        sleep = asyncio.ensure_future(self._parts.clock.sleep(self._parts.pace.idle))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleep, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            woken.cancel()
            await asyncio.gather(sleep, woken, return_exceptions=True)
        self._wake.clear()
