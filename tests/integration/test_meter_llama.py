"""The meter and the suite `speed` on llama.cpp itself: what it says of a request, and what the meter saw."""

import asyncio
import json
import sys

import pytest

from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.engine_page import engine_page
from gpumod.bench.meter.ledger import LEDGER, Ledger
from gpumod.bench.meter.sampler import GREEDY
from gpumod.bench.suites.speed import suite
from gpumod.bench.worker.others import Others, counters_of
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.daemon import SystemClock
from gpumod.engines.http import EngineHttpError, get
from gpumod.engines.llama_cpp import EMBEDDED_SERVER
from gpumod.testing.gguf import Shape, write_gguf
from gpumod.testing.ports import free_port
from tests.engines.processes import PATIENCE, start

__all__ = ["start"]

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

SHAPE = Shape(layers=2, embedding=128, feed_forward=512, heads=4, context=4096)
ASK = [{"role": "user", "content": "hello there"}]
FLAGS = {"cache_prompt": False, "timings_per_token": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("models") / "small.gguf", SHAPE)


@pytest.fixture
async def endpoint(start, model):
    port = free_port()
    words = ("--model", str(model), "--port", str(port), "-c", "8192", "-np", "2", "-t", "1", "--metrics")
    process = start((sys.executable, "-P", EMBEDDED_SERVER, *words, "--no-warmup"))
    async with asyncio.timeout(PATIENCE):
        while True:
            assert process.alive(), process.lines[-20:]
            try:
                if (await get(port, "/health", PATIENCE)).status == 200:
                    break
            except EngineHttpError:
                pass
            await asyncio.sleep(0.02)
    return Endpoint("small", f"http://127.0.0.1:{port}", "small", "llama.cpp", context=4096, slots=2)


class Bench:
    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.clock = SystemClock()

    async def memory(self):
        return {"host": 1000}

    async def visit(self, mode, meanwhile=None):
        raise AssertionError("no case of this suite leaves its target")


async def test_the_servers_account_and_the_meters_agree(endpoint):
    reply = await chat(
        endpoint, ASK, sampler=GREEDY, max_tokens=64, timeout=60.0, extra=FLAGS, clock=SystemClock()
    )
    assert (reply.outcome, reply.finish_reason, reply.status) == (Outcome.CUT, "length", 200)
    assert reply.usage is not None
    assert reply.timings is not None
    assert reply.usage.completion == reply.timings.tokens == 64
    assert reply.usage.prompt == reply.timings.prompt_tokens + (reply.timings.cached_tokens or 0)
    times = reply.times
    assert times.sent is not None
    assert times.first_token is not None
    assert times.sent < times.first_token <= times.chunks[-1] <= times.ended
    assert list(times.tokens) == sorted(times.tokens)
    assert times.tokens[-1] <= 64
    # The server's reading and writing both lie within what the client waited for.
    assert reply.timings.prompt_seconds + reply.timings.seconds <= times.ended - times.sent + 0.05
    assert reply.text


async def test_a_whole_answer_is_the_streams(endpoint):
    both = [
        await chat(
            endpoint, ASK, sampler=GREEDY, max_tokens=16, timeout=60.0, clock=SystemClock(), stream=stream
        )
        for stream in (True, False)
    ]
    assert both[0].text == both[1].text
    assert both[0].finish_reason == both[1].finish_reason == "length"
    assert both[1].timings is not None
    assert both[1].usage is not None


async def test_its_errors_are_outcomes(endpoint):
    long = [{"role": "user", "content": "word " * 20000}]
    reply = await chat(endpoint, long, timeout=60.0, clock=SystemClock())
    assert (reply.outcome, reply.status) == (Outcome.REFUSED, 400)
    assert "context" in reply.error


async def test_it_stops_when_the_meter_goes(endpoint):
    request = asyncio.create_task(
        chat(endpoint, ASK, max_tokens=3000, timeout=60.0, extra={"ignore_eos": True}, clock=SystemClock())
    )
    await _until_busy(endpoint, busy=True)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await _until_busy(endpoint, busy=False)


