"""Jobs on a simulated box: what they leave behind, whatever comes between."""

from dataclasses import replace

import pytest

from gpumod.core.errors import GpumodError, StoreError
from gpumod.core.events import EventKind
from gpumod.core.job import JobPhase, JobState, Outcome
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.service import Desired, RunKey
from gpumod.core.spec import RestartPolicy, RestartWhen
from gpumod.core.switch import SwitchRecord, SwitchRequest
from gpumod.core.units import GIB

GPU = CardId("GPU-0")


async def test_a_job_measures_a_preset_alone_and_puts_the_mode_back(make_bench):
    bench = await make_bench()
    alone = []

    async def look(run):
        alone.append((bench.box.running(), run.endpoint.model, await run.memory()))

    bench.suite.on_case["qwen", "c0"] = look
    job = await bench.ended(await bench.submit("qwen"))
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert alone == [({"qwen"}, "qwen", {GPU: 20 * GIB})]
    assert bench.box.running() == {"gemma", "embed"}
    assert await bench.mode() == "chat"
    (result,) = await bench.queue.results(job.id)
    assert result.outcomes == {"ok": 3}
    assert result.integrity == ()
    assert result.provenance["services"][0]["id"] == "qwen"
    assert result.provenance["memory"] == {GPU: {"first": 20 * GIB, "peak": 20 * GIB}}
    assert await bench.leases() == []


async def test_targets_are_measured_in_order_and_each_has_its_result(make_bench):
    bench = await make_bench()
    job = await bench.ended(await bench.submit("qwen", "chat", "tiny"))
    assert job.state is JobState.DONE
    assert [target for target, case in bench.suite.ran if case == "c0"] == ["qwen", "chat", "tiny"]
    assert {result.target for result in await bench.queue.results(job.id)} == {"qwen", "chat", "tiny"}
    assert (job.progress.done, job.progress.total) == (9, 9)
    assert await bench.mode() == "chat"


async def test_a_mode_comes_back_with_what_was_changed_by_hand(make_bench):
    bench = await make_bench(cards=2)
    supervisor = bench.box.supervisor
    for request in (
        SwitchRequest(start=ServiceId("tiny"), preset=PresetId("tiny")),
        SwitchRequest(stop=ServiceId("embed")),
    ):
        begun = await supervisor.begin(request)
        await supervisor.wait(begun.id)
    before = await bench.mode()
    assert before == "chat with tiny without embed"
    await bench.ended(await bench.submit("qwen"))
    assert await bench.mode() == before
    assert bench.box.running() == {"gemma", "tiny"}


async def test_the_target_is_leased_while_it_is_measured(make_bench):
    bench = await make_bench()
    refused = []

    async def intrude(run):
        refused.append(await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("code"))))

    bench.suite.on_case["tiny", "c1"] = intrude
    bench.suite.seconds = 100.0  # beyond what one lease lasts
    job = await bench.ended(await bench.submit("tiny"))
    assert job.state is JobState.DONE
    assert not isinstance(refused[0], SwitchRecord)
    assert f"job {job.id} holds lease" in refused[0].reasons[0].detail


async def test_a_lease_that_somebody_released_is_taken_again(make_bench):
    bench = await make_bench()
    seen = []

    async def release(run):
        (lease,) = await bench.box.supervisor.leases.active()
        await bench.box.supervisor.leases.release(lease.id)
        await bench.box.clock.sleep(30)
        seen.extend(await bench.leases())

    bench.suite.on_case["qwen", "c0"] = release
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.DONE
    assert seen == [f"job {job.id}"]


async def test_a_cancelled_job_puts_the_mode_back_and_keeps_its_samples(make_bench):
    bench = await make_bench()

    async def cancel(run):
        await bench.queue.cancel("job-0", by="ann")
        await bench.box.clock.sleep(1000)

    bench.suite.on_case["qwen", "c1"] = cancel
    begun = bench.box.clock.now()
    job = await bench.ended(await bench.submit("qwen"))
    assert (job.state, job.reason) == (JobState.CANCELLED, "cancelled by ann")
    assert bench.box.clock.now() - begun < 100, "a case that runs is not waited for"
    assert [sample.case for sample in await bench.queue.samples(job.id)] == ["c0"]
    assert await bench.mode() == "chat"
    assert bench.box.running() == {"gemma", "embed"}
    assert await bench.leases() == []


async def test_a_job_cancelled_while_it_switches_takes_the_switch_back(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.SWITCHING)
    await bench.queue.cancel(job.id)
    assert (await bench.ended(job)).state is JobState.CANCELLED
    assert bench.suite.ran == []
    assert bench.box.running() == {"gemma", "embed"}


async def test_a_queued_job_is_cancelled_without_a_trace(make_bench):
    bench = await make_bench()
    first, second = await bench.submit("qwen"), await bench.submit("tiny")
    await bench.queue.cancel(second.id)
    await bench.ended(first)
    assert (await bench.queue.job(second.id)).state is JobState.CANCELLED
    assert {target for target, _ in bench.suite.ran} == {"qwen"}


