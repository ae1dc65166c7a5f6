"""The jobs in the store's file."""

from __future__ import annotations

from collections.abc import Collection

from gpumod.core.job import (
    JobId,
    JobPhase,
    JobRecord,
    JobState,
    Progress,
    Result,
    Sample,
    Schedule,
    ScheduleId,
)
from gpumod.core.names import LeaseId
from gpumod.core.ports import Clock
from gpumod.core.retention import Retention
from gpumod.core.service import Desired
from gpumod.store import job_queue, job_results
from gpumod.store.codec import Decoder
from gpumod.store.job_queue import Claimant, Held
from gpumod.store.worker import Worker


class SqliteJobStore:
    """Implements the `JobStore` port on the threads of a `SqliteStore`, which opens and closes them.

    Every write is a transaction that holds SQLite's lock for writing from its begin, and expects what it
    changes to be as it was: several processes may claim from one file. All but a heartbeat survive a loss of
    power once they have returned. A row that cannot be read is left out, and named in the store's
    `unreadable`.
    """

    def __init__(
        self, writer: Worker, reader: Worker, decoder: Decoder, clock: Clock, retention: Retention
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._decoder = decoder
        self._clock = clock
        self._retention = retention

    async def submit(self, job: JobRecord) -> JobRecord:
        """Keep a new job; answer the one with its id, or the live one with its dedupe key."""
        return await self._writer.run(job_queue.submit, job, self._retention.jobs, self._decoder)

    async def job(self, job: JobId) -> JobRecord | None:
        """One job."""
        return await self._reader.run(job_queue.job, job, self._decoder)

    async def jobs(self, states: Collection[JobState] = (), limit: int = 100) -> tuple[JobRecord, ...]:
        """The latest jobs in any of these states (none given: all), newest first."""
        return await self._reader.run(job_queue.jobs, states, limit, self._decoder)

    async def claim(self, owner: str, now: float, *, stale: float) -> JobRecord | None:
        """Take the job that is to run next.

        One that was taken over keeps the phase in which its former owner was lost.
        """
        return await self._writer.run(job_queue.claim, owner, now, stale, self._decoder)

    async def beat(
        self,
        job: JobId,
        owner: str,
        attempt: int,
        now: float,
        *,
        phase: JobPhase | None = None,
        progress: Progress | None = None,
        reason: str | None = None,
    ) -> JobRecord | None:
        """Say that the owner lives, how far it is, and why it will fail. None: another one does."""
        claimant = Claimant(job, owner, attempt)
        return await self._writer.run_lightly(
            job_queue.beat, claimant, now, phase, progress, reason, self._decoder
        )

    async def hold(
        self,
        job: JobId,
        owner: str,
        attempt: int,
        *,
        former: Desired | None,
        restore: bool,
        lease: LeaseId | None,
    ) -> bool:
        """Keep what has to be put back, and the lease; whether this is its owner."""
        held = Held(former, restore, lease)
        return await self._writer.run(job_queue.hold, Claimant(job, owner, attempt), held)

    async def finish(
        self, job: JobId, owner: str, attempt: int, state: JobState, now: float, reason: str = ""
    ) -> bool:
        """End a job, and fail those that waited for it in vain; whether this is its owner."""
        return await self._writer.run(job_queue.finish, Claimant(job, owner, attempt), state, now, reason)

    async def ask_cancel(self, job: JobId, now: float, reason: str) -> JobRecord | None:
        """Cancel a queued job, or mark a running one; an ended one is answered as it is."""
        return await self._writer.run(job_queue.ask_cancel, job, now, reason, self._decoder)

    async def requeue(self, job: JobId, *, keep_samples: bool) -> JobRecord | None:
        """Queue an ended job again, in its old place; None where there is none, or it has not ended.

        One that is done has nothing left to measure: with its samples kept it is left, and None is answered.
        Where its dedupe key is queued or running in another job, that one is answered and this one is left.
        """
        now = self._clock.now()
        return await self._writer.run(job_queue.requeue, job, now, self._decoder, keep_samples=keep_samples)

    async def add_sample(self, job: JobId, attempt: int, sample: Sample) -> bool:
        """Keep a sample; False where the job does not run, or runs in another attempt."""
        return await self._writer.run(job_results.add_sample, job, attempt, sample)

    async def samples(self, job: JobId, target: str | None = None) -> tuple[Sample, ...]:
        """The samples of a job, in the order in which they were taken."""
        return await self._reader.run(job_results.samples, job, target, self._decoder)

    async def save_result(self, result: Result, attempt: int) -> bool:
        """Keep a result; False where the job does not run, or runs in another attempt."""
        return await self._writer.run(job_results.save_result, result, attempt, self._retention.results)

    async def results(
        self, job: JobId | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """Results, newest first; they outlive their jobs."""
        return await self._reader.run(job_results.results, job, suite, target, limit, self._decoder)

    async def save_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule, in place of the former one of that id."""
        await self._writer.run(job_results.save_schedule, schedule)

    async def delete_schedule(self, schedule: ScheduleId) -> bool:
        """Forget a schedule; whether there was one."""
        return await self._writer.run(job_results.delete_schedule, schedule)

    async def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, by their ids."""
        return await self._reader.run(job_results.schedules, self._decoder)