async def test_what_it_shows_of_its_slots_has_no_prompt_in_it(endpoint):
    """Clients of the gateway may look at them: docs/gateway.md."""
    secret = [{"role": "user", "content": "xyzzy " * 20}]
    request = asyncio.create_task(
        chat(endpoint, secret, max_tokens=3000, timeout=60.0, extra={"ignore_eos": True}, clock=SystemClock())
    )
    await _until_busy(endpoint, busy=True)
    answer = await get(int(endpoint.url.rpartition(":")[2]), "/slots", PATIENCE)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert "is_processing" in str(answer.body)
    assert "xyzzy" not in str(answer.body)


async def test_speed_on_a_real_server(endpoint):
    speed, bench = suite(), Bench(endpoint)
    parameters = speed.parameters({"depths": [256, 1024], "concurrency": [2], "tokens": 128, "repeats": 2})
    cases = speed.cases(parameters, endpoint)
    samples = [await speed.run(case, parameters, bench) for case in cases]
    assert [one.outcome for one in samples] == [Outcome.OK] * 6
    (deep,) = (one.details["requests"] for one in samples if one.case == "depth-1024-0")
    assert isinstance(deep, list)
    assert deep[0]["prompt_tokens"] == pytest.approx(1024, rel=0.1)
    found = {one.formula: one for one in speed.metrics(samples, parameters)}
    values = {formula: one.value or 0.0 for formula, one in found.items()}
    for depth in (256, 1024):
        client, server = (values[f"speed.prefill.{side}.v1@{depth}"] for side in ("client", "server"))
        assert client > 0
        assert server > 0
        assert found[f"speed.cached.v1@{depth}"].value == 0.0
        # An answer that a starved client reads in one piece has no decode speed.
        assert found[f"speed.decode.client.v1@{depth}"].count in {0, 1, 2}
    assert values["speed.throughput.v1@2"] > 0
    assert found["speed.memory.peak.v1"].value == 1000
    assert "speed.draft.acceptance.v1" not in found


async def _until_busy(endpoint, *, busy):
    port = int(endpoint.url.rpartition(":")[2])
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await get(port, "/slots", PATIENCE)
            if any(one["is_processing"] for one in json.loads(answer.body)) is busy:
                return
            await asyncio.sleep(0.01)


async def test_its_counters_grow_by_what_the_meter_has_entered_and_by_what_others_ask(endpoint):
    others, ledger = Others("small"), Ledger()
    token = LEDGER.set(ledger)
    try:
        others.begin(1, await _counters(endpoint))
        cached = 0
        for number in range(4):  # the later ones find the earlier ones' beginning in the cache
            words = [{"role": "user", "content": "the same beginning of all of them " * 20 + str(number)}]
            reply = await chat(
                endpoint, words, sampler=GREEDY, max_tokens=8, timeout=60.0, clock=SystemClock()
            )
            assert reply.usage is not None
            now = await _counters(endpoint)
            assert now.busy == 0
            assert others.after(1, now, ledger.take())
            assert [*others._open] == [0, 0], "to the token"
            cached = reply.usage.cached or 0
        assert cached > 20
        LEDGER.set(None)
        foreign = await chat(endpoint, ASK, sampler=GREEDY, max_tokens=40, timeout=60.0, clock=SystemClock())
        LEDGER.set(ledger)
        await chat(endpoint, ASK, sampler=GREEDY, max_tokens=8, timeout=60.0, clock=SystemClock())
        assert others.after(1, await _counters(endpoint), ledger.take())
        assert foreign.timings is not None
        assert others.served == (foreign.timings.prompt_tokens, 40)
    finally:
        LEDGER.reset(token)


async def _counters(endpoint):
    found = counters_of(await engine_page(endpoint, "/metrics"))
    assert found is not None
    return found
