import dataclasses
import json
import re

import pytest

from gpumod.bench.suites import SUITES, suites_with
from gpumod.bench.suites.quality import suite
from gpumod.bench.suites.quality.loading import shipped_packs
from gpumod.core.errors import ConfigError, InvalidRequestError
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import Disconnect, Hang, Packet, Script, call_tools, content, refuse, say
from gpumod.testing.scripted_server import ScriptedServer

NOWHERE = Endpoint("target", "http://127.0.0.1:9", "model", "llama.cpp")
OWN = """\
pack: mine
title: My own
scenarios:
  - id: one
    level: easy
    prompt: Say five.
    checks: [{number: {value: 5}}]
    right: "5"
    wrong: ["6"]
"""


@dataclasses.dataclass
class ScriptedBench:
    endpoint: Endpoint
    clock: FakeClock

    async def memory(self):
        return {}

    async def visit(self, mode, meanwhile=None):
        raise AssertionError("no case of this suite leaves its target")


def scenarios():
    return [one for pack in shipped_packs() for one in pack.scenarios]


def playing(choose):
    """A server that knows every scenario by its first messages, and says what `choose` takes from it."""
    known = {(one.system, one.prompts[0]): one for one in scenarios()}
    assert len(known) == len(scenarios())

    def answer(body):
        messages = body["messages"]
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        prompt = next(one["content"] for one in messages if one["role"] == "user")
        turns = sum(one["role"] == "assistant" for one in messages)
        script = choose(known[system, prompt])
        turn = script[min(turns, len(script) - 1)]
        if turn.calls:
            return call_tools(*((call.name, call.arguments) for call in turn.calls))
        return say(turn.text)

    return answer


async def played(answers, given=None, only=None):
    clock, quality = FakeClock(), suite()
    parameters = quality.parameters(given or {})
    async with ScriptedServer(clock, answers) as server:
        bench = ScriptedBench(server.endpoint(), clock)
        cases = quality.cases(parameters, bench.endpoint)
        samples = [await quality.run(one, parameters, bench) for one in cases if only in {None, one.key}]
    return samples, {one.formula: one for one in quality.metrics(samples, parameters)}, server


async def test_a_model_that_is_always_right_gets_all_points():
    samples, metrics, _ = await played(playing(lambda scenario: scenario.right))
    assert {one.outcome for one in samples} == {Outcome.OK}, [one for one in samples if not one.score]
    assert metrics["quality.points.v1"].value == 100
    assert metrics["quality.points.v1"].count == len(scenarios())
    assert metrics["quality.points.v1"].low > 97
    assert metrics["quality.unscored.v1"].value == 0


async def test_a_model_that_is_always_wrong_gets_none():
    samples, metrics, _ = await played(playing(lambda scenario: scenario.wrong[0]))
    assert {one.outcome for one in samples} == {Outcome.WRONG}
    assert metrics["quality.points.v1"].value == 0
    assert all(one.details["complaints"] for one in samples)


async def test_points_of_a_pack_carry_wilsons_interval_and_each_cases_value():
    def choose(scenario):
        return scenario.right if scenario.level == "easy" else scenario.wrong[0]

    samples, metrics, _ = await played(playing(choose), {"packs": ["reasonmath-15"]})
    found = metrics["quality.points.v1@reasonmath-15"]
    assert (found.value, found.count, found.unit) == (20.0, 15, "points")
    assert (found.low, found.high) == (pytest.approx(7.05, abs=0.01), pytest.approx(45.19, abs=0.01))
    assert found.by_case == {one.case: one.score for one in samples}
    assert sum(found.by_case.values()) == 3
    assert [one for one in metrics if "points" in one] == [
        "quality.points.v1",
        "quality.points.v1@reasonmath-15",
    ]


@pytest.mark.parametrize(
    ("script", "outcome", "score"),
    [
        (say("Answer: 319"), Outcome.OK, 1.0),
        (say("<think>Answer: 1</think>\nAnswer: 319"), Outcome.OK, 1.0),
        (say("Answer: 320"), Outcome.WRONG, 0.0),
        (dataclasses.replace(say("Answer: 319"), finish_reason="length"), Outcome.CUT, 0.0),
        (say(""), Outcome.EMPTY, 0.0),
        (Script((Packet((content("Answer: 319"),)), Hang())), Outcome.TIMEOUT, 0.0),
        (refuse(500), Outcome.REFUSED, None),
        (Script((Disconnect(),)), Outcome.DISCONNECTED, None),
    ],
)
async def test_what_ends_an_answer_is_told_apart(script, outcome, score):
    (sample,), metrics, _ = await played([script], only="reasonmath-15/crates")
    assert (sample.outcome, sample.score) == (outcome, score)
    assert metrics["quality.unscored.v1"].value == (score is None)
    assert metrics["quality.points.v1"].value == (None if score is None else 100 * score)


