"""The suite as a whole: which cases there are, its parameters, and points over all of them."""

import inspect
import json
from pathlib import Path

import pytest

from gpumod.bench.suites import SUITES
from gpumod.bench.suites._common import hashing
from gpumod.bench.suites._common.texts import Size, sized
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job_ports import Endpoint
from tests.bench.suites.stress.scripted_model import EMPTY, STRESS, but, check


def test_a_models_tokens_per_sentence():
    assert sized(4, 60, 84, 860) == Size(20.0, 10.0)
    assert Size(20.0, 10.0).sentences(520) == 50
    assert sized(4, 0, 84, 0) == sized(4, 60, 4, 60) == Size()


def endpoint(context=None):
    return Endpoint("t", "http://127.0.0.1:1", "m", "llama.cpp", context=context, slots=4)


def test_what_does_not_fit_is_left_out():
    keys = [one.key for one in STRESS.cases(STRESS.parameters({}), endpoint(1024))]
    assert not [one for one in keys if one.startswith(("needle-922", "agent", "reasoning", "tools"))]
    assert "needle-768-0.5-0" in keys
    assert not [
        one for one in (x.key for x in STRESS.cases(STRESS.parameters({}), endpoint())) if "limit" in one
    ]
    capped = STRESS.cases(
        STRESS.parameters({"context": 4096, "checks": ["needle", "limit"]}), endpoint(65536)
    )
    assert max(int(str(one.data["tokens"])) for one in capped if "needle" in one.key) == 3686
    assert [one.data["tokens"] for one in capped if "limit" in one.key] == [62259, 78643]


async def test_a_sample_says_what_was_left_out():
    sample, _ = await check("needle", depths=[0.5, 0.95])
    assert sample.details["left_out"] == [
        "needle: a prompt of 7782 tokens (0.95 of the context) and an answer of 512 do not fit into 8192"
    ]


def test_cases_are_the_same_each_time_and_all_of_their_own():
    parameters = STRESS.parameters({"repeats": 2})
    cases = STRESS.cases(parameters, endpoint(32768))
    assert cases == STRESS.cases(parameters, endpoint(32768))
    assert len({one.key for one in cases}) == len({one.data["seed"] for one in cases}) == len(cases) == 40


@pytest.mark.parametrize(
    "given",
    [
        {"check": []}, {"checks": []}, {"checks": ["speed"]}, {"checks": "needle"}, {"depths": [1.0]},
        {"depths": 0.5}, {"positions": ["a"]}, {"load": -1}, {"load": float("nan")}, {"storm": 0},
        {"turns": True}, {"context": 1}, {"bound": 0}, {"sampler": "HOT"}, {"thinking": 1}, {"seed": 1.5},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(given):
    with pytest.raises(InvalidRequestError):
        STRESS.parameters(given)


async def test_the_suite_is_found_and_needs_nothing():
    full = STRESS.parameters({"storm": 3, "thinking": False})
    assert json.loads(json.dumps(full)) == full == STRESS.parameters(full)
    assert SUITES["stress"]().name == "stress"
    assert await STRESS.hindrance(full) == ""
    assert len(STRESS.content_hash) == 64


def test_its_hash_is_also_of_what_it_shares(monkeypatch):
    folder = Path(inspect.getfile(type(STRESS))).parent
    monkeypatch.setattr(hashing, "_SHARED", ())
    assert hashing.content_hash.__wrapped__(folder) != STRESS.content_hash


async def test_points_over_all_cases():
    samples = [(await check("needle", which=number, depths=[0.5]))[0] for number in range(2)]
    samples.append((await check("needle", but(EMPTY), which=2, depths=[0.5]))[0])
    found = {one.formula: one for one in STRESS.metrics(samples, {})}
    assert found["stress.passed.v1"].value == pytest.approx(200 / 3)
    assert found["stress.needle.v1@4096"].value == pytest.approx(200 / 3)
    assert found["stress.needle.v1@4096"].larger_is_better is True
    assert found["stress.ttft.v1@4096"].count == 2
