"""Visits of other modes in the middle of a case, and whatever comes between."""

import pytest

from gpumod.bench.worker.interrupts import Lost
from gpumod.core.errors import GpumodError, InvalidRequestError
from gpumod.core.job import JobPhase, JobState
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.plan import StepKind
from gpumod.core.service import RunKey
from gpumod.core.switch import SwitchRequest, SwitchState
from tests.bench.test_worker_crash import drop

CHAT = {"gemma", "embed"}


class Visitor:
    """Visits a mode in a case of `qwen`, and keeps what it saw."""

    def __init__(self, bench, mode="blank", case="c1", stay=5.0):
        self.bench, self.mode, self.stay = bench, mode, stay
        self.seen, self.records, self.error = [], [], ""
        self.fails = ""
        bench.suite.on_case["qwen", case] = self.visit

    async def visit(self, run):
        try:
            self.records.extend(await run.visit(self.mode, self.meanwhile))
        except GpumodError as error:
            self.error = error.detail
        self.after = (self.bench.box.running(), await self.bench.leases(), run.endpoint)

    async def meanwhile(self):
        self.seen.append((self.bench.box.running(), await self.bench.leases()))
        if self.fails:
            raise InvalidRequestError(self.fails)
        await self.bench.box.clock.sleep(self.stay)

    async def there(self):
        return bool(self.seen)


async def done(bench, job):
    """The result of a job that has put the box back."""
    job = await bench.ended(job)
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert bench.box.running() == CHAT
    assert await bench.leases() == []
    (result,) = await bench.queue.results(job.id)
    return result


async def on_its_way(bench, job):
    """Wait for the switch of a visit."""
    await bench.phase(job, JobPhase.MEASURING)
    await bench.phase(job, JobPhase.SWITCHING)
    while (await bench.box.supervisor.status()).switch is None:
        await bench.box.clock.sleep(0.001)


@pytest.mark.parametrize(("mode", "runs"), [("blank", set()), ("spare", {"tiny"})])
async def test_a_visit_is_there_and_back_and_says_nothing_against_the_result(make_bench, mode, runs):
    bench = await make_bench()
    visitor = Visitor(bench, mode)
    job = await bench.submit("qwen")
    result = await done(bench, job)
    assert visitor.seen == [(runs, [])], "no lease is held on the way"
    running, leases, endpoint = visitor.after
    assert (running, leases) == ({"qwen"}, [f"job {job.id}"])
    assert endpoint.url.startswith("http://127.0.0.1:")
    there, back = visitor.records
    assert (there.target, back.state) == (mode, SwitchState.COMMITTED)
    assert StepKind.START in {step.kind for step in back.steps}
    assert result.outcomes == {"ok": 3}
    assert result.integrity == ()


async def test_an_engine_that_dies_after_a_visit_still_speaks_against_the_result(make_bench):
    bench = await make_bench()
    Visitor(bench, case="c0")

    async def die(run):
        record = next(one for one in (await bench.box.supervisor.status()).services if one.id == "qwen")
        bench.box.processes.end(RunKey(ServiceId("qwen"), record.generation), code=1)

    bench.suite.on_case["qwen", "c1"] = die
    result = await done(bench, await bench.submit("qwen"))
    assert "qwen was restarted meanwhile" in result.integrity


async def test_what_is_done_on_the_way_may_fail_and_the_box_comes_back(make_bench):
    bench = await make_bench()
    visitor = Visitor(bench)
    visitor.fails = "not this"
    result = await done(bench, await bench.submit("qwen"))
    assert visitor.error == "not this"
    assert visitor.after[0] == {"qwen"}
    assert result.integrity == ()


async def test_a_mode_that_does_not_start_is_told_and_the_target_is_back(make_bench):
    bench = await make_bench()
    bench.box.engine.of(ServiceId("tiny")).warm_up_problem = "no answer"
    visitor = Visitor(bench, "spare")
    result = await done(bench, await bench.submit("qwen"))
    assert "no answer" in visitor.error
    assert visitor.after[0] == {"qwen"}
    assert result.outcomes == {"ok": 3}
    assert result.integrity == ()


@pytest.mark.parametrize("mode", ["nowhere", "qwen"])
async def test_there_has_to_be_such_a_mode(make_bench, mode):
    bench = await make_bench()
    visitor = Visitor(bench, mode)
    await done(bench, await bench.submit("qwen"))
    assert f"no mode {mode}" in visitor.error