async def test_a_refused_switch_fails_the_job_with_the_reasons(make_bench):
    bench = await make_bench()
    bench.box.hardware.foreign_grab(GPU, 1 * GIB)
    await bench.box.supervisor.leases.take("ann", 600, services=[ServiceId("gemma")])
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.FAILED
    assert "ann holds lease" in job.reason
    assert bench.box.running() == {"gemma", "embed"}


async def test_a_target_that_does_not_start_fails_the_job_and_the_mode_is_back(make_bench):
    bench = await make_bench()
    bench.box.engine.of(ServiceId("qwen")).warm_up_problem = "no answer"
    job = await bench.ended(await bench.submit("tiny", "qwen"))
    assert job.state is JobState.FAILED
    assert "qwen cannot be measured" in job.reason
    assert "no answer" in job.reason
    assert await bench.mode() == "chat"
    assert bench.box.running() == {"gemma", "embed"}
    assert [result.target for result in await bench.queue.results(job.id)] == ["tiny"]


@pytest.mark.parametrize("error", [GpumodError("no sandbox here"), ZeroDivisionError("oops")])
async def test_a_suite_that_cannot_go_on_fails_the_job(make_bench, error):
    bench = await make_bench()

    async def fail(run):
        raise error

    bench.suite.on_case["qwen", "c1"] = fail
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.FAILED
    assert str(error) in job.reason
    assert await bench.mode() == "chat"


async def test_a_forced_switch_cancels_the_job_and_stays(make_bench):
    bench = await make_bench()

    async def force(run):
        await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("spare"), force=True, by="ann"))
        await bench.box.clock.sleep(1000)

    bench.suite.on_case["qwen", "c1"] = force
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.CANCELLED
    assert job.reason == "forced past by ann: switch to spare"
    await bench.box.clock.sleep(100)
    assert await bench.mode() == "spare"
    assert bench.box.running() == {"tiny"}
    assert await bench.leases() == []
    assert [sample.case for sample in await bench.queue.samples(job.id)] == ["c0"]


async def test_a_forced_switch_to_the_former_mode_is_not_undone(make_bench):
    bench = await make_bench()

    async def force(run):
        await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("chat"), force=True, by="ann"))
        await bench.box.clock.sleep(1000)

    bench.suite.on_case["qwen", "c0"] = force
    job = await bench.ended(await bench.submit("qwen", "tiny"))
    assert job.state is JobState.CANCELLED
    assert {target for target, _ in bench.suite.ran} == {"qwen"}
    assert await bench.mode() == "chat"


async def test_a_forced_blank_pre_empts_the_switch_of_a_job(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.SWITCHING)
    while (await bench.box.supervisor.status()).switch is None:
        await bench.box.clock.sleep(0.001)
    await bench.box.blank()
    job = await bench.ended(job)
    assert job.state is JobState.CANCELLED
    assert job.reason.startswith("forced past")
    await bench.box.clock.sleep(100)
    assert await bench.mode() == "blank"
    assert bench.box.running() == set()


async def test_a_forced_switch_that_comes_while_the_box_is_put_back_stays(make_bench):
    bench = await make_bench()
    job = await bench.submit("qwen")
    await bench.phase(job, JobPhase.RESTORING)
    while (await bench.box.supervisor.status()).switch is None:
        await bench.box.clock.sleep(0.001)
    await bench.box.blank()
    job = await bench.ended(job)
    assert job.state is JobState.DONE
    assert await bench.mode() == "blank"


async def test_somebody_who_starts_a_service_beside_fails_the_integrity_alone(make_bench):
    bench = await make_bench(start="code", cards=1)

    async def beside(run):
        begun = await bench.box.supervisor.begin(SwitchRequest(start=ServiceId("tiny"), by="ann"))
        await bench.box.supervisor.wait(begun.id)

    bench.suite.on_case["gemma", "c0"] = beside
    job = await bench.ended(await bench.submit("gemma"))
    assert job.state is JobState.DONE
    (result,) = await bench.queue.results(job.id)
    assert result.integrity == (f"tiny ran beside on {GPU} meanwhile",)
    assert await bench.mode() == "code"


async def test_foreign_use_of_the_card_fails_the_integrity(make_bench):
    bench = await make_bench()

    async def grab(run):
        bench.box.hardware.foreign_grab(GPU, 1 * GIB, pid=777)

    bench.suite.on_case["qwen", "c2"] = grab
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.DONE
    (result,) = await bench.queue.results(job.id)
    assert len(result.integrity) == 1
    assert "pid 777" in result.integrity[0]
    assert "1024 MiB" in result.integrity[0]


