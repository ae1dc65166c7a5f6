"""The suite `switch`: its numbers by hand, and on a simulated box."""

from dataclasses import replace

import pytest

from gpumod.bench.suites import SUITES
from gpumod.bench.suites.switch.numbers import of_switch, seconds_of, unavailable
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import JobRequest, JobState
from gpumod.core.job_ports import Endpoint
from gpumod.core.names import BLANK, ServiceId, SwitchId
from gpumod.core.plan import StepKind
from gpumod.core.switch import Phase, StepRecord, StepState, SwitchRecord, SwitchRequest, SwitchState
from gpumod.core.units import GIB

SUITE = SUITES["switch"]()


def step(kind, start, end, service="qwen"):
    return StepRecord(
        Phase.DO, 0, kind, kind.value, ServiceId(service), state=StepState.DONE, started=start, ended=end
    )


def switch(*steps, start=100.0, end=130.0):
    return SwitchRecord(
        SwitchId("s1"), SwitchRequest(), BLANK, BLANK, SwitchState.COMMITTED, start, end, steps=steps
    )


THERE = switch(
    step(StepKind.CLOSE, 101.0, 101.5),
    step(StepKind.DRAIN, 102.0, 105.0),
    step(StepKind.DRAIN, 103.0, 107.0, "embed"),
    step(StepKind.STOP, 107.0, 111.0),
    step(StepKind.STOP, 120.0, 121.0, "embed"),
    step(StepKind.RELEASE, 121.0, 122.25),
    step(StepKind.COMMIT, 122.25, None),
)


def test_steps_that_run_at_once_count_once():
    assert of_switch(THERE, "there") == {
        "switch.total.v1@there": 30.0,
        "switch.close.v1@there": 0.5,
        "switch.drain.v1@there": 5.0,
        "switch.stop.v1@there": 5.0,
        "switch.release.v1@there": 1.25,
        "switch.commit.v1@there": 0.0,
    }
    inside = [step(StepKind.STOP, 0.0, 9.0), step(StepKind.STOP, 1.0, 2.0), step(StepKind.STOP, 3.0, 4.0)]
    assert seconds_of(inside) == 9.0


def test_the_target_cannot_be_asked_from_its_closing_until_it_is_back():
    back = switch(step(StepKind.START, 200.0, 201.0), start=200.0, end=212.0)
    assert unavailable(THERE, back) == {"switch.unavailable.v1": 29.0 + 12.0}
    assert unavailable(replace(THERE, steps=()), back) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 1}, "it has other, repeats"),
        ({"other": ""}, "name of a mode"),
        ({"other": 7}, "name of a mode"),
        ({"repeats": 0}, "1 to 1000"),
        ({"repeats": True}, "1 to 1000"),
    ],
)
def test_wrong_parameters_are_refused(given, words):
    with pytest.raises(InvalidRequestError, match=words):
        SUITE.parameters(given)


def test_the_other_mode_is_another_one():
    endpoint = Endpoint("chat", "http://127.0.0.1:1", "chat", "llama.cpp")
    with pytest.raises(InvalidRequestError, match="another mode"):
        SUITE.cases({"other": "chat", "repeats": 1}, endpoint)


async def measured(make_bench, parameters, target="qwen", prepare=lambda bench: None):
    """A job of the suite on a simulated box: how it ended, its samples and its result."""
    bench = await make_bench()
    prepare(bench)
    bench.suites["switch"] = SUITES["switch"]
    job = await bench.queue.submit(JobRequest("switch", (target,), parameters))
    job = await bench.ended(job)
    assert bench.box.running() == {"gemma", "embed"}, "the former mode is back"
    results = await bench.queue.results(job.id)
    return job, await bench.queue.samples(job.id), results[0] if results else None


async def test_a_box_that_goes_to_another_mode_and_back(make_bench):
    job, samples, result = await measured(make_bench, {"other": "spare", "repeats": 2})
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert result.integrity == ()
    assert result.outcomes == {"ok": 2}
    found = {one.formula: one for one in result.metrics}
    assert found["switch.total.v1@there"].count == 2
    assert found["switch.memory.v1@back"].value == 20 * GIB
    for way in ("there", "back"):
        parts = [found[f"switch.{kind}.v1@{way}"].value for kind in ("stop", "release", "start", "ready")]
        assert 0 < sum(parts) <= found[f"switch.total.v1@{way}"].value
    steps = samples[0].details["back"]["steps"]
    assert ("start", "qwen") in {(one["kind"], one["service"]) for one in steps}


async def test_a_switch_that_is_refused_is_the_outcome(make_bench):
    def take(bench):
        bench.box.engine.of(ServiceId("tiny")).warm_up_problem = "no answer"

    job, samples, result = await measured(make_bench, {"other": "spare", "repeats": 1}, prepare=take)
    assert job.state is JobState.DONE
    assert result.outcomes == {"refused": 1}
    assert "no answer" in samples[0].details["error"]
    assert result.metrics == ()


async def test_without_such_a_mode_the_job_fails(make_bench):
    job, samples, _ = await measured(make_bench, {"other": "nowhere"})
    assert (job.state, job.reason) == (JobState.FAILED, "there is no mode nowhere to go to")
    assert samples == ()


async def test_numbers_of_a_card_are_the_targets(make_bench):
    _, samples, _ = await measured(make_bench, {"repeats": 1}, target="chat")
    assert samples[0].numbers["switch.memory.v1@there"] == samples[0].numbers["switch.memory.v1@back"] > 0