async def test_one_visit_at_a_time(make_bench):
    bench = await make_bench()
    errors = []

    async def visit(run):
        async def again():
            with pytest.raises(GpumodError, match="under way") as caught:
                await run.visit("spare")
            errors.append(caught.value)

        await run.visit("blank", again)

    bench.suite.on_case["qwen", "c0"] = visit
    await done(bench, await bench.submit("qwen"))
    assert len(errors) == 1


async def test_a_job_cancelled_on_a_visit_puts_the_mode_back(make_bench):
    bench = await make_bench()
    visitor = Visitor(bench, stay=1000.0)
    job = await bench.submit("qwen")
    await bench.until(visitor.there)
    await bench.queue.cancel(job.id)
    job = await bench.ended(job)
    assert job.state is JobState.CANCELLED
    assert bench.box.running() == CHAT
    assert await bench.leases() == []


async def test_a_job_cancelled_on_its_way_takes_that_switch_back(make_bench):
    bench = await make_bench()
    Visitor(bench, "spare", case="c0")
    job = await bench.submit("qwen")
    await on_its_way(bench, job)
    await bench.queue.cancel(job.id)
    assert (await bench.ended(job)).state is JobState.CANCELLED
    assert bench.box.running() == CHAT
    assert SwitchState.ROLLED_BACK in {one.state for one in await bench.box.supervisor.switches()}


async def test_who_takes_the_box_while_a_job_is_elsewhere_keeps_it(make_bench):
    bench = await make_bench()
    visitor = Visitor(bench, stay=1000.0)
    job = await bench.submit("qwen")
    await bench.until(visitor.there)
    begun = await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="ann"))
    await bench.box.supervisor.wait(begun.id)
    job = await bench.ended(job)
    assert (job.state, job.reason) == (JobState.CANCELLED, "forced past by ann: switch to code")
    assert await bench.mode() == "code"


async def test_a_job_that_has_another_owner_meanwhile_touches_nothing_any_more(make_bench):
    bench = await make_bench()

    async def meanwhile():
        assert await bench.jobs.claim("another", bench.box.clock.now(), stale=0.0) is not None

    errors = []

    async def visit(run):
        try:
            await run.visit("blank", meanwhile)
        except Lost as error:
            errors.append(error)
            raise

    bench.suite.on_case["qwen", "c0"] = visit
    job = await bench.submit("qwen")

    async def lost():
        return bool(errors)

    await bench.until(lost)
    await bench.box.clock.sleep(30)
    assert bench.box.running() == set()
    assert (await bench.queue.job(job.id)).owner == "another"


async def test_a_forced_blank_in_the_middle_of_a_way_stays(make_bench):
    bench = await make_bench()
    Visitor(bench, "spare", case="c0")
    job = await bench.submit("qwen")
    await on_its_way(bench, job)
    await bench.box.blank()
    job = await bench.ended(job)
    assert job.state is JobState.CANCELLED
    assert job.reason.startswith("forced past")
    await bench.box.clock.sleep(100)
    assert await bench.mode() == "blank"


@pytest.mark.parametrize("how", ["worker", "daemon", "reboot"])
@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0, 12.0])
async def test_a_job_survives_on_its_way(make_bench, delay, how):
    bench = await make_bench()
    Visitor(bench, "spare", case="c0", stay=30.0)
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.MEASURING)
    await bench.phase(job, JobPhase.SWITCHING)
    await bench.box.clock.sleep(delay)
    await drop(bench, how)
    result = await done(bench, job)
    assert result.outcomes == {"ok": 3}


async def test_a_job_whose_suite_cannot_run_any_more_leaves_the_box_alone(make_bench):
    bench = await make_bench()
    first = await bench.submit("tiny")
    second = await bench.submit("qwen")

    async def lose(run):
        bench.suite.hindered = "the sandbox is gone"

    bench.suite.on_case["tiny", "c2"] = lose
    assert (await bench.ended(first)).state is JobState.DONE
    second = await bench.ended(second)
    assert (second.state, second.reason) == (
        JobState.FAILED,
        "scripted cannot run here: the sandbox is gone",
    )
    assert second.former is None
    assert "qwen" not in {one.target for one in await bench.box.supervisor.switches()}
