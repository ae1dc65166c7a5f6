"""Cut requests and requests that are too long: what an engine has to survive."""

import re

import pytest

from gpumod.core.job import Outcome
from gpumod.testing.scripted_answers import Hang, Packet, Script, content, refuse, say
from tests.bench.suites.stress.scripted_model import (
    CONTEXT,
    CRASH,
    but,
    check,
    is_sum,
    numbers,
    passed,
    right,
    tokens_of,
)


def metrics_page(running):
    return {
        "/metrics": lambda: f"llamacpp:requests_processing {next(running)}\nllamacpp:requests_deferred 0\n"
    }


async def test_a_storm_is_cut_and_the_target_is_well_again():
    pages = metrics_page(iter([2, 1, 0]))
    sample, server = await check("storm", storm=4, pages=pages)
    assert passed(sample, "storm")
    assert server.most == 4
    assert server.abandoned == 4
    assert {one["max_tokens"] for one in server.requests[:4]} == {CONTEXT // 2}
    assert numbers(sample) == {
        "stress.storm.streaming.v1": 4.0,
        "stress.storm.waiting.v1": 0.0,
        "stress.storm.recovery.v1": 0.5,
        "stress.storm.left.v1": 0.0,
    }


async def test_requests_that_wait_for_a_slot_are_cut_too():
    begun = iter(range(100))

    def answer(body):
        return right(body) if is_sum(body) or next(begun) < 2 else Script((Hang(),))

    sample, server = await check("storm", answer, storm=5, slots=2)
    assert passed(sample, "storm")
    assert (sample.numbers["stress.storm.streaming.v1"], sample.numbers["stress.storm.waiting.v1"]) == (
        2.0,
        3.0,
    )
    assert server.abandoned == 5
    assert "stress.storm.left.v1" not in sample.numbers
    assert sample.details["in_flight_is_told"] is False
    assert sample.seconds == 0.5 + 0.5 + 1.5, "cut when both slots answer, the sum, the look at the engine"
    begun = iter(range(100))
    sample, _ = await check("storm", answer, storm=5, slots=None)
    assert (passed(sample, "storm"), sample.numbers["stress.storm.waiting.v1"]) == (True, 3.0)
    assert sample.seconds == 0.5 + 5.0 + 0.5 + 1.5, "it waits a while for those that may still begin"


@pytest.mark.parametrize(
    ("answers", "outcome", "why"),
    [
        (but(Script((Hang(),)), is_sum), Outcome.TIMEOUT, "afterwards: no complete answer within 20 s"),
        (but(say("7"), is_sum), Outcome.WRONG, "answered wrongly: '7'"),
        (but(CRASH, is_sum), Outcome.DISCONNECTED, "an ordinary request afterwards"),
        (but(refuse(503, "busy")), Outcome.REFUSED, "in mid-stream: 503: busy"),
        (but(say("short")), Outcome.WRONG, "too short"),
        (but(Script((Hang(),))), Outcome.TIMEOUT, "no request began to answer in time"),
    ],
)  # fmt: skip
async def test_a_storm_that_does_harm(answers, outcome, why):
    sample, _ = await check("storm", answers, storm=3, bound=20.0, timeout=25.0)
    assert not passed(sample, "storm")
    assert sample.outcome is outcome
    assert why in sample.details["why"]


async def test_the_sum_may_be_said_in_words_around_it():
    def answer(body):
        first, second = re.findall(r"\d+", body["messages"][-1]["content"])
        return say(f"{first} + {second} = {int(first) + int(second)}.")

    sample, _ = await check("storm", but(answer, is_sum), storm=1)
    assert passed(sample, "storm")


async def test_requests_that_stay_in_flight_after_a_storm():
    def forever():
        while True:
            yield 1

    sample, _ = await check("storm", storm=2, bound=10.0, pages=metrics_page(forever()))
    assert not passed(sample, "storm")
    assert sample.details["why"] == "the engine still counts 1 requests of those that were cut"
    assert sample.numbers["stress.storm.left.v1"] == 1.0


@pytest.mark.parametrize(("which", "side", "seconds"), [(0, "at", 0.5), (1, "over", 0.0)])
async def test_the_limit_of_the_context(which, side, seconds):
    sample, server = await check("limit", which=which)
    assert passed(sample, "limit")
    assert numbers(sample) == {f"stress.limit.seconds.v1@{side}": seconds}
    assert is_sum(server.requests[-1])
    assert tokens_of(server.requests[-2]) == pytest.approx(CONTEXT * (0.95, 1.2)[which], rel=0.02)
    assert server.requests[-2]["max_tokens"] == (CONTEXT, CONTEXT // 16)[which]
    assert sample.details["status"] == (200, 400)[which]
    refused, _ = await check("limit", but(refuse(400), lambda body: not is_sum(body)), which=which)
    assert passed(refused, "limit")


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("script", "outcome", "why"),
    [
        (refuse(500, "boom"), Outcome.REFUSED, "no clean error of the 400s: 500: boom"),
        (CRASH, Outcome.DISCONNECTED, "no clean error"),
        (Script((Hang(),)), Outcome.TIMEOUT, "within 900 s"),
        (say("It is dull.", prompt=4000), Outcome.WRONG, "read 4000"),
        (Script((Packet((content("Dull."),)),)), Outcome.WRONG, "was"),
    ],
)
async def test_no_clean_end_at_the_limit(which, script, outcome, why):
    sample, _ = await check("limit", but(script, lambda body: not is_sum(body)), which=which)
    assert not passed(sample, "limit")
    assert sample.outcome is outcome
    assert why in sample.details["why"]


async def test_what_is_over_the_limit_may_not_be_answered_at_all():
    sample, _ = await check("limit", but(say("Dull.", prompt=9830), lambda body: not is_sum(body)), which=1)
    assert not passed(sample, "limit")
    assert sample.details["why"].endswith("was answered; the server read 9830 of it")


async def test_the_request_after_the_limit_has_to_work():
    sample, _ = await check("limit", but(CRASH, is_sum), which=1)
    assert not passed(sample, "limit")
    assert sample.outcome is Outcome.DISCONNECTED
    assert sample.details["why"].startswith("an ordinary request afterwards")
    assert (sample.details["status"], numbers(sample)) == (400, {"stress.limit.seconds.v1@over": 0.0})
