"""The suites `stress` and `soak` on llama.cpp itself, with a model whose answers make no sense."""

from gpumod.bench.suites import SUITES
from gpumod.core.job import Outcome
from tests.integration.test_meter_llama import Bench, endpoint, model, start

__all__ = ["endpoint", "model", "start"]


async def measure(name, endpoint, given, *keys):
    suite = SUITES[name]()
    parameters = suite.parameters(given)
    cases = [one for one in suite.cases(parameters, endpoint) if one.key.startswith(keys or "")]
    return [await suite.run(one, parameters, Bench(endpoint)) for one in cases]


async def test_what_can_be_seen_without_sense(endpoint):
    given = {"checks": ["storm", "limit"], "storm": 4, "tokens": 16, "bound": 120, "timeout": 120}
    storm, over = await measure("stress", endpoint, given, "storm", "limit-over")
    # Two slots: two of the four were answering. All four have gone, and the engine knows.
    assert storm.numbers["stress.storm.streaming.v1"] == 2
    assert storm.numbers["stress.storm.waiting.v1"] == 2
    assert storm.numbers["stress.storm.left.v1"] == 0
    assert over.details["status"] == 400
    assert "context" in str(over.details["error"])
    for sample in (storm, over):  # what it said afterwards is no sum
        assert sample.outcome in {Outcome.CUT, Outcome.WRONG, Outcome.EMPTY}
        assert str(sample.details["why"]).startswith("an ordinary request afterwards")
    given = {"sessions": 2, "turns": 2, "tokens": 8, "sentences": 5}
    sessions = await measure("soak", endpoint, given)
    assert [one.numbers["soak.requests.v1"] for one in sessions] == [2, 2]
    assert [one.numbers["soak.ttft.v1"] > 0 for one in sessions] == [True, True]
