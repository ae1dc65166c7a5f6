"""The suites, against a server that answers as scripted."""

from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.bench.formulas_page import formulas
from gpumod.bench.sandbox import NoSandboxError
from gpumod.bench.suites import SUITES
from gpumod.bench.suites.coding import attempt, levels
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Outcome, Sample
from gpumod.core.job_ports import Case, Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import Disconnect, Hang, Packet, Script, reasoning, refuse, say
from gpumod.testing.scripted_server import ScriptedServer

ENDPOINT = Endpoint("t", "http://127.0.0.1:1", "m", "llama.cpp")
REFERENCE = (Path(__file__).with_name("references") / "retry.txt").read_text()


class ScriptedBench:
    def __init__(self, server, clock, engine="llama.cpp"):
        self.endpoint = server.endpoint(engine)
        self.clock = clock

    async def memory(self):
        return {}

    async def visit(self, mode, meanwhile=None):
        raise AssertionError("no case of this suite leaves its target")


async def ask(script, *, engine="llama.cpp", suite="coding", **given):
    """One case of level `retry`; the sample and what was sent."""
    clock = FakeClock()
    one = SUITES[suite]()
    async with ScriptedServer(clock, [script]) as server:
        case = Case("001/retry", {"level": "retry", "iteration": 1})
        sample = await one.run(case, one.parameters(given), ScriptedBench(server, clock, engine))
        return sample, server.requests


def answer(code):
    return say(f"Here:\n```python\n{code}```\n")


@pytest.mark.usefixtures("sandbox")
async def test_a_right_answer_has_all_points():
    sample, requests = await ask(answer(REFERENCE))
    assert (sample.outcome, sample.score, sample.case) == (Outcome.OK, 25.0, "001/retry")
    assert sample.details["failed"] == {}
    assert len(requests) == 1
    assert "`retry`" in requests[0]["messages"][0]["content"]


@pytest.mark.usefixtures("sandbox")
async def test_a_wrong_answer_has_the_points_of_the_tests_that_pass():
    sample, _ = await ask(answer(REFERENCE.replace("        sleep(delay)\n", "")))
    assert sample.outcome is Outcome.WRONG
    passed, failed = sample.details["passed"], sample.details["failed"]
    assert len(passed) + len(failed) == sample.details["tests"]
    assert sample.score == pytest.approx(25 * len(passed) / sample.details["tests"])
    assert "delays" in failed["test_delays_double_between_the_calls"]


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("script", "outcome", "score"),
    [
        (Script((Hang(),)), Outcome.TIMEOUT, 0),
        (replace(answer(REFERENCE), finish_reason="length"), Outcome.CUT, 0),
        (say("I cannot do that."), Outcome.NO_CODE, 0),
        (answer("def retry(:\n"), Outcome.SYNTAX_ERROR, 0),
        (answer("x = 1\0\n"), Outcome.SYNTAX_ERROR, 0),
        (answer("(" * 100_000), Outcome.SYNTAX_ERROR, 0),
        (answer("x = 1\n"), Outcome.WRONG, 0),
        (answer("import os\nos._exit(0)\n"), Outcome.WRONG, 0),
        (answer("import sys\nprint('x' * 10**7)\nsys.exit(0)\n"), Outcome.WRONG, 0),
        (answer("import os, signal\nos.kill(-1, signal.SIGKILL)\n"), Outcome.WRONG, 0),
        (Script((Packet((reasoning("hm"),)),)), Outcome.EMPTY, 0),
        (Script(), Outcome.EMPTY, 0),
        (refuse(500), Outcome.REFUSED, None),
        (Script((Disconnect(),)), Outcome.DISCONNECTED, None),
    ],
)
async def test_each_way_to_fail_is_an_outcome_of_its_own(script, outcome, score):
    sample, _ = await ask(script)
    assert (sample.outcome, sample.score) == (outcome, score), sample.details["note"]


@pytest.mark.usefixtures("sandbox")
async def test_a_timeout_is_that_of_the_request():
    sample, _ = await ask(Script((Hang(),)), timeout=900)
    assert sample.seconds == pytest.approx(900, abs=1)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("engine", "given", "sent"),
    [
        ("llama.cpp", {}, {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}),
        ("vllm", {"sampler": "NON_THINKING", "thinking": False},
         {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5,
          "chat_template_kwargs": {"enable_thinking": False}}),
        ("llama.cpp", {"sampler": "GEMMA_CODING", "max_tokens": 99},
         {"repeat_penalty": 1.05, "max_tokens": 99}),
        ("vllm", {"sampler": "GEMMA_CODING"}, {"repetition_penalty": 1.05, "top_k": 64, "temperature": 1.0}),
    ],
)  # fmt: skip
async def test_samplers_are_sent_as_the_engine_knows_them(engine, given, sent):
    sample, requests = await ask(say("no"), engine=engine, **given)
    assert sent.items() <= requests[0].items()
    assert sent.items() <= sample.details["sent"].items()


async def test_without_a_sandbox_the_suites_are_refused_and_no_model_is_asked(monkeypatch):
    async def none():
        raise NoSandboxError("there is none here: bubblewrap is not installed")

    monkeypatch.setattr(attempt, "open_sandbox", none)
    for suite in ("coding", "smoke"):
        with pytest.raises(NoSandboxError, match="bubblewrap is not installed"):
            await ask(answer(REFERENCE), suite=suite)


