"""A worker, or the whole daemon, ends without a word at each phase of a job; the next one goes on."""

import pytest

from gpumod.core.job import JobPhase, JobState
from gpumod.core.names import ModeId
from gpumod.core.switch import SwitchRequest

PHASES = list(JobPhase)


async def drop(bench, how):
    """End the worker as kill -9 does for its job: nothing is written any more."""
    if how == "daemon":
        await bench.restart()
    elif how == "reboot":
        await bench.worker.close()
        await bench.box.supervisor.close()
        bench.box.processes.reboot()
        await bench.box.restart(rebooted=True)
        bench.begin()
    else:
        await bench.worker.close()
        bench.begin()


@pytest.mark.parametrize("how", ["worker", "daemon", "reboot"])
@pytest.mark.parametrize("delay", [0.0, 0.3, 12.0])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_job_survives_at_each_phase(make_bench, phase, delay, how):
    bench = await make_bench()
    job = await bench.submit("qwen", "tiny")
    await bench.phase(job, phase)
    await bench.box.clock.sleep(delay)
    await drop(bench, how)
    job = await bench.ended(job)
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert await bench.mode() == "chat"
    assert bench.box.running() == {"gemma", "embed"}
    assert await bench.leases() == []
    results = await bench.queue.results(job.id)
    assert {result.target: result.outcomes for result in results} == {"qwen": {"ok": 3}, "tiny": {"ok": 3}}


async def test_no_sample_is_taken_twice(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    for count in (1, 2):

        async def enough(count=count):
            return len(await bench.jobs.samples(job.id)) >= count

        await bench.until(enough)
        await bench.box.clock.sleep(3.0)
        await drop(bench, "daemon")
    await bench.ended(job)
    kept = await bench.queue.samples(job.id)
    assert [sample.case for sample in kept] == ["c0", "c1", "c2"]
    begun = [case for _, case in bench.suite.ran]
    assert begun == ["c0", "c1", "c1", "c2", "c2"], "only the case that was cut is done again"


@pytest.mark.parametrize("how", ["worker", "daemon"])
@pytest.mark.parametrize("phase", [JobPhase.SWITCHING, JobPhase.MEASURING, JobPhase.RESTORING])
async def test_a_cancelled_job_is_put_back_by_the_next_daemon(make_bench, phase, how):
    bench = await make_bench()
    job = await bench.submit("qwen", "tiny")
    await bench.phase(job, JobPhase.MEASURING if phase is JobPhase.RESTORING else phase)
    if phase is JobPhase.RESTORING:
        await bench.queue.cancel(job.id)
        await bench.phase(job, phase)
        await drop(bench, how)
    else:
        await bench.worker.close()
        await bench.queue.cancel(job.id)
        await drop(bench, how)
    job = await bench.ended(job)
    assert (job.state, job.reason) == (JobState.CANCELLED, "cancelled")
    assert await bench.mode() == "chat"
    assert bench.box.running() == {"gemma", "embed"}


async def test_a_failed_job_that_is_interrupted_while_it_puts_back_stays_failed(make_bench):
    bench = await make_bench()
    bench.box.engine.of("qwen").warm_up_problem = "no answer"
    job = await bench.submit("tiny", "qwen")
    await bench.phase(job, JobPhase.RESTORING)
    await drop(bench, "daemon")
    job = await bench.ended(job)
    assert job.state is JobState.FAILED
    assert "no answer" in job.reason
    assert await bench.mode() == "chat"


async def test_who_takes_the_box_while_no_worker_looks_keeps_it(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.MEASURING)
    await bench.worker.close()
    begun = await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("spare"), force=True, by="ann"))
    await bench.box.supervisor.wait(begun.id)
    await drop(bench, "daemon")
    job = await bench.ended(job)
    assert (job.state, job.reason) == (JobState.CANCELLED, "forced past by ann: switch to spare")
    assert await bench.mode() == "spare"


async def test_a_job_with_another_owner_is_left_alone(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.MEASURING)
    now = bench.box.clock.now()
    assert await bench.jobs.claim("another", now, stale=0.0) is not None
    await bench.box.clock.sleep(30)
    assert bench.box.running() == {"qwen"}
    left = await bench.queue.job(job.id)
    assert (left.state, left.owner) == (JobState.RUNNING, "another")
