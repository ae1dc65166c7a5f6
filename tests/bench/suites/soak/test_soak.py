"""The suite against a scripted server: silence, failures, growth and drift are the script's."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from gpumod.bench.suites import SUITES
from gpumod.bench.suites.soak import suite
from gpumod.core.errors import InvalidRequestError, StoreError
from gpumod.core.job import Outcome, Sample
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import Disconnect, Packet, Script, Wait, content, reasoning, refuse, say
from gpumod.testing.scripted_server import ScriptedServer

SOAK: Any = suite()
WELL = say("a b c", first=0.5, gap=0.25)
EMPTY = Script(usage=(10, 5, 0))
CRASH = Script((Packet((content("a"),)), Disconnect()))


@dataclass
class FakeBench:
    endpoint: Endpoint
    clock: FakeClock
    memory: Any


async def soak(answers, sessions=1, turns=3, *, held=None, context=None, **given):
    """Samples of all sessions, and the server. `held`: at each look, an error or bytes by card."""
    clock, looks = FakeClock(0.0), iter(held or ())

    async def memory():
        now = next(looks, {"a": 100} if held is None else StoreError("no"))
        if isinstance(now, Exception):
            raise now
        return now

    async with ScriptedServer(clock, answers) as server:
        endpoint = server.endpoint(context=context)
        bench = FakeBench(endpoint, clock, memory)
        parameters = SOAK.parameters({"sessions": sessions, "turns": turns, "sentences": 2, **given})
        cases = SOAK.cases(parameters, endpoint)
        return [await SOAK.run(case, parameters, bench) for case in cases], server


def metrics(samples):
    return {one.formula: one for one in SOAK.metrics(samples, {})}


def one_by_one(*scripts):
    rest = iter(scripts)
    return lambda body: next(rest)


async def test_a_clean_session():
    (sample,), server = await soak([WELL])
    assert (sample.case, sample.outcome, sample.score, sample.seconds) == (
        "session-0000",
        Outcome.OK,
        1.0,
        3.0,
    )
    assert dict(sample.numbers) == {
        "soak.clean.v1": 1.0,
        "soak.requests.v1": 3.0,
        "soak.ended.v1@timeout": 0.0,
        "soak.ended.v1@cut": 0.0,
        "soak.ended.v1@empty": 0.0,
        "soak.ended.v1@refused": 0.0,
        "soak.ended.v1@disconnected": 0.0,
        "soak.ttft.v1": 0.5,
        "soak.decode.v1": 4.0,
    }
    assert [one["requests"] for one in sample.details["looks"]] == [0, 1, 2, 3]
    assert [one["at"] for one in sample.details["looks"]] == [0.0, 1.0, 2.0, 3.0]
    assert [len(one["messages"]) for one in server.requests] == [1, 3, 5]
    assert [one["role"] for one in server.requests[2]["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert server.requests[2]["messages"][1]["content"] == "a b c"
    assert json.loads(json.dumps(sample.details)) == sample.details


@pytest.mark.parametrize(
    "silent",
    [
        EMPTY,
        say(" "),
        say("<think>hm</think>"),
        say("<think>hm"),
        Script((Packet((reasoning("hm"),)),), usage=(10, 5, 0)),
    ],
    ids=["nothing", "blanks", "thoughts in the text", "thoughts without an end", "reasoning"],
)
async def test_silence_is_seen_and_the_session_goes_on(silent):
    (sample,), server = await soak(one_by_one(WELL, silent, WELL))
    assert (sample.outcome, sample.score) == (Outcome.EMPTY, 0.0)
    assert sample.details["why"] == "the request succeeded and nothing was said"
    assert (sample.numbers["soak.requests.v1"], sample.numbers["soak.ended.v1@empty"]) == (3.0, 1.0)
    assert [len(one["messages"]) for one in server.requests] == [1, 3, 3]
    found = metrics([sample])
    assert found["soak.empty.v1"].value == pytest.approx(100 / 3)
    assert found["soak.empty.v1"].by_case == {"session-0000": pytest.approx(100 / 3)}
    assert found["soak.failed.v1"].value == 0.0


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (refuse(500), Outcome.REFUSED),
        (CRASH, Outcome.DISCONNECTED),
        (Script((Wait(1000.0),)), Outcome.TIMEOUT),
    ],
)
async def test_a_failure_ends_its_session_and_no_other(script, outcome):
    samples, server = await soak(one_by_one(EMPTY, script, WELL, WELL, WELL), 2)
    assert [one.outcome for one in samples] == [outcome, Outcome.OK]
    assert len(server.requests) == 5
    assert "soak.ttft.v1" not in samples[0].numbers
    found = metrics(samples)
    assert found[f"soak.ended.v1@{outcome.value}"].value == 1.0
    assert (found["soak.requests.v1"].value, found["soak.clean.v1"].value) == (5.0, 50.0)
    # 1 of 5: Wilson's 95 % interval, from the formula by hand.
    share = found["soak.failed.v1"]
    assert (share.value, share.low, share.high) == (
        20.0,
        pytest.approx(3.622, abs=1e-3),
        pytest.approx(62.446, abs=1e-3),
    )
    assert share.count == 5
    assert found["soak.empty.v1"].value == 20.0


async def test_an_answer_at_the_token_limit_is_an_answer():
    (sample,), _ = await soak([say("a b", finish_reason="length")])
    assert (sample.outcome, sample.numbers["soak.ended.v1@cut"]) == (Outcome.OK, 3.0)


async def test_none_of_many_silent_is_not_never():
    samples, _ = await soak([WELL], 4, 5)
    share = metrics(samples)["soak.empty.v1"]
    assert (share.value, share.low) == (0.0, 0.0)
    assert share.high == pytest.approx(16.11, abs=0.01), "0 of 20"


async def test_seconds_are_no_hour():
    """What is still taken at the beginning is not told as gigabytes an hour."""
    held = [{"a": 10**7 * reading} for reading in range(12)]
    samples, _ = await soak([WELL], 3, held=held)
    found = metrics(samples)
    assert (found["soak.memory.hour.v1@a"].value, found["soak.memory.hour.v1@a"].count) == (None, 6)
    assert found["soak.memory.request.v1@a"].value is not None


async def test_growth_is_a_slope_for_each_card(monkeypatch):
    monkeypatch.setattr("gpumod.bench.suites.soak.numbers._LEAST_HOURS", 5 / 3600)
    # a: grows at first use, then by 10 bytes with every request, which takes a second; b: stays; c: by 30
    # bytes with every session.
    sizes = [0, *(1000 + 10 * request for request in range(1, 10))]
    before = (0, 3, 6)
    held = [
        {"a": sizes[request], "b": 7, "c": 30 * session}
        for session in range(3)
        for request in (before[session], *range(before[session] + 1, before[session] + 4))
    ]
    samples, _ = await soak([WELL], 3, held=held)
    found = metrics(samples)
    assert found["soak.memory.request.v1@a"].value == pytest.approx(10.0)
    assert found["soak.memory.hour.v1@a"].value == pytest.approx(36000.0)
    assert found["soak.memory.hour.v1@a"].low == pytest.approx(36000.0)
    assert found["soak.memory.hour.v1@a"].count == 6
    assert found["soak.memory.growth.v1@a"].value == 1090.0
    # Requests 4 to 9, and 0, 0, 0, 30, 30, 30 bytes: 135 / 17.5.
    assert found["soak.memory.request.v1@c"].value == pytest.approx(135 / 17.5)
    for formula in ("hour", "request"):
        flat = found[f"soak.memory.{formula}.v1@b"]
        assert (flat.value, flat.low, flat.high) == (0.0, 0.0, 0.0)
    assert found["soak.memory.growth.v1@b"].value == 0.0


async def test_noise_is_no_growth():
    held = [{"a": size} for size in (50, 100, 130, 110, 110, 100, 130, 100, 100, 120, 110, 100)]
    samples, _ = await soak([WELL], 3, held=held)
    slope = metrics(samples)["soak.memory.request.v1@a"]
    assert slope.low < 0 < slope.high


async def test_few_readings_have_no_slope():
    samples, _ = await soak([WELL], 1, 2, held=[{"a": 5}, {"a": 6}, {"a": 8}])
    found = metrics(samples)
    slope = found["soak.memory.hour.v1@a"]
    assert (slope.value, slope.low, slope.high, slope.count) == (None, None, None, 2)
    assert found["soak.memory.growth.v1@a"].value == 3.0
    (sample,), _ = await soak([WELL], held=[StoreError("no")])
    assert sample.outcome is Outcome.OK
    assert not [key for key in metrics([sample]) if "memory" in key]


async def test_latency_drift_is_the_last_third_against_the_first():
    firsts = iter([first for base in (0.5, 0.75, 3, 4, 1.5, 1.75) for first in (base, base + 0.5)])
    samples, _ = await soak(lambda body: say("a b", first=next(firsts), gap=0.25), 6, 2)
    found = metrics(samples)
    assert [one.numbers["soak.ttft.v1"] for one in samples] == [0.75, 1.0, 3.25, 4.25, 1.75, 2.0]
    assert found["soak.ttft.drift.v1"].value == pytest.approx(1.0)
    # Welch: t = 1 / sqrt(0.125^2 + 0.125^2) = 5.657 with 2 degrees of freedom.
    assert found["soak.ttft.drift.p.v1"].value == pytest.approx(0.0299, abs=1e-4)
    assert found["soak.decode.drift.v1"].value == 0.0
    assert found["soak.decode.drift.p.v1"].value == 1.0
    # Sessions count in the order in which they were done, however they are handed over.
    assert metrics(samples[::-1])["soak.ttft.drift.v1"].value == pytest.approx(1.0)
    few = metrics(samples[:5])
    assert (few["soak.ttft.drift.v1"].value, few["soak.ttft.drift.v1"].count) == (None, 5)


def test_no_sessions_have_no_shares():
    assert "soak.empty.v1" not in metrics([])
    failed = Sample("t", "session-0000", Outcome.DISCONNECTED)
    assert "soak.empty.v1" not in metrics([failed])


async def test_sessions_fit_the_context():
    def endpoint(context):
        return Endpoint("t", "http://127.0.0.1:1", "m", "vllm", context=context)

    full = SOAK.parameters({})
    for context, sentences in ((None, 40), (65536, 40), (4096, 18), (400, 0)):
        cases = SOAK.cases(full, endpoint(context))
        assert len(cases) == 20
        assert {one.data["sentences"] for one in cases} == {sentences}
    (sample,), server = await soak([WELL], context=600)
    assert server.requests[0]["max_tokens"] == 100
    assert sample.details["request"]["max_tokens"] == 100


async def test_texts_are_the_same_each_time_and_differ_between_sessions():
    runs = [(await soak([WELL], 2, 2))[1].requests for _ in range(2)]
    assert runs[0] == runs[1]
    first = [one["messages"][0]["content"] for one in runs[0]]
    assert first[0] == first[1] != first[2]
    other = (await soak([WELL], 1, 1, seed=2))[1].requests
    assert other[0]["messages"] != runs[0][0]["messages"]


async def test_a_pause_is_made_between_sessions():
    samples, _ = await soak([WELL], 2, 1, pause=10.0)
    assert [one.at for one in samples] == [0.0, 11.0]


@pytest.mark.parametrize(
    "given",
    [
        {"session": 1}, {"sessions": 0}, {"turns": 101}, {"tokens": "a"}, {"pause": -1}, {"timeout": 0},
        {"seed": True},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(given):
    with pytest.raises(InvalidRequestError):
        SOAK.parameters(given)


async def test_the_suite_is_found_and_needs_nothing():
    full = SOAK.parameters({"turns": 2})
    assert json.loads(json.dumps(full)) == full == SOAK.parameters(full)
    assert SUITES["soak"]().name == "soak"
    assert await SOAK.hindrance(full) == ""
    assert len(SOAK.content_hash) == 64
    assert SOAK.content_hash != SUITES["stress"]().content_hash
