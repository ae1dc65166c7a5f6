"""Schedules: what fires when, once, and what was missed."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from gpumod.bench.schedules import Schedules
from gpumod.core.errors import InvalidRequestError, NotFoundError, StoreError
from gpumod.core.job import JobState
from gpumod.testing.job_store import MemoryJobStore
from tests.store.job_samples import schedule

BERLIN = ZoneInfo("Europe/Berlin")


def at(text, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


class SetClock:
    """A clock that somebody sets."""

    def __init__(self, text):
        self.time = at(text)

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        raise NotImplementedError


class House:
    """Schedules with a store that outlives them. Nothing fires by itself, unless `every` seconds."""

    def __init__(self, every=1e6):
        self.clock = SetClock("2026-01-15T12:00")
        self.store = MemoryJobStore(self.clock)
        self.refusal = None
        self.every = every
        self.schedules = self.made()

    def made(self):
        return Schedules(
            self.store, self.submit, self.clock, trigger=lambda _: IntervalTrigger(seconds=self.every)
        )

    async def submit(self, job):
        if self.refusal:
            raise self.refusal
        return await self.store.submit(job)

    async def restart(self, text):
        await self.schedules.close()
        self.clock.time = at(text)
        self.schedules = self.made()
        await self.schedules.start()

    async def fire(self, text, fold=0):
        self.clock.time = at(text, fold)
        await self.schedules.fire("s1")

    async def jobs(self):
        """The jobs' ids, oldest first."""
        return [job.id for job in reversed(await self.store.jobs())]

    async def run_all(self):
        while taken := await self.store.claim("d1", self.clock.now(), stale=60.0):
            await self.store.finish(taken.id, "d1", taken.attempt, JobState.DONE, self.clock.now())


@pytest.fixture
async def house():
    house = House()
    await house.schedules.start()
    yield house
    await house.schedules.close()


NIGHTLY = schedule()  # 02:00 in Berlin, Monday to Friday; the house opens on a Thursday


