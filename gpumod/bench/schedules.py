"""Jobs that are submitted again and again.

The table of schedules is the truth: APScheduler, which keeps nothing, only wakes us. What is due then follows
from the table and the clock, so that a wake-up too many does nothing and one that was missed is made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.date import DateTrigger

from gpumod.bench.cron import Cron
from gpumod.core.errors import GpumodError, NotFoundError, StoreError
from gpumod.core.job import JobId, JobRecord, JobState, Schedule, ScheduleId
from gpumod.core.job_ports import JobStore
from gpumod.core.ports import Clock

_log = logging.getLogger(__name__)

_QUEUED_AT_MOST = 10_000
_AGAIN = timedelta(seconds=60)
"""What the store refused is tried again after so long."""
_PUT_BACK = 86_400.0
"""A last firing that is farther in the future than this is a clock's mistake, and is not believed."""


class _Wake(BaseTrigger):  # type: ignore[misc]  # APScheduler is published without type information
    """Wakes at the times of a cron expression. Times that have passed are one wake-up."""

    def __init__(self, cron: Cron) -> None:
        self._cron = cron

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """The first time that is still to come."""
        time = self._cron.after(max(now, previous or now).timestamp())
        return None if time is None else datetime.fromtimestamp(time, UTC)


class Schedules:
    """Submits the jobs of schedules when their times have come.

    After the daemon was down, a schedule's missed firings are made up for by one job. While a job of the
    schedule is still queued, a firing adds no other: it would only do the same again.

    Args:
        store: where schedules are kept.
        submit: queues a job; one with the same id or the same dedupe key is not queued again.
        clock: time. APScheduler's wake-ups go by the system's.
        trigger: makes what wakes us at a cron expression's times.
    """

    def __init__(
        self,
        store: JobStore,
        submit: Callable[[JobRecord], Awaitable[JobRecord]],
        clock: Clock,
        *,
        trigger: Callable[[Cron], BaseTrigger] = _Wake,
    ) -> None:
        self._store = store
        self._submit = submit
        self._clock = clock
        self._trigger = trigger
        self._one_at_a_time = asyncio.Lock()
        self._busy: set[asyncio.Task[object]] = set()
        self._closing = False
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            # No limit to lateness, which is one second by default: late is better than never. A second
            # wake-up may wait for the first, which looked at the clock too early to see its time.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 2},
        )

    async def start(self) -> None:
        """Make up for what was missed, and fire from now on. Where the store fails, it is asked again."""
        self._scheduler.start()
        await self._begin()

    async def _begin(self) -> None:
        try:
            async with self._at_work():
                armed = [schedule.id for schedule in await self._store.schedules() if self._arm(schedule)]
        except StoreError as error:
            _log.warning("the schedules cannot be read now: %s", error.detail)
            self._again(self._begin, "begin")
            return
        for schedule in armed:
            await self.fire(schedule)

    async def close(self) -> None:
        """Fire no more; what is being submitted is."""
        if not self._scheduler.running:
            return
        self._closing = True
        self._scheduler.remove_all_jobs()
        await asyncio.sleep(0)  # a wake-up that was given to the event loop becomes visible
        if self._busy:
            await asyncio.wait(self._busy)
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)  # it shuts down in the event loop's next turn

    async def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, by their ids.

        Raises:
            StoreError: they cannot be read.
        """
        return await self._store.schedules()

    async def save(self, schedule: Schedule) -> Schedule:
        """Keep a schedule, in place of the former one of that id; its times count from now on.

        Raises:
            InvalidRequestError: the cron expression or the time zone is wrong; the sentence says how.
            StoreError: it could not be kept.
        """
        Cron(schedule.cron, schedule.timezone)
        async with self._one_at_a_time:
            former = await self._one(schedule.id)
            kept = replace(schedule, created=self._clock.now(), last=former.last if former else None)
            await self._store.save_schedule(kept)
            self._arm(kept)
        return kept

    async def delete(self, schedule: ScheduleId) -> None:
        """Forget a schedule; the jobs that it has submitted stay.

        Raises:
            NotFoundError: there is none.
            StoreError: it could not be forgotten.
        """
        async with self._one_at_a_time:
            if not await self._store.delete_schedule(schedule):
                raise NotFoundError(f"there is no schedule {schedule!r}.", {"schedule": schedule})
            self._disarm(schedule)

    def next_firing(self, schedule: Schedule) -> float | None:
        """When a schedule fires next, unix time; None where it is disabled.

        Raises:
            InvalidRequestError: the system does not know its time zone any more.
        """
        if not schedule.enabled:
            return None
        return Cron(schedule.cron, schedule.timezone).after(self._clock.now())

    async def fire(self, schedule: ScheduleId) -> None:
        """Submit the job of the latest time that has passed since the last firing, if one has."""
        try:
            async with self._at_work():
                await self._fire(schedule)
        except StoreError as error:
            _log.warning("schedule %s could not fire and tries again: %s", schedule, error.detail)
            self._again(partial(self.fire, schedule), f"fire {schedule}")
        except GpumodError as error:
            _log.warning("schedule %s could not fire: %s", schedule, error.detail)

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """One at a time; `close` waits for it."""
        task = asyncio.current_task()
        if task is not None:
            self._busy.add(task)
        try:
            async with self._one_at_a_time:
                yield
        finally:
            if task is not None:
                self._busy.discard(task)

    async def _fire(self, name: ScheduleId) -> None:
        schedule = await self._one(name)
        if schedule is None or not schedule.enabled:
            self._disarm(name)
            return
        due = self._due(schedule)
        if due is None:
            return
        if waiting := await self._waiting(name):
            _log.info("schedule %s adds no job: %s is still queued", name, waiting)
        else:
            await self._submit_or_tell(job_of(schedule, due, self._clock.now()))
        await self._store.save_schedule(replace(schedule, last=due))

    def _due(self, schedule: Schedule) -> float | None:
        now, since = self._clock.now(), schedule.created
        if schedule.last is not None and schedule.last <= now + _PUT_BACK:
            since = max(since, schedule.last)
        return Cron(schedule.cron, schedule.timezone).latest(since, now)

    async def _waiting(self, schedule: ScheduleId) -> JobId | None:
        queued = await self._store.jobs([JobState.QUEUED], _QUEUED_AT_MOST)
        return next((job.id for job in queued if job.schedule == schedule), None)

    async def _submit_or_tell(self, job: JobRecord) -> None:
        """Queue a job; one that is refused is kept as failed, where its owner will look for it."""
        try:
            await self._submit(job)
        except StoreError:
            raise
        except GpumodError as error:
            _log.warning("schedule %s: %s", job.schedule, error.detail)
            failed = replace(job, state=JobState.FAILED, ended=job.created, reason=error.detail)
            await self._store.submit(failed)

    async def _one(self, name: ScheduleId) -> Schedule | None:
        found = (schedule for schedule in await self._store.schedules() if schedule.id == name)
        return next(found, None)

    def _arm(self, schedule: Schedule) -> bool:
        """Wake at its times; whether it can fire."""
        self._disarm(schedule.id)
        if not schedule.enabled:
            return False
        try:
            cron = Cron(schedule.cron, schedule.timezone)
        except GpumodError as error:
            _log.warning("schedule %s cannot fire: %s", schedule.id, error.detail)
            return False
        self._scheduler.add_job(self.fire, self._trigger(cron), [schedule.id], id=schedule.id)
        return True

    def _again(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        if self._closing:
            return
        trigger = DateTrigger(datetime.now(UTC) + _AGAIN)
        self._scheduler.add_job(work, trigger, id=f"again: {name}", replace_existing=True)

    def _disarm(self, schedule: ScheduleId) -> None:
        if self._scheduler.get_job(schedule) is not None:
            self._scheduler.remove_job(schedule)


def job_of(schedule: Schedule, due: float, now: float) -> JobRecord:
    """The job of one firing. Its id and its dedupe key name the schedule and the minute: it exists once."""
    minute = datetime.fromtimestamp(due, UTC)
    return JobRecord(
        JobId(f"{schedule.id}-{minute:%Y%m%dT%H%MZ}"),
        replace(schedule.request, dedupe=f"{schedule.id}@{minute:%Y-%m-%dT%H:%MZ}"),
        JobState.QUEUED,
        now,
        schedule=schedule.id,
    )
