"""Looking after a job while something takes its time: signs of life, the lease, and what the box does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gpumod.bench.worker.brain import intruder_of, is_intrusion, who
from gpumod.bench.worker.interrupts import Interrupted, Lost
from gpumod.core.errors import NotFoundError, StoreError
from gpumod.core.lease import holder_of_job

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gpumod.bench.worker.integrity import Integrity
    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.bench.worker.targets import Aim
    from gpumod.core.job import JobPhase, JobRecord
    from gpumod.core.names import LeaseId, ServiceId
    from gpumod.core.service import Desired
    from gpumod.core.switch import BoxStatus

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_JOURNAL = 50
"""So many of the latest switches are looked through for who changed the box."""


class Attendant:
    """Keeps one attempt at a job alive.

    Attributes:
        job: the job as it was last read.
        progress: how far it is; kept with each sign of life.
        integrity: what the looks at the box are told to; None while nothing is measured.
        services: whose loss takes the box away from the job.
    """

    def __init__(self, parts: WorkerParts, job: JobRecord, wake: asyncio.Event) -> None:
        self._parts = parts
        self._wake = wake
        self.job = job
        self.name = holder_of_job(job.id)
        self.progress = job.progress
        self.integrity: Integrity | None = None
        self.services: frozenset[str] = frozenset()
        self._seen: object = None
        self._lease: LeaseId | None = None
        self._leased: tuple[ServiceId, ...] = ()
        self._next_beat = parts.clock.monotonic() + parts.pace.beat

    async def beat(self, phase: JobPhase | None = None, reason: str | None = None) -> JobRecord:
        """Say that the job lives, and read it again.

        Raises:
            Lost: it has another owner.
        """
        clock = self._parts.clock
        self._next_beat = clock.monotonic() + self._parts.pace.beat
        job = await self._parts.store.beat(
            self.job.id,
            self.job.owner,
            self.job.attempt,
            clock.now(),
            phase=phase,
            progress=self.progress,
            reason=reason,
        )
        if job is None:
            raise Lost
        self.job = job
        return job

    async def attend(self, work: Coroutine[object, object, _T], *, yields: bool = True) -> _T:
        """Do something that takes its time.

        Args:
            work: what to do; cancelled where the job is interrupted.
            yields: whether a cancellation of the job, or who takes the box, interrupts it.

        Raises:
            Interrupted: so it was.
            Lost: the job has another owner.
        """
        task = asyncio.ensure_future(work)
        try:
            while not await self._ended(task):
                await self.look(yields=yields)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self, *, yields: bool = True) -> BoxStatus:
        """See what the box and the job are like.

        Raises:
            Interrupted: the job is to be cancelled, or somebody takes the box.
            Lost: the job has another owner.
        """
        if self._wake.is_set() or self._parts.clock.monotonic() >= self._next_beat:
            self._wake.clear()
            await self._live_on()
        status = await self._parts.switching.status()
        if self.integrity is not None:
            self.integrity.look(status)
        if yields and self.job.cancel_asked:
            raise Interrupted
        running = status.switch
        if yields and running is not None and is_intrusion(running, self.name, self.services):
            raise Interrupted
        if yields and self._changed(status) and await self.intruder():
            raise Interrupted
        return status

    async def intruder(self) -> str:
        """Who has changed the box since the job remembered it, in words; empty where nobody has."""
        former = self.job.former
        if former is None:
            return ""
        switches = await self._parts.switching.switches(_JOURNAL)
        found = intruder_of(switches, former, self.name, self.services)
        return who(found) if found else ""

    def _changed(self, status: BoxStatus) -> bool:
        """Whether the box differs from the last look: a switch may have come and gone in between."""
        mine = [(one.id, one.generation, one.state) for one in status.services if one.id in self.services]
        seen, self._seen = self._seen, (status.mode, mine)
        return seen != self._seen

    async def lease(self, aim: Aim) -> None:
        """Take the box for a target.

        Raises:
            NotFoundError: what it needs does not run.
        """
        self._leased = tuple(sorted(aim.services))
        await self._take_lease()

    async def release(self) -> None:
        """Give back every lease of this job, an earlier attempt's too."""
        self._lease = None
        for lease in await self._parts.leases.active():
            if lease.holder == self.name:
                try:
                    await self._parts.leases.release(lease.id)
                except NotFoundError:
                    _log.debug("lease %s expired meanwhile", lease.id)

    async def _take_lease(self) -> None:
        request = self.job.request
        lease = await self._parts.leases.take(
            self.name,
            self._parts.pace.lease,
            services=self._leased,
            purpose=request.label or f"benchmark {request.suite}",
        )
        self._lease = lease.id
        await self.hold(former=self.job.former, restore=self.job.restore, lease=lease.id)

    async def hold(self, *, former: Desired | None, restore: bool, lease: LeaseId | None) -> None:
        """Keep what has to be put back, before the box is changed.

        Raises:
            Lost: the job has another owner.
        """
        job = self.job
        kept = await self._parts.store.hold(
            job.id, job.owner, job.attempt, former=former, restore=restore, lease=lease
        )
        if not kept:
            raise Lost
        self.job = replace(self.job, former=former, restore=restore, lease=lease)

    async def _live_on(self) -> None:
        """Beat and renew the lease. A store that fails for a while does not end the job."""
        try:
            await self.beat()
            if self._lease is not None:
                await self._renew(self._lease)
        except StoreError as error:
            _log.warning("%s: no sign of life could be kept: %s", self.name, error.detail)

    async def _renew(self, lease: LeaseId) -> None:
        try:
            await self._parts.leases.renew(lease, self._parts.pace.lease)
        except NotFoundError:
            if self._lease == lease:  # else the job itself has let it go, or has another one already
                await self._lease_again()

    async def _lease_again(self) -> None:
        """The lease expired or was released by somebody: the job goes on, and takes it again if it can."""
        self._lease = None
        try:
            await self._take_lease()
        except NotFoundError as error:
            _log.info("%s has no lease at present: %s", self.name, error.detail)

    async def _ended(self, task: asyncio.Future[_T]) -> bool:
        """Wait for the work's end, the next look, or a call; whether the work has ended."""
        sleep = asyncio.ensure_future(self._parts.clock.sleep(self._parts.pace.look))
        woken = asyncio.ensure_future(self._wake.wait())
        either: set[asyncio.Future[Any]] = {task, sleep, woken}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            woken.cancel()
            await asyncio.gather(sleep, woken, return_exceptions=True)
        return task.done()
