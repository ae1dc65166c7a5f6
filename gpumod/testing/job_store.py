"""Jobs in memory, kept to the contract of the real store."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

from gpumod.core.errors import GpumodError
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
from gpumod.core.retention import DEFAULT_RETENTION, Retention
from gpumod.core.service import Desired
from gpumod.store.windows import window_open

_HOPELESS = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled"}


class MemoryJobStore:
    """Implements the `JobStore` port. Each call lets the event loop turn once before it acts."""

    def __init__(self, clock: Clock, retention: Retention = DEFAULT_RETENTION) -> None:
        self._clock = clock
        self._retention = retention
        self._jobs: dict[JobId, JobRecord] = {}
        """In the order of submission."""
        self._samples: dict[JobId, dict[tuple[str, str], Sample]] = {}
        self._results: dict[tuple[JobId, str], Result] = {}
        self._schedules: dict[ScheduleId, Schedule] = {}
        self._failures: dict[str, GpumodError] = {}

    def fail(self, error: GpumodError, *methods: str) -> None:
        """Let these methods (by name; none: all) raise from now on, and keep nothing."""
        self._failures.update(dict.fromkeys(methods or ("*",), error))

    def heal(self) -> None:
        """Let every method work again."""
        self._failures.clear()

    async def submit(self, job: JobRecord) -> JobRecord:
        """Keep a new job; answer the one with its id, or the live one with its dedupe key."""
        await self._turn("submit")
        twin = self._jobs.get(job.id) or self._live(job.request.dedupe)
        if twin is not None:
            return twin
        self._jobs[job.id] = job
        self._fail_waiting(job.created)
        self._prune()
        return self._jobs[job.id]

    async def job(self, job: JobId) -> JobRecord | None:
        """One job."""
        await self._turn("job")
        return self._jobs.get(job)

    async def jobs(self, states: Collection[JobState] = (), limit: int = 100) -> tuple[JobRecord, ...]:
        """The latest jobs in any of these states (none given: all), newest first."""
        await self._turn("jobs")
        found = [job for job in self._jobs.values() if not states or job.state in states]
        return tuple(reversed(found))[:limit]

    async def claim(self, owner: str, now: float, *, stale: float) -> JobRecord | None:
        """Take the job that is to run next."""
        await self._turn("claim")
        running = [job for job in self._jobs.values() if job.state is JobState.RUNNING]
        if running:
            found = [job for job in running if abs(now - (job.heartbeat or 0.0)) >= stale]
        else:
            found = [job for job in self._jobs.values() if self._may_begin(job, now)]
        if not found:
            return None
        job = max(found, key=lambda job: job.request.priority)  # the first of several
        return self._put(
            replace(
                job,
                state=JobState.RUNNING,
                attempt=job.attempt + 1,
                owner=owner,
                heartbeat=now,
                started=now if job.started is None else job.started,
                phase=job.phase or JobPhase.CLAIMED,
            )
        )

    def _may_begin(self, job: JobRecord, now: float) -> bool:
        request = job.request
        needed = (self._jobs.get(other) for other in request.after)
        return (
            job.state is JobState.QUEUED
            and (request.not_before is None or request.not_before <= now)
            and (request.window is None or window_open(request.window, now))
            and all(other is not None and other.state is JobState.DONE for other in needed)
        )

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
        await self._turn("beat")
        record = self._owned(job, owner, attempt)
        if record is None:
            return None
        phase, progress = phase or record.phase, progress or record.progress
        why = record.reason if reason is None else reason
        return self._put(replace(record, heartbeat=now, phase=phase, progress=progress, reason=why))

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
        await self._turn("hold")
        record = self._owned(job, owner, attempt)
        if record is not None:
            self._put(replace(record, former=former, restore=restore, lease=lease))
        return record is not None

    async def finish(
        self, job: JobId, owner: str, attempt: int, state: JobState, now: float, reason: str = ""
    ) -> bool:
        """End a job, and fail those that waited for it in vain; whether this is its owner."""
        await self._turn("finish")
        record = self._owned(job, owner, attempt)
        if record is None:
            return False
        kept = record.reason if state is JobState.CANCELLED else ""
        self._put(replace(record, state=state, ended=now, phase=None, reason=reason or kept))
        self._fail_waiting(now)
        return True

    async def ask_cancel(self, job: JobId, now: float, reason: str) -> JobRecord | None:
        """Cancel a queued job, or mark a running one; an ended one is answered as it is."""
        await self._turn("ask_cancel")
        record = self._jobs.get(job)
        if record is None or record.state.ended:
            return record
        if record.state is JobState.QUEUED:
            record = replace(record, state=JobState.CANCELLED, ended=now)
        self._put(replace(record, cancel_asked=True, reason=reason))
        self._fail_waiting(now)
        return self._jobs[job]

    async def requeue(self, job: JobId, *, keep_samples: bool) -> JobRecord | None:
        """Queue an ended job again, in its old place; None where there is none, or it has not ended.

        One that is done has nothing left to measure: with its samples kept it is left, and None is answered.
        """
        await self._turn("requeue")
        record = self._jobs.get(job)
        if record is None or not record.state.ended or (keep_samples and record.state is JobState.DONE):
            return None
        twin = self._live(record.request.dedupe)
        if twin is not None:
            return twin
        if not keep_samples:
            self._samples.pop(job, None)
        self._put(
            JobRecord(
                record.id,
                record.request,
                JobState.QUEUED,
                record.created,
                record.attempt,
                progress=record.progress if keep_samples else Progress(),
                schedule=record.schedule,
            )
        )
        self._fail_waiting(self._clock.now())
        return self._jobs[job]

    async def add_sample(self, job: JobId, attempt: int, sample: Sample) -> bool:
        """Keep a sample; False where the job does not run, or runs in another attempt."""
        await self._turn("add_sample")
        record = self._jobs.get(job)
        if record is None or record.state is not JobState.RUNNING or record.attempt != attempt:
            return False
        self._samples.setdefault(job, {}).setdefault((sample.target, sample.case), sample)
        return True

    async def samples(self, job: JobId, target: str | None = None) -> tuple[Sample, ...]:
        """The samples of a job, in the order in which they were taken."""
        await self._turn("samples")
        taken = self._samples.get(job, {}).values()
        return tuple(sample for sample in taken if target is None or sample.target == target)

    async def save_result(self, result: Result, attempt: int) -> bool:
        """Keep a result; False where the job does not run, or runs in another attempt."""
        await self._turn("save_result")
        record = self._jobs.get(result.job)
        if record is None or record.state is not JobState.RUNNING or record.attempt != attempt:
            return False
        self._results.pop((result.job, result.target), None)
        self._results[result.job, result.target] = result
        for old in list(self._results)[: -self._retention.results]:
            del self._results[old]
        return True

    async def results(
        self, job: JobId | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """Results, newest first; they outlive their jobs."""
        await self._turn("results")
        found = [
            result
            for result in reversed(self._results.values())
            if (job is None or result.job == job)
            and (not suite or result.suite == suite)
            and (not target or result.target == target)
        ]
        return tuple(found[:limit])

    async def save_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule, in place of the former one of that id."""
        await self._turn("save_schedule")
        self._schedules[schedule.id] = schedule

    async def delete_schedule(self, schedule: ScheduleId) -> bool:
        """Forget a schedule; whether there was one."""
        await self._turn("delete_schedule")
        return self._schedules.pop(schedule, None) is not None

    async def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, by their ids."""
        await self._turn("schedules")
        return tuple(self._schedules[schedule] for schedule in sorted(self._schedules))

    async def _turn(self, method: str) -> None:
        await asyncio.sleep(0)
        error = self._failures.get(method) or self._failures.get("*")
        if error is not None:
            raise error

    def _put(self, job: JobRecord) -> JobRecord:
        self._jobs[job.id] = job
        return job

    def _live(self, dedupe: str) -> JobRecord | None:
        live = (job for job in self._jobs.values() if dedupe and job.request.dedupe == dedupe)
        return next((job for job in live if not job.state.ended), None)

    def _owned(self, job: JobId, owner: str, attempt: int) -> JobRecord | None:
        record = self._jobs.get(job)
        if record is None or (record.owner, record.attempt) != (owner, attempt):
            return None
        return record if record.state is JobState.RUNNING else None

    def _fail_waiting(self, now: float) -> None:
        queued = [job for job in self._jobs.values() if job.state is JobState.QUEUED]
        while found := [(job, reason) for job in queued if (reason := self._in_vain(job))]:
            for job, reason in found:
                self._put(replace(job, state=JobState.FAILED, ended=now, reason=reason))
            queued = [job for job in self._jobs.values() if job.state is JobState.QUEUED]

    def _in_vain(self, job: JobRecord) -> str:
        for other in sorted(job.request.after):
            needed = self._jobs.get(other)
            ending = "is not known" if needed is None else _HOPELESS.get(needed.state)
            if ending:
                return f"job {other}, which has to be done first, {ending}"
        return ""

    def _prune(self) -> None:
        queued = (job for job in self._jobs.values() if job.state is JobState.QUEUED)
        needed = {other for job in queued for other in job.request.after}
        ended = [job.id for job in self._jobs.values() if job.state.ended]
        for old in ended[: -self._retention.jobs]:
            if old not in needed:
                del self._jobs[old]
                self._samples.pop(old, None)