async def test_what_a_server_refuses_is_no_wrong_answer_in_the_points():
    def answer(body):
        return refuse(500) if "crates" in body["messages"][-1]["content"] else right(body)

    right = playing(lambda scenario: scenario.right)
    _, metrics, _ = await played(answer, {"packs": ["reasonmath-15"]})
    points = metrics["quality.points.v1"]
    assert (points.value, points.count) == (100.0, 14)
    assert "reasonmath-15/crates" not in points.by_case
    assert metrics["quality.unscored.v1"].value == 1


async def test_the_sampler_the_limit_and_the_tools_are_sent():
    given = {"sampler": "NON_THINKING", "max_tokens": 77}
    answers = playing(lambda scenario: scenario.right)
    _, _, server = await played(answers, given, only="toolcall-15/one-city")
    (body,) = server.requests
    assert (body["temperature"], body["presence_penalty"], body["max_tokens"]) == (0.7, 1.5, 77)
    assert [one["function"]["name"] for one in body["tools"]] == ["get_weather", "set_timer"]
    weather = body["tools"][0]["function"]["parameters"]
    assert weather["required"] == ["city", "date"]
    assert list(weather["properties"]) == ["city", "date", "unit"]


async def test_arguments_that_are_no_json_object_are_wrong_and_not_sent_back():
    call = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "get_weather", "arguments": "{"}}]}
    script = Script((Packet((call,)),), finish_reason="tool_calls")
    (sample,), _, _ = await played([script], only="toolcall-15/one-city")
    assert sample.outcome is Outcome.WRONG
    assert sample.details["complaints"] == ["the arguments of get_weather are not a JSON object"]


def test_a_sample_can_be_kept_as_json():
    assert json.dumps([dict(one.data) for one in suite().cases(suite().parameters({}), NOWHERE)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pack": ["x"]}, "no parameter 'pack'"),
        ({"packs": ["nothing-1"]}, "no pack 'nothing-1'"),
        ({"packs": "reasonmath-15"}, "list of names"),
        ({"packs": ["../../etc/passwd"]}, "no pack"),
        ({"sampler": "HOT"}, "sampler must be one of"),
        ({"sampler": ["GREEDY"]}, "sampler must be one of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_wrong_parameters_are_refused_with_a_sentence(given, said):
    with pytest.raises(InvalidRequestError, match=said):
        suite().parameters(given)


def test_filled_in_parameters_stay_as_they_are():
    quality = suite()
    once = quality.parameters({})
    assert quality.parameters(once) == once
    assert json.loads(json.dumps(once)) == once


def test_cases_are_the_same_each_time_and_have_keys_of_their_own():
    quality = suite()
    parameters = quality.parameters({})
    keys = [one.key for one in quality.cases(parameters, NOWHERE)]
    assert keys == [one.key for one in suite().cases(parameters, NOWHERE)]
    assert len(set(keys)) == len(keys)


def test_own_packs_come_from_the_folder_and_are_named_with_their_hash(tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN)
    quality = suite(tmp_path)
    assert "mine" not in str(quality.parameters({}))
    parameters = quality.parameters({"packs": ["mine", "reasonmath-15"]})
    assert re.fullmatch(r"\['mine@[0-9a-f]{16}', 'reasonmath-15'\]", str(parameters["packs"]))
    assert quality.parameters(parameters) == parameters
    assert next(one.key for one in quality.cases(parameters, NOWHERE)) == "mine/one"


def test_the_daemons_suites_have_the_packs_of_the_configured_folder(tmp_path):
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "mine.yaml").write_text(OWN)
    assert "mine@" in str(suites_with(tmp_path)["quality"]().parameters({"packs": ["mine"]}))
    with pytest.raises(InvalidRequestError, match="no pack 'mine'"):
        SUITES["quality"]().parameters({"packs": ["mine"]})


def test_a_job_does_not_go_on_with_an_own_pack_that_was_changed(tmp_path):
    (tmp_path / "mine.yaml").write_text(OWN)
    parameters = suite(tmp_path).parameters({"packs": ["mine"]})
    (tmp_path / "mine.yaml").write_text(OWN.replace("five", "five now"))
    with pytest.raises(InvalidRequestError, match="has changed"):
        suite(tmp_path).cases(parameters, NOWHERE)


def test_an_own_pack_cannot_take_a_shipped_ones_name_and_a_broken_one_is_an_error(tmp_path):
    (tmp_path / "reasonmath-15.yaml").write_text(OWN.replace("mine", "reasonmath-15"))
    (tmp_path / "mine.yaml").write_text(OWN)
    with pytest.raises(InvalidRequestError, match="name of a shipped pack"):
        suite(tmp_path).parameters({"packs": ["mine"]})
    (tmp_path / "reasonmath-15.yaml").write_text("pack: [")
    with pytest.raises(ConfigError, match=r"reasonmath-15.yaml:"):
        suite(tmp_path).parameters({"packs": ["mine"]})


def test_an_empty_list_of_packs_means_all_shipped_ones_and_the_hash_is_stable():
    quality = suite()
    assert quality.parameters({"packs": []})["packs"] == [one.name for one in shipped_packs()]
    assert quality.content_hash == suite().content_hash
    assert len(quality.content_hash) == 64
