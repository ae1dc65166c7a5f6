"""Benchmark jobs on a real card: what they measure and say of the card, and that the box is put back."""

import json
import time
from typing import Any

import pytest

from gpumod.client import Work
from gpumod.core.job import JobState, Outcome
from gpumod.core.switch import BoxState
from gpumod.core.units import GIB, MIB
from tests.gpu.report import mib, ms

pytestmark = pytest.mark.gpu

SPEED: dict[str, Any] = {"depths": [512, 4096], "concurrency": [2], "tokens": 48, "repeats": 6}
SMALL: dict[str, Any] = {"depths": [512], "concurrency": [], "tokens": 48, "repeats": 6}
STRESS = {
    "context": 8192,
    "depths": [0.5, 0.9],
    "positions": [0.5],
    "turns": 4,
    "again": 3,
    "storm": 4,
    "tokens": 64,
    "reasoning_tokens": 128,
}
SOAK = {"sessions": 8, "turns": 3, "tokens": 32, "sentences": 20}
FOREIGN = 1 * GIB
LONG = 600.0
"""Seconds after which a job hangs."""
SAID = {Outcome.OK, Outcome.WRONG, Outcome.CUT, Outcome.EMPTY}
"""How a case may end whose model speaks nonsense, and whose engine is well."""


@pytest.fixture
def box(capped_box, witness):
    """The mode a serves; b does not fit beside it."""
    box, _ = capped_box(slots=2)
    box.start()
    assert box.switch("a").state == "committed"
    return box


def test_speed_of_two_models_is_measured_compared_and_the_mode_is_back(
    box, inputs, card, needs, witness, report
):
    scene = report.scene("Jobs: speed of a and b, submitted in mode a")
    began = time.time()
    job = _submit(box, "speed", ["a", "b"], SPEED)
    box.wait_until("it holds the box", lambda: _leases(box))
    ended = _done(box, job)
    scene.note("the job took", f"{ended.ended - ended.started:.1f} s, {ended.progress.done} samples")
    results = {one.target: one for one in _results(box, job)}
    for target, result in sorted(results.items()):
        _note_metrics(scene, target, result)
    for record in _switches_since(box, began):
        scene.switch(f"to {record.target}, for the job", record, witness)

    _assert_back(box, "a")
    for target, model in (("a", inputs.a), ("b", inputs.b)):
        _assert_believable(results[target], target, model, card, needs)
    _compare(box, scene, job, _done(box, _submit(box, "speed", ["a"], SMALL)).id)


def test_stress_and_soak_of_a_model_that_speaks_nonsense_end_as_wrong_answers(box, card, report):
    scene = report.scene("Jobs: stress and soak of a")
    jobs = [_submit(box, "stress", ["a"], STRESS), _submit(box, "soak", ["a"], SOAK)]
    told: set[str] = set()
    for suite, job in zip(("stress", "soak"), jobs, strict=True):
        ended = _done(box, job)
        (result,) = _results(box, job)
        scene.note(
            f"{suite} took", f"{ended.ended - ended.started:.1f} s, {json.dumps(dict(result.outcomes))}"
        )
        scene.note(f"{suite}: integrity", "; ".join(result.integrity) or "nothing speaks against it")
        for metric in result.metrics:
            if card.uuid in metric.formula or "passed" in metric.formula or "storm" in metric.formula:
                scene.note(metric.formula, _worded(metric))
        for sample in _samples(box, job):
            if sample.details.get("why"):
                scene.note(f"{suite}: {sample.case}", f"{sample.outcome}: {sample.details['why']}"[:300])
        assert set(result.outcomes) <= SAID
        assert result.integrity == ()
        told |= {one.formula for one in result.metrics}
    for formula in ("stress.repeat.growth.v1", "soak.memory.request.v1", "soak.memory.growth.v1"):
        assert f"{formula}@{card.uuid}" in told, "growth is told per card"
    _assert_back(box, "a")


def test_a_job_whose_daemon_is_killed_goes_on_and_puts_the_mode_back(box, report):
    scene = report.scene("Jobs: kill -9 of the daemon while b is measured")
    job = _submit(box, "speed", ["b"], SMALL)
    box.wait_until("it has measured something", lambda: len(_samples(box, job)) >= 2)
    before = _generation(box, "b")
    box.kill()
    kept = time.monotonic()
    box.start()
    scene.note("a new daemon answers after", ms(time.monotonic() - kept))
    adopted = _generation(box, "b")
    ended = _done(box, job)
    samples = _samples(box, job)
    (result,) = _results(box, job)
    scene.note("the job took", f"{ended.ended - ended.started:.1f} s, in {ended.attempt} attempts")
    scene.note("b was launched again by the new daemon", "yes" if adopted != before else "no")
    scene.note("integrity", "; ".join(result.integrity) or "nothing speaks against it")

    assert ended.attempt == 2
    assert adopted == before
    assert len({one.case for one in samples}) == len(samples) == SMALL["repeats"]
    assert result.outcomes == {"ok": SMALL["repeats"]}
    _assert_back(box, "a")


