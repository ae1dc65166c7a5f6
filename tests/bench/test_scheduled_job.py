"""A schedule on a simulated box, from its firing to the result."""

from dataclasses import replace

import pytest

from gpumod.bench.schedules import Schedules
from gpumod.core.errors import InvalidRequestError
from gpumod.core.events import EventKind
from gpumod.core.job import JobRequest, JobState, Schedule, ScheduleId

HOURLY = Schedule(ScheduleId("hourly"), "0 * * * *", "UTC", JobRequest("scripted", ("qwen",)), 0.0)


@pytest.fixture
async def fires(make_bench):
    bench = await make_bench()
    schedules = Schedules(bench.jobs, bench.queue.add, bench.box.clock)

    async def save(schedule=HOURLY):
        kept = await schedules.save(schedule)
        await bench.box.clock.sleep(schedules.next_firing(kept) - bench.box.clock.now())

    yield bench, schedules, save
    await schedules.close()


async def test_scheduled_job_is_measured_and_told_once(fires):
    bench, schedules, save = fires
    await save()
    await schedules.fire("hourly")
    (job,) = await bench.queue.jobs()
    ended = await bench.ended(job)
    assert (ended.state, ended.schedule) == (JobState.DONE, "hourly")
    assert (await bench.queue.results(job.id))[0].outcomes == {"ok": 3}
    before = len(await bench.box.store.events())
    again = replace(job, created=bench.box.clock.now())
    assert await bench.queue.add(again) == ended, "its minute has had its job"
    assert len(await bench.box.store.events()) == before
    queued = [
        event
        for event in await bench.box.store.events()
        if event.kind is EventKind.JOB and "is queued" in event.message
    ]
    assert [event.subject for event in queued] == [job.id]


async def test_scheduled_job_whose_preset_is_gone_is_listed_as_failed(fires):
    bench, schedules, save = fires
    await save(replace(HOURLY, request=JobRequest("scripted", ("gone",))))
    await schedules.fire("hourly")
    (job,) = await bench.queue.jobs()
    assert job.state is JobState.FAILED
    assert "gone" in job.reason


async def test_scheduled_job_that_cannot_run_here_is_listed_as_failed(fires):
    bench, schedules, save = fires
    await save()
    bench.suite.hindered = "there is no sandbox"
    await schedules.fire("hourly")
    (job,) = await bench.queue.jobs()
    assert (job.state, job.reason) == (JobState.FAILED, "scripted cannot run here: there is no sandbox")


async def test_schedule_is_checked_before_it_is_kept(fires):
    _, schedules, _ = fires
    with pytest.raises(InvalidRequestError, match="the minute 'x'"):
        await schedules.save(replace(HOURLY, cron="x * * * *"))
