"""The suite against a scripted server on a virtual clock: the numbers are the script's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from gpumod.bench.meter.reply import Reply, Times, Usage
from gpumod.bench.statistics import Verdict, paired_bootstrap
from gpumod.bench.suites import SUITES
from gpumod.bench.suites.speed import numbers, prompts, suite
from gpumod.bench.suites.speed.measuring import left_out
from gpumod.bench.suites.speed.parameters import read
from gpumod.core.errors import GpumodError, InvalidRequestError, StoreError
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import Disconnect, Packet, Script, Wait, content, reasoning, refuse, say
from gpumod.testing.scripted_server import ScriptedServer

SPEED = suite()
TIMINGS = {
    "cache_n": 0, "prompt_n": 512, "prompt_ms": 250.0, "predicted_n": 5, "predicted_ms": 500.0,
    "draft_n": 8, "draft_n_accepted": 6,
}  # fmt: skip
SMALL = {"depths": [512], "concurrency": [], "tokens": 5, "repeats": 1}


@dataclass
class FakeBench:
    """A bench whose target holds what the test says; the last reading stays."""

    endpoint: Endpoint
    clock: FakeClock
    readings: list[Mapping[str, int] | GpumodError] = field(default_factory=lambda: [{"card": 100}])

    async def memory(self):
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, GpumodError):
            raise reading
        return reading

    async def visit(self, mode, meanwhile=None):
        raise AssertionError("no case of this suite leaves its target")


def answerer(script):
    """Counts warm-up requests (32 tokens and 1.5 for each word); the others get the script."""

    def answer(body):
        if body["max_tokens"] == 4:
            words = len(body["messages"][0]["content"].partition(".")[0].partition(": ")[2].split())
            return Script(
                (Packet((content("x"),)),), usage=(32 + words * 3 // 2, 4, 0), finish_reason="length"
            )
        return script

    return answer


async def measure(script, given=SMALL, *, engine="llama.cpp", case=0, readings=None, pages=None, slots=None):
    clock = FakeClock(0.0)
    answers = script if callable(script) else answerer(script)
    async with ScriptedServer(clock, answers, pages=pages or {}) as server:
        endpoint = server.endpoint(engine, context=100_000, slots=slots)
        bench = FakeBench(endpoint, clock, readings or [{"card": 100}])
        parameters = SPEED.parameters(given)
        sample = await SPEED.run(SPEED.cases(parameters, endpoint)[case], parameters, bench)
        return sample, server


async def test_every_number_is_the_scripts():
    script = say("a b c d e", first=0.5, gap=0.25, prompt=512, timings=TIMINGS, finish_reason="length")
    sample, server = await measure(
        script, readings=[{"a": 70, "b": 30}, {"a": 80, "b": 50}, {"a": 90, "b": 20}]
    )
    assert sample.outcome is Outcome.OK
    assert dict(sample.numbers) == {
        "speed.ttft.v1@512": 0.5,
        "speed.prefill.client.v1@512": 1024.0,
        "speed.prefill.server.v1@512": 2048.0,
        "speed.decode.client.v1@512": 4.0,
        "speed.decode.server.v1@512": 8.0,
        "speed.gap.median.v1@512": 0.25,
        "speed.gap.p95.v1@512": 0.25,
        "speed.gap.most.v1@512": 0.25,
        "speed.cached.v1@512": 0.0,
        "speed.draft.drafted.v1": 8,
        "speed.draft.accepted.v1": 6,
        "speed.memory.idle.v1": 100,
        "speed.memory.peak.v1": 130,
    }
    assert sample.details["memory_peak"] == {"a": 90, "b": 50}
    assert (sample.target, sample.case, sample.seconds) == ("scripted", "depth-512-0", 1.5)
    sent = server.requests[-1]
    assert (sent["cache_prompt"], sent["ignore_eos"], sent["temperature"]) == (False, True, 0.0)


async def test_chunks_of_several_tokens_count_as_the_server_tells():
    steps = (
        Wait(1.0),
        Packet((reasoning("a"),), tokens=4),
        Wait(0.5),
        Packet((content("b"), content("c")), tokens=8),
        Wait(1.5),
        Packet((content("d"),), tokens=12),
    )
    sample, _ = await measure(Script(steps, usage=(512, 12, 0), finish_reason="length"), engine="vllm")
    # b has no count of its own: not every delta tells, and so the first one counts as one token of twelve.
    assert sample.numbers["speed.decode.client.v1@512"] == 11 / 2
    assert sample.numbers["speed.gap.most.v1@512"] == 1.5
    assert sample.numbers["speed.gap.median.v1@512"] == 1.0
    told = tuple(Packet(one.deltas[:1], one.tokens) if isinstance(one, Packet) else one for one in steps)
    sample, _ = await measure(Script(told, usage=(512, 12, 0), finish_reason="length"), engine="vllm")
    assert sample.numbers["speed.decode.client.v1@512"] == 8 / 2


@pytest.mark.parametrize("said", [content(" \n"), reasoning("hm")])
async def test_blanks_and_thoughts_are_tokens_too(said):
    steps = (Wait(0.5), Packet((said,)), Wait(0.5), Packet((said,)))
    sample, _ = await measure(Script(steps, usage=(512, 2, 0)))
    assert sample.outcome is Outcome.OK
    assert sample.numbers["speed.decode.client.v1@512"] == 2.0


async def test_a_prompt_from_the_cache_is_no_measurement_of_reading():
    script = say("a b c", first=0.5, gap=0.25, prompt=512, cached=256, finish_reason="length")
    sample, _ = await measure(script, engine="vllm")
    assert sample.numbers["speed.cached.v1@512"] == 0.5
    assert not [key for key in sample.numbers if "ttft" in key or "prefill" in key]
    assert sample.numbers["speed.decode.client.v1@512"] == 4.0
    little = say("a b c", first=0.5, gap=0.25, prompt=512, cached=32, finish_reason="length")
    sample, _ = await measure(little, engine="vllm")
    assert sample.numbers["speed.prefill.client.v1@512"] == 960.0


async def test_several_at_once():
    given = {**SMALL, "depths": [], "concurrency": [4]}
    script = say("a b c d e", first=0.5, gap=0.25, prompt=512, finish_reason="length")
    sample, server = await measure(script, given)
    assert server.most == 4
    assert sample.numbers["speed.throughput.v1@4"] == pytest.approx(4 * 5 / 1.5)
    assert sample.numbers["speed.together.ttft.v1@4"] == pytest.approx(0.5)
    assert sample.numbers["speed.together.decode.v1@4"] == pytest.approx(4.0)
    texts = [one["messages"][0]["content"] for one in server.requests]
    assert len({text[:8] for text in texts}) == len(texts), "prompts must differ from their first token on"


async def test_the_prompt_has_the_depth_that_was_asked_for():
    _, server = await measure(say("a b", prompt=512))
    words = len(server.requests[-1]["messages"][0]["content"].partition(".")[0].partition(": ")[2].split())
    assert 32 + words * 1.5 == pytest.approx(512, abs=2)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (refuse(500), Outcome.REFUSED),
        (Script((Packet((content("a"),)), Disconnect())), Outcome.DISCONNECTED),
        (Script(usage=(512, 5, 0)), Outcome.EMPTY),
        (Script((Wait(1e5),)), Outcome.TIMEOUT),
    ],
)
async def test_a_failure_has_an_outcome_and_no_numbers(script, outcome):
    sample, _ = await measure(script)
    assert sample.outcome is outcome
    assert sample.numbers == {}
    one_bad = iter([say("a b c"), script, say("a b c"), say("a b c")])
    answers = answerer(None)
    given = {**SMALL, "depths": [], "concurrency": [4]}
    sample, _ = await measure(lambda body: answers(body) or next(one_bad), given)
    assert (sample.outcome, sample.numbers) == (outcome, {})


async def test_a_server_that_refuses_the_warm_up():
    sample, server = await measure(lambda body: refuse(503, "Loading model"))
    assert (sample.outcome, sample.details["error"]) == (Outcome.REFUSED, "503: Loading model")
    assert len(server.requests) == 1


async def test_drafts_and_the_kv_pool_of_vllm_come_from_its_metrics():
    reads = iter(range(1000))

    def page():
        n = next(reads)
        return (
            f'vllm:kv_cache_usage_perc{{engine="0"}} {0.5 if n == 1 else 0.25}\n'
            f'vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {100 + 10 * n}\n'
            f'vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {50 + 4 * n}\n'
        )

    script = say("a b c d e", first=0.5, gap=0.25, finish_reason="length")
    sample, _ = await measure(script, engine="vllm", pages={"/metrics": page})
    assert sample.numbers["speed.kv.peak.v1"] == 0.5
    drafted = sample.numbers["speed.draft.drafted.v1"]
    assert drafted >= 20
    assert sample.numbers["speed.draft.accepted.v1"] == drafted * 0.4


async def test_memory_that_cannot_be_read_is_left_out():
    sample, _ = await measure(say("a b c"), readings=[StoreError("no")])
    assert sample.outcome is Outcome.OK
    assert not [key for key in sample.numbers if "memory" in key]


async def test_metrics_over_samples():
    script = say("a b c d e", first=0.5, gap=0.25, prompt=512, timings=TIMINGS, finish_reason="length")
    taken = [(await measure(script, {**SMALL, "repeats": 3}, case=n))[0] for n in range(3)]
    found = {one.formula: one for one in SPEED.metrics(taken, {})}
    assert found["speed.ttft.v1@512"].value == 0.5
    assert (found["speed.ttft.v1@512"].low, found["speed.ttft.v1@512"].high) == (0.5, 0.5)
    assert found["speed.ttft.v1@512"].larger_is_better is False
    assert found["speed.draft.acceptance.v1"].value == 0.75
    assert found["speed.draft.drafted.v1"].value == 24
    assert set(found["speed.decode.client.v1@512"].by_case) == {"depth-512-0", "depth-512-1", "depth-512-2"}


def test_it_is_found_by_its_name_again_and_again():
    assert [SUITES["speed"]().name for _ in range(2)] == ["speed", "speed"]


def test_cases_are_rounds_of_what_fits():
    endpoint = Endpoint("t", "http://127.0.0.1:1", "m", "llama.cpp", context=8192, slots=4)
    keys = [one.key for one in SPEED.cases(SPEED.parameters({"repeats": 2}), endpoint)]
    once = ["depth-512", "depth-4096", "together-2", "together-4"]
    assert keys == [f"{one}-{number}" for number in range(2) for one in once]
    unknown = Endpoint("t", "http://127.0.0.1:1", "m", "vllm")
    assert len(SPEED.cases(SPEED.parameters({"repeats": 1}), unknown)) == 7


def test_what_does_not_fit_is_named():
    endpoint = Endpoint("t", "http://127.0.0.1:1", "m", "llama.cpp", context=8192, slots=8)
    asked = read({})
    assert left_out(asked, endpoint) == [
        "depth 16384: a prompt of 16384 tokens with an answer of 128 does not fit into a context of 8192",
        "16 requests at once: it has 8 slots",
    ]
    assert left_out(asked, replace(endpoint, context=None, slots=None)) == []
    short = replace(endpoint, context=256)
    assert left_out(asked, short)[-1].startswith("requests at once: a prompt of 512 tokens")
    with pytest.raises(InvalidRequestError, match="nothing can be measured: depth 512"):
        SPEED.cases(SPEED.parameters({}), short)


async def test_a_sample_names_what_was_left_out():
    sample, _ = await measure(say("a b c"), {**SMALL, "concurrency": [2]}, slots=1)
    assert sample.details["left_out"] == ["2 requests at once: it has 1 slot"]


@pytest.mark.parametrize(
    "given",
    [
        {"depth": [1]}, {"depths": 512}, {"depths": [0]}, {"depths": ["1"]}, {"tokens": 1}, {"repeats": True},
        {"sampler": "HOT"}, {"sampler": 1}, {"timeout": 0}, {"timeout": "long"},
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(given):
    with pytest.raises(InvalidRequestError):
        SPEED.parameters(given)


def test_parameters_are_json_and_full():
    full = SPEED.parameters({"tokens": 7})
    assert json.loads(json.dumps(full)) == full
    assert SPEED.parameters(full) == full
    assert full["tokens"] == 7


def test_the_default_can_show_a_difference_beside_a_hundred_others():
    repeats = int(str(SPEED.parameters({})["repeats"]))
    tested = paired_bootstrap([100.0] * repeats, [101.0 + n / 100 for n in range(repeats)], resamples=200)
    assert tested.verdict is Verdict.HIGHER
    assert tested.p * 100 <= 0.05


def test_more_cached_than_there_was_is_no_speed():
    reply = Reply(Outcome.OK, times=Times(sent=0.0, first_token=1.0), usage=Usage(0, 5, 3))
    assert numbers.prefill(reply) is None


def test_a_count_that_makes_no_sense_is_not_used():
    assert prompts.calibrated(10, 10, 272) == prompts.Tokens()
    assert prompts.calibrated(56, 440, 272) == prompts.Tokens(32.0, 1.5)