def test_memory_that_others_take_during_a_job_speaks_against_its_result(box, card, hold_memory, report):
    scene = report.scene("Jobs: a foreign process takes memory of the card meanwhile")
    job = _submit(box, "speed", ["a"], SMALL)
    box.wait_until("it has measured something", lambda: _samples(box, job))
    holder = hold_memory(FOREIGN)
    ended = _done(box, job)
    (result,) = _results(box, job)
    scene.note("it took", mib(FOREIGN))
    scene.note("integrity", "; ".join(result.integrity))

    assert ended.state is JobState.DONE
    (sentence,) = result.integrity
    assert f"(pid {holder.pid})" in sentence
    assert "holder.py" in sentence
    assert card.uuid in sentence
    _assert_back(box, "a")


# --- helpers --------------------------------------------------------------------------------------


def _submit(box, suite, targets, parameters):
    with box.client() as client:
        return client.submit_job(Work(suite, targets, parameters)).id


def _done(box, job):
    """Wait for a job, which has to work."""

    def over():
        with box.client() as client:
            return client.job(job).state.ended

    box.wait_until(f"job {job} is over", over, LONG)
    with box.client() as client:
        ended = client.job(job)
    assert (ended.state, ended.reason) == (JobState.DONE, ""), box.log()
    return ended


def _results(box, job):
    with box.client() as client:
        return client.results(job)


def _samples(box, job):
    with box.client() as client:
        return client.samples(job)


def _leases(box):
    with box.client() as client:
        return client.leases()


def _generation(box, service):
    with box.client() as client:
        return client.service(service).generation


def _switches_since(box, moment):
    with box.client() as client:
        records = [client.switch_record(one.id) for one in client.switches(20)]
    return sorted((one for one in records if one.started >= moment), key=lambda one: one.started)


def _assert_back(box, mode):
    """The box is in its former mode, and nobody holds it."""
    with box.client() as client:
        status = client.status()
    assert (status.mode, status.state, status.leases) == (mode, BoxState.SETTLED, ())


def _assert_believable(result, target, model, card, needs):
    """Numbers of the right size, and what ran on what."""
    assert result.outcomes == {"ok": 3 * SPEED["repeats"]}
    assert result.integrity == ()
    values = {one.formula: one.value for one in result.metrics}
    for name in ("ttft", "prefill.client", "prefill.server", "decode.client", "decode.server"):
        assert all(values[f"speed.{name}.v1@{depth}"] > 0 for depth in SPEED["depths"])
    assert values["speed.throughput.v1@2"] > 0
    idle, peak = values["speed.memory.idle.v1"], values["speed.memory.peak.v1"]
    assert 0 < idle <= peak <= needs[target] + 256 * MIB
    whole = result.provenance
    (service,), (seen,) = whole["services"], whole["cards"]
    assert (service["id"], service["engine"]) == (target, "llama.cpp")
    assert service["files"][0]["size"] == model.path.stat().st_size
    assert str(model.path) in service["argv"]
    assert (seen["id"], seen["name"]) == (card.uuid, card.name)
    assert seen["power_limit_watts"] is None or seen["power_limit_watts"] > 0
    assert whole["driver"]


def _compare(box, scene, first, second):
    """The two models of a job, and one model in two jobs."""
    named = {"a and b of one job": (f"{first}/a", f"{first}/b"), "a twice": (f"{first}/a", f"{second}/a")}
    axes = {}
    for title, results in named.items():
        told = box.ctl("bench", "compare", *results)
        lines = [line.strip() for line in told.stdout.splitlines() if line.strip()]
        scene.note(f"bench compare, {title}", f"exit {told.returncode}; " + " / ".join(lines))
        assert told.returncode == 0, told.stderr
        with box.client() as client:
            (compared,) = client.compare(*results).comparisons
        axes[title] = {axis.name for axis in compared.axes}
        assert compared.pairs[0].findings
        assert compared.not_comparable == ()
    assert {"model", "context"} <= axes["a and b of one job"]
    assert not {"model", "context", "binary", "card"} & axes["a twice"]


def _note_metrics(scene, target, result):
    whole = result.provenance
    (service,), (seen,) = whole["services"], whole["cards"]
    scene.note(f"{target}: integrity", "; ".join(result.integrity) or "nothing speaks against it")
    scene.note(f"{target}: build, driver", f"{service['build']}, {whole['driver']}")
    scene.note(f"{target}: card, power limit", f"{seen['name']}, {seen['power_limit_watts']} W")
    scene.note(f"{target}: model file", f"{service['files'][0]['size']} bytes")
    scene.note(f"{target}: argv", " ".join(service["argv"]))
    for metric in result.metrics:
        scene.note(f"{target}: {metric.formula}", _worded(metric))


def _worded(metric):
    if metric.value is None:
        return "no value"
    if metric.unit == "bytes":
        return mib(metric.value)
    between = "" if metric.low is None else f" ({metric.low:.6g} to {metric.high:.6g})"
    return f"{metric.value:.6g}{between} {metric.unit}, n = {metric.count}"