@pytest.mark.parametrize("outcome", [Outcome.DISCONNECTED, Outcome.REFUSED, Outcome.TIMEOUT])
async def test_an_engine_that_dies_is_restarted_and_the_job_goes_on(make_bench, outcome):
    bench = await make_bench()
    bench.suite.seconds = 0.2
    up = []

    async def die(run):
        bench.box.processes.end(_key(bench, "qwen"), code=1)
        return outcome

    async def look(run):
        up.append("qwen" in bench.box.running())

    bench.suite.on_case["qwen", "c1"] = look

    bench.suite.on_case["qwen", "c0"] = die
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.DONE
    (result,) = await bench.queue.results(job.id)
    assert result.outcomes == {outcome.value: 1, "ok": 2}
    assert up == [True]
    assert "qwen was restarted meanwhile" in result.integrity
    assert await bench.mode() == "chat"


async def test_an_engine_that_stays_down_fails_the_job_and_the_mode_is_back(make_bench):
    bench = await make_bench()
    catalog = bench.box.catalog
    never = RestartPolicy(when=RestartWhen.NEVER)
    presets = tuple(replace(one, restart=never) if one.id == "qwen" else one for one in catalog.presets)
    object.__setattr__(catalog, "presets", presets)

    async def die(run):
        bench.box.processes.end(_key(bench, "qwen"), code=1)
        return Outcome.DISCONNECTED

    bench.suite.on_case["qwen", "c0"] = die
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.FAILED
    assert "qwen is down" in job.reason
    assert await bench.mode() == "chat"
    assert bench.box.running() == {"gemma", "embed"}


async def test_jobs_run_one_at_a_time_by_priority(make_bench):
    bench = await make_bench()
    slow = await bench.submit("tiny")
    await bench.phase(slow, JobPhase.MEASURING)
    low, high = await bench.submit("qwen"), await bench.submit("gemma", priority=5)
    for job in (slow, low, high):
        assert (await bench.ended(job)).state is JobState.DONE
    assert [target for target, case in bench.suite.ran if case == "c0"] == ["tiny", "gemma", "qwen"]
    assert await bench.mode() == "chat"


async def test_progress_is_told_with_the_time_to_go(make_bench):
    bench = await make_bench()
    job = await bench.ended(await bench.submit("qwen"))
    await bench.box.supervisor.events.flush()
    told = [event for event in await bench.box.store.events() if event.kind is EventKind.JOB]
    steps = [event.data for event in told if event.data.get("done") is not None]
    assert [(step["done"], step["total"], step["seconds_left"]) for step in steps] == [
        (0, 3, None),
        (1, 3, pytest.approx(20.0, abs=1.0)),
        (2, 3, pytest.approx(10.0, abs=1.0)),
    ]
    assert told[-1].message == f"job {job.id} (scripted) is done"


async def test_a_store_that_fails_for_a_while_delays_the_job(make_bench):
    bench = await make_bench(idle=1.0, stale=20.0)

    broken = []

    async def break_store(run):
        bench.jobs.fail(StoreError("disk full"))
        broken.append(run)

    async def is_broken():
        return bool(broken)

    bench.suite.on_case["qwen", "c0"] = break_store
    job = await bench.submit("qwen")
    await bench.until(is_broken)
    await bench.box.clock.sleep(60)
    bench.jobs.heal()
    job = await bench.ended(job)
    assert job.state is JobState.DONE
    assert await bench.mode() == "chat"


async def test_a_job_whose_former_mode_is_gone_says_so(make_bench):
    bench = await make_bench(put_back_pause=1.0)

    async def lose(run):
        object.__setattr__(
            bench.box.catalog,
            "modes",
            tuple(one for one in bench.box.catalog.modes if one.id != "chat"),
        )

    bench.suite.on_case["qwen", "c0"] = lose
    job = await bench.ended(await bench.submit("qwen"))
    assert job.state is JobState.FAILED
    assert "could not be put back to chat" in job.reason
    assert len(await bench.queue.results(job.id)) == 1


async def test_a_job_waits_for_a_switch_under_way_and_remembers_its_end(make_bench):
    bench = await make_bench()
    await bench.box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    job = await bench.ended(await bench.submit("tiny"))
    assert job.state is JobState.DONE
    assert job.former.same(Desired("code"))
    assert await bench.mode() == "code"


async def test_a_retried_job_does_only_what_is_left(make_bench):
    bench = await make_bench()

    async def fail(run):
        raise GpumodError("not today")

    bench.suite.on_case["qwen", "c1"] = fail
    job = await bench.ended(await bench.submit("qwen"))
    bench.suite.ran.clear()
    await bench.queue.retry(job.id)
    assert (await bench.ended(job)).state is JobState.DONE
    assert bench.suite.ran == [("qwen", "c1"), ("qwen", "c2")]
    bench.suite.ran.clear()
    await bench.queue.retry(job.id, afresh=True)
    assert (await bench.ended(job)).state is JobState.DONE
    assert len(bench.suite.ran) == 3


def _key(bench, name):
    record = next(one for one in bench.box.supervisor._world.all() if one.id == name)
    return RunKey(ServiceId(name), record.generation)