@pytest.mark.usefixtures("sandbox")
async def test_smoke_tries_one_level():
    suite = SUITES["smoke"]()
    parameters = suite.parameters({"level": "retry", "attempts": 4})
    cases = suite.cases(parameters, ENDPOINT)
    assert [case.key for case in cases] == ["retry/001", "retry/002", "retry/003", "retry/004"]
    clock = FakeClock()
    scripts = [answer(REFERENCE), answer("x = 1\n"), refuse(500), answer(REFERENCE)]
    async with ScriptedServer(clock, scripts) as server:
        bench = ScriptedBench(server, clock)
        samples = [await suite.run(case, parameters, bench) for case in cases]
    (metric,) = suite.metrics(samples, parameters)
    assert (metric.formula, metric.count) == ("smoke.passed.v1", 3)
    assert metric.value == pytest.approx(2 / 3)
    # Wilson's interval of 2 of 3, from its published formula.
    assert metric.low == pytest.approx(0.2077, abs=1e-4)
    assert metric.high == pytest.approx(0.9385, abs=1e-4)


LEVELS = {"queue": 25.0, "retry": 25.0, "priority": 25.0, "race": 15.0, "compose": 10.0}


def iteration(number, **other):
    scores = {**LEVELS, **other}
    return [
        Sample("t", f"{number:03}/{key}", Outcome.OK, score, {"coding.request_seconds.v1": 2.0})
        for key, score in scores.items()
    ]


def test_every_level_of_every_iteration_is_a_case():
    suite = SUITES["coding"]()
    cases = suite.cases(suite.parameters({}), ENDPOINT)
    assert len(cases) == 15 * 5
    assert len({case.key for case in cases}) == 75
    assert [case.key for case in cases[:6]] == [
        "001/queue", "001/retry", "001/priority", "001/race", "001/compose", "002/queue",
    ]  # fmt: skip


def test_points_and_shares_over_iterations():
    samples = [one for number in range(1, 12) for one in iteration(number)]
    samples += [one for number in range(12, 16) for one in iteration(number, race=0.0)]
    found = {one.formula: one for one in SUITES["coding"]().metrics(samples, {})}
    points = found["coding.points.v1"]
    assert (points.value, points.count, points.by_case["001"]) == (96.0, 15, 100.0)
    assert points.high is not None
    assert points.high <= 100
    perfect = found["coding.perfect.v1"]
    assert perfect.value == pytest.approx(11 / 15)
    assert sum(perfect.by_case.values()) == 11
    assert found["coding.race.points.v1"].value == 11.0
    assert found["coding.queue.points.v1"].high == 25.0


def test_an_iteration_that_a_server_spoiled_does_not_count():
    samples = [*iteration(1), *iteration(2, race=None)]
    found = {one.formula: one for one in SUITES["coding"]().metrics(samples, {})}
    assert (found["coding.points.v1"].value, found["coding.points.v1"].count) == (100.0, 1)
    assert found["coding.race.points.v1"].count == 1
    assert found["coding.queue.points.v1"].count == 2


def with_tokens(samples):
    return [replace(one, numbers={**one.numbers, "coding.completion_tokens.v1": 40.0}) for one in samples]


def test_tokens_are_a_number_too_and_one_iteration_has_no_interval():
    found = {one.formula: one for one in SUITES["coding"]().metrics(with_tokens(iteration(1)), {})}
    assert (found["coding.points.v1"].low, found["coding.points.v1"].high) == (None, None)
    tokens = found["coding.completion_tokens.v1"]
    assert (tokens.value, tokens.count, tokens.larger_is_better) == (40.0, 5, None)


@pytest.mark.parametrize("suite", ["coding", "smoke"])
def test_every_number_has_a_documented_formula(suite):
    samples = with_tokens(iteration(1))
    units = {one.id: one.unit for one in formulas()[suite]}
    assert {one.formula: one.unit for one in SUITES[suite]().metrics(samples, {})} == units


def test_without_samples_metrics_are_unknown():
    for suite in ("coding", "smoke"):
        assert {one.value for one in SUITES[suite]().metrics([], {})} == {None}


@pytest.mark.parametrize(
    "given",
    [
        {"iterations": 0}, {"iterations": True}, {"iterations": "3"}, {"sampler": "NONE"}, {"sampler": []},
        {"timeout": 0}, {"timeout": "900"},
        {"max_tokens": 0}, {"thinking": 1}, {"thinking": "no"}, {"what": 1},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(given):
    with pytest.raises(InvalidRequestError, match=next(iter(given))):
        SUITES["coding"]().parameters(given)
    with pytest.raises(InvalidRequestError, match="level"):
        SUITES["smoke"]().parameters({"level": "none"})


def test_the_content_hash_covers_prompts_and_tests(monkeypatch, tmp_path):
    import shutil

    suite = SUITES["coding"]()
    before = suite.content_hash
    assert before != SUITES["smoke"]().content_hash
    copy = tmp_path / "coding"
    shutil.copytree(levels.HERE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(attempt, "HERE", copy)
    assert suite.content_hash == before
    for name in ("levels/retry.md", "hidden/queue.py", "given/fifo.py", "extraction.py"):
        text = (copy / name).read_text()
        (copy / name).write_text(text + "\n")
        assert suite.content_hash != before, name
        (copy / name).write_text(text)