async def test_firing_submits_the_job_of_its_minute(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-16T02:00")
    (job,) = await house.store.jobs()
    assert (job.id, job.request.dedupe) == ("s1-20260116T0100Z", "s1@2026-01-16T01:00Z")
    assert (job.schedule, job.state, job.created) == ("s1", JobState.QUEUED, at("2026-01-16T02:00"))
    assert (job.request.suite, job.request.targets) == ("speed", ("code", "chät"))
    (kept,) = await house.schedules.schedules()
    assert kept.last == at("2026-01-16T02:00")


async def test_wake_up_too_many_adds_nothing(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-16T01:59")
    assert await house.jobs() == []
    for text in ("2026-01-16T02:00", "2026-01-16T02:00", "2026-01-16T02:07", "2026-01-16T23:59"):
        await house.fire(text)
        await house.run_all()
    assert await house.jobs() == ["s1-20260116T0100Z"]


async def test_firing_that_was_submitted_but_not_noted_is_not_submitted_again(house):
    await house.schedules.save(NIGHTLY)
    house.store.fail(StoreError("the power is gone"), "save_schedule")
    await house.fire("2026-01-16T02:00")
    house.store.heal()
    await house.run_all()
    await house.restart("2026-01-16T02:05")
    assert await house.jobs() == ["s1-20260116T0100Z"]
    assert (await house.schedules.schedules())[0].last == at("2026-01-16T02:00")


async def test_missed_firings_are_made_up_for_by_one(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-16T02:00")
    await house.run_all()
    await house.restart("2026-01-29T12:00")  # eight more nights went by
    assert await house.jobs() == ["s1-20260116T0100Z", "s1-20260129T0100Z"]
    await house.run_all()
    await house.restart("2026-01-29T13:00")
    assert len(await house.jobs()) == 2


async def test_firing_whose_job_has_been_forgotten_is_not_repeated(house):
    created, last = at("2026-01-15T12:00"), at("2026-01-16T02:00")
    await house.store.save_schedule(schedule(created=created, last=last))
    await house.restart("2026-01-16T12:00")
    assert await house.jobs() == []


async def test_nothing_was_missed_before_a_schedule_was_saved(house):
    await house.schedules.save(NIGHTLY)
    await house.restart("2026-01-15T13:00")
    assert await house.jobs() == []


async def test_changing_or_enabling_a_schedule_makes_up_for_nothing(house):
    await house.schedules.save(NIGHTLY)
    await house.schedules.save(schedule(enabled=False))
    await house.fire("2026-01-16T02:00")
    await house.restart("2026-01-20T12:00")
    assert await house.jobs() == []
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-20T12:01")
    assert await house.jobs() == []
    await house.fire("2026-01-21T02:00")
    assert await house.jobs() == ["s1-20260121T0100Z"]


async def test_jobs_do_not_pile_up_behind_one_that_is_queued(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-16T02:00")
    await house.fire("2026-01-19T02:00")
    assert await house.jobs() == ["s1-20260116T0100Z"]
    await house.store.claim("d1", house.clock.now(), stale=60.0)  # it runs: the next one may wait behind it
    await house.fire("2026-01-20T02:00")
    assert await house.jobs() == ["s1-20260116T0100Z", "s1-20260120T0100Z"]


async def test_night_in_which_the_clocks_are_put_back_has_one_firing(house):
    await house.schedules.save(schedule(cron="30 2 * * *", timezone="Europe/Berlin"))
    await house.restart("2026-10-25T00:00")
    await house.run_all()
    await house.fire("2026-10-25T02:30", fold=0)
    await house.run_all()
    await house.fire("2026-10-25T02:30", fold=1)
    await house.fire("2026-10-25T12:00")
    assert await house.jobs() == ["s1-20261024T0030Z", "s1-20261025T0030Z"]


async def test_clock_that_was_put_back_repeats_nothing(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2026-01-16T02:00")
    await house.run_all()
    await house.fire("2026-01-16T01:59")
    await house.fire("2026-01-16T02:00")
    assert await house.jobs() == ["s1-20260116T0100Z"]


async def test_clock_that_was_years_ahead_does_not_silence_a_schedule(house):
    await house.schedules.save(NIGHTLY)
    await house.fire("2036-01-16T02:00")
    await house.run_all()
    await house.fire("2026-01-16T02:00")
    assert "s1-20260116T0100Z" in await house.jobs()


async def test_job_that_is_refused_is_shown_as_failed_and_the_next_one_tries_again(house):
    await house.schedules.save(NIGHTLY)
    house.refusal = NotFoundError("there is no preset 'code'.")
    await house.fire("2026-01-16T02:00")
    (failed,) = await house.store.jobs()
    assert (failed.state, failed.reason) == (JobState.FAILED, "there is no preset 'code'.")
    house.refusal = None
    await house.fire("2026-01-19T02:00")
    assert await house.jobs() == ["s1-20260116T0100Z", "s1-20260119T0100Z"]


async def test_firing_that_the_store_refuses_is_still_due(house, caplog):
    await house.schedules.save(NIGHTLY)
    house.store.fail(StoreError("the disk is full"), "submit")
    with caplog.at_level(logging.WARNING):
        await house.fire("2026-01-16T02:00")
    assert "schedule s1 could not fire and tries again: the disk is full" in caplog.text
    house.store.heal()
    again = house.schedules._scheduler.get_job("again: fire s1")
    again.modify(next_run_time=datetime.now(UTC))
    await fired(house)
    assert await house.jobs() == ["s1-20260116T0100Z"]


async def test_schedules_that_cannot_be_read_at_the_start_are_asked_for_again(house, caplog):
    await house.schedules.save(NIGHTLY)
    house.store.fail(StoreError("the disk is away"), "schedules")
    await house.restart("2026-01-16T12:00")
    assert "the schedules cannot be read now: the disk is away" in caplog.text
    house.store.heal()
    (again,) = house.schedules._scheduler.get_jobs()
    again.modify(next_run_time=datetime.now(UTC))
    await fired(house)
    assert await house.jobs() == ["s1-20260116T0100Z"]


async def test_wrong_schedule_is_refused_and_not_kept(house):
    with pytest.raises(InvalidRequestError, match="the hour '25'"):
        await house.schedules.save(schedule(cron="0 25 * * *"))
    with pytest.raises(InvalidRequestError, match="no time zone"):
        await house.schedules.save(schedule(timezone="Mars/Olympus"))
    assert await house.schedules.schedules() == ()


async def test_schedule_in_a_lost_time_zone_does_not_prevent_the_others(house, caplog):
    await house.store.save_schedule(schedule("a", timezone="Mars/Olympus"))
    await house.store.save_schedule(schedule("s1", created=at("2026-01-15T00:00")))
    await house.restart("2026-01-16T12:00")
    assert await house.jobs() == ["s1-20260116T0100Z"]
    assert "schedule a cannot fire: 'Mars/Olympus' is no time zone" in caplog.text


async def test_deleted_schedule_fires_no_more(house):
    await house.schedules.save(NIGHTLY)
    await house.schedules.delete("s1")
    await house.fire("2026-01-16T02:00")
    assert await house.jobs() == []
    with pytest.raises(NotFoundError, match="there is no schedule 's1'"):
        await house.schedules.delete("s1")


async def test_next_firing_is_told(house):
    kept = await house.schedules.save(NIGHTLY)
    assert house.schedules.next_firing(kept) == at("2026-01-16T02:00")
    assert house.schedules.next_firing(schedule(enabled=False)) is None


# --- APScheduler itself, in real time -----------------------------------------------------------------


async def fired(house):
    """Wait until something was submitted."""
    async with asyncio.timeout(60):
        while not await house.jobs():  # noqa: ASYNC110  # APScheduler tells nobody
            await asyncio.sleep(0.01)


async def test_scheduler_wakes_and_fires():
    house = House(every=0.02)
    await house.schedules.start()
    await house.schedules.save(NIGHTLY)
    house.clock.time = at("2026-01-16T02:00")
    await fired(house)
    await house.schedules.close()
    assert await house.jobs() == ["s1-20260116T0100Z"]
    await house.schedules.close()


async def test_late_wake_up_is_not_dropped():
    house = House()
    soon = DateTrigger(datetime.now(UTC) + timedelta(seconds=0.05))
    schedules = Schedules(house.store, house.submit, house.clock, trigger=lambda _: soon)
    await schedules.start()
    await schedules.save(NIGHTLY)
    house.clock.time = at("2026-01-16T02:00")
    time.sleep(1.3)  # noqa: ASYNC251  # the event loop hangs for longer than APScheduler's own patience
    await fired(house)
    await schedules.close()


async def test_close_waits_for_what_is_being_submitted():
    house = House(every=0.02)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job):
        begun.set()
        await go_on.wait()
        return await house.store.submit(job)

    schedules = Schedules(house.store, slow, house.clock, trigger=lambda _: IntervalTrigger(seconds=0.02))
    await schedules.start()
    await schedules.save(NIGHTLY)
    house.clock.time = at("2026-01-16T02:00")
    await begun.wait()
    closing = asyncio.create_task(schedules.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    go_on.set()
    await closing
    assert await house.jobs() == ["s1-20260116T0100Z"]


async def test_true_trigger_wakes_at_the_next_time():
    house = House()
    schedules = Schedules(house.store, house.submit, house.clock)
    await schedules.start()
    before = datetime.now(UTC)
    await schedules.save(schedule(cron="* * * * *"))
    wake = schedules._scheduler.get_job("s1").next_run_time
    assert wake.second == wake.microsecond == 0
    assert before < wake <= datetime.now(UTC) + timedelta(minutes=1)
    await schedules.close()
