"""Each check passes on a server that is right, and fails for the reason that was scripted."""

import json

import pytest

from gpumod.core.errors import StoreError
from gpumod.core.job import Outcome
from gpumod.testing.scripted_answers import (
    Packet,
    Script,
    Wait,
    call_tools,
    content,
    reasoning,
    refuse,
    say,
)
from tests.bench.suites.stress.scripted_model import (
    CONTEXT,
    CRASH,
    EMPTY,
    but,
    check,
    numbers,
    passed,
    right,
    tokens_of,
)

ORDINARY = ["needle", "tools", "agent", "conversation", "reasoning", "repeat"]


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize(
    ("script", "outcome", "why"),
    [
        (refuse(500, "out of memory"), Outcome.REFUSED, "500: out of memory"),
        (CRASH, Outcome.DISCONNECTED, ""),
        (EMPTY, Outcome.EMPTY, "nothing was said"),
        (Script((Wait(1000.0),)), Outcome.TIMEOUT, "within 900 s"),
        (say("a b", finish_reason="length"), Outcome.CUT, "token limit"),
        (say("Let me see."), Outcome.WRONG, ""),
    ],
    ids=["refused", "disconnected", "empty", "timeout", "cut", "wrong"],
)
async def test_a_failure_fails_the_check_with_its_outcome(name, script, outcome, why):
    given = {"again": 2, "turns": 2}
    sample, _ = await check(name, but(script), **given)
    assert not passed(sample, name)
    assert sample.outcome is outcome
    assert why in sample.details["why"]


async def test_a_needle_is_found_in_a_prompt_of_the_depth_asked_for():
    sample, server = await check("needle", depths=[0.5], positions=[0.1, 0.9], which=1)
    assert passed(sample, "needle")
    assert sample.case == "needle-4096-0.9-0"
    assert numbers(sample) == {
        "stress.needle.v1@4096": 1.0,
        "stress.ttft.v1@4096": 0.5,
        "stress.prompt.v1@4096": float(tokens_of(server.requests[-1])),
    }
    assert tokens_of(server.requests[-1]) == pytest.approx(4096, rel=0.02)
    text = server.requests[-1]["messages"][0]["content"]
    assert text.index("The code of the") / len(text) == pytest.approx(0.9, abs=0.02)
    assert sample.details["requests"][-1]["ttft"] == 0.5


async def test_a_prompt_out_of_an_earlier_jobs_cache_is_no_measurement_of_reading():
    known = but(lambda body: right(body, cached=tokens_of(body) // 2))
    sample, _ = await check("needle", known, depths=[0.5])
    assert passed(sample, "needle")
    assert not [key for key in sample.numbers if "ttft" in key]
    sample, _ = await check("repeat", known, again=2)
    assert passed(sample, "repeat")
    assert "stress.repeat.ttft.first.v1" not in sample.numbers
    assert sample.numbers["stress.repeat.ttft.later.v1"] == 0.5


@pytest.mark.parametrize("said", ["123456", "It is 123456 or CODE.", "I do not know."])
async def test_a_needle_that_is_not_found(said):
    def answer(body):
        code = "".join(right(body).steps[1].deltas[0]["content"])
        return say(said.replace("CODE", code))

    sample, _ = await check("needle", but(answer))
    assert not passed(sample, "needle")
    assert (sample.outcome, sample.numbers["stress.needle.v1@2048"]) == (Outcome.WRONG, 0.0)


async def test_tools_fill_the_prompt_and_the_right_one_is_called():
    sample, server = await check("tools")
    assert passed(sample, "tools")
    tools = server.requests[-1]["tools"]
    assert len(tools) == 12
    assert len({one["function"]["name"] for one in tools}) == 12
    assert 9000 < len(json.dumps(tools)) < 12288
    assert sample.numbers["stress.ttft.v1@tools"] == 0.5


@pytest.mark.parametrize("wrong", ["other", "units", "twice", "no json"])
async def test_a_wrong_tool_call(wrong):
    def answer(body):
        function = right(body).steps[1].deltas[0]["tool_calls"][0]["function"]
        name, arguments = function["name"], json.loads(function["arguments"])
        if wrong == "no json":
            return Script(
                (Packet(({"tool_calls": [{"index": 0, "function": {"name": name, "arguments": "{"}}]},)),)
            )
        if wrong == "twice":
            return call_tools((name, arguments), (name, arguments))
        return call_tools(
            ("other" if wrong == "other" else name, arguments | ({"units": 0} if wrong == "units" else {}))
        )

    sample, _ = await check("tools", but(answer))
    assert not passed(sample, "tools")
    assert sample.outcome is Outcome.WRONG
    assert ("2 tool calls" if wrong == "twice" else "it called") in sample.details["why"]


async def test_an_agent_may_look_at_a_file_before_its_edit():
    def answer(body):
        if len(body["messages"]) == 4:
            return call_tools(("read_file", {"path": path(body)}), ("read_file", {"path": "/etc/passwd"}))
        return right({**body, "messages": [*body["messages"][:1], body["messages"][1], body["messages"][3]]})

    def path(body):
        return json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"])["path"]

    sample, server = await check("agent", but(answer))
    assert passed(sample, "agent")
    shown, refused = server.requests[-1]["messages"][-2:]
    assert "RETRY_LIMIT" in shown["content"]
    assert refused["content"] == "error: there is no such file"
    assert len(sample.details["calls"]) == 3
    first = server.requests[0]["messages"]
    assert [one["role"] for one in first] == ["system", "user", "assistant", "tool"]
    assert first[1]["content"].count("### src/") == 5


@pytest.mark.parametrize("wrong", ["elsewhere", "more", "too large", "ambiguous"])
async def test_another_edit_than_asked_for(wrong):
    def answer(body):
        call = (
            right(body).steps[1].deltas[0]["tool_calls"][0]["function"]
            if len(body["messages"]) == 4
            else None
        )
        if call is None:
            return say("Done.")
        given = json.loads(call["arguments"])
        if wrong == "ambiguous":
            given["old"] = "RETRY_LIMIT"
        elif wrong == "elsewhere":
            given["path"] = body["messages"][1]["content"].partition("### ")[2].partition("\n")[0]
        else:
            given["new"] += "\nMORE = 1" if wrong == "more" else "\n" * 200_000
        return call_tools(("replace_in_file", given))

    sample, _ = await check("agent", but(answer))
    assert not passed(sample, "agent")
    assert sample.outcome is Outcome.WRONG
    assert sample.details["why"] == "the files are not as they had to be after the edit"
    answered = sample.details["calls"][0][2]
    assert (
        answered
        == {
            "elsewhere": "error: the old text is not in the file exactly once",
            "more": "done",
            "too large": "error: the file would become too long",
            "ambiguous": "error: the old text is not in the file exactly once",
        }[wrong]
    )


async def test_an_agent_that_never_ends_is_stopped():
    sample, server = await check("agent", but(call_tools(("read_file", {"path": "x"}))))
    assert not passed(sample, "agent")
    assert len(server.requests) == 6


async def test_a_conversation_grows_and_its_beginning_is_remembered():
    answers = but(lambda body: right(body, cached=tokens_of(body) // 2))
    sample, server = await check("conversation", answers, turns=5)
    assert passed(sample, "conversation")
    assert [len(one["messages"]) for one in server.requests] == [1, 1, 1, 3, 5, 7, 9]
    assert tokens_of(server.requests[-1]) == pytest.approx(4096, rel=0.05)
    last = server.requests[-1]["messages"]
    assert [one["content"] for one in last if one["role"] == "assistant"] == ["Something plain."] * 4
    assert sample.numbers["stress.conversation.cached.v1"] == pytest.approx(0.5, abs=0.001)
    sample, _ = await check("conversation", but(EMPTY, lambda body: len(body["messages"]) == 5), turns=5)
    assert sample.details["why"] == "turn 3 of 5: the request succeeded and nothing was said"


async def test_reasoning_is_counted_and_any_answer_passes():
    steps = (
        Wait(2.0),
        Packet((reasoning("first "),), tokens=3),
        Wait(1.0),
        Packet((reasoning("then"),), tokens=7),
        Wait(1.0),
        Packet((content("ANSWER: 1000"),), tokens=9),
    )
    sample, server = await check("reasoning", but(Script(steps, usage=(100, 9, 0))))
    assert passed(sample, "reasoning")
    assert numbers(sample) == {
        "stress.reasoning.characters.v1": 10.0,
        "stress.reasoning.tokens.v1": 7.0,
        "stress.reasoning.right.v1": 0.0,
        "stress.ttft.v1@reasoning": 2.0,
        "stress.prompt.v1@reasoning": 100.0,
    }
    assert server.requests[-1]["max_tokens"] == CONTEXT // 2
    sample, _ = await check("reasoning", but(say(f"**ANSWER:** {sample.details['right']}")))
    assert sample.numbers["stress.reasoning.right.v1"] == 1.0


async def test_reasoning_without_an_end_is_silence():
    sample, _ = await check(
        "reasoning", but(Script((Packet((reasoning("hm"),), tokens=5),), usage=(9, 5, 0)))
    )
    assert not passed(sample, "reasoning")
    assert (sample.outcome, sample.numbers["stress.reasoning.tokens.v1"]) == (Outcome.EMPTY, 5.0)
    sample, _ = await check("reasoning", but(say("<think>hm</think>")))
    assert (sample.outcome, sample.numbers["stress.reasoning.characters.v1"]) == (Outcome.EMPTY, 17.0)


async def test_the_same_prompt_again_and_again():
    firsts, shares = iter((4.0, 1.0, 0.5, 0.25)), iter((0, 1, 2, 3))

    def answer(body):
        return right(body, first=next(firsts), cached=tokens_of(body) * next(shares) // 4)

    readings = [{"a": 100, "b": 7}, {"a": 130, "b": 7}, StoreError("no"), {"a": 150, "b": 5}]
    sample, server = await check("repeat", but(answer), again=4, readings=readings)
    assert passed(sample, "repeat")
    assert len({one["messages"][0]["content"] for one in server.requests[2:]}) == 1
    found = numbers(sample)
    assert found.pop("stress.repeat.cached.v1") == pytest.approx(0.5, abs=0.001)
    assert found.pop("stress.prompt.v1@repeat") == tokens_of(server.requests[-1])
    assert found == {
        "stress.repeat.ttft.first.v1": 4.0,
        "stress.repeat.ttft.later.v1": 0.5,
        "stress.ttft.v1@repeat": 0.25,
        "stress.repeat.errors.v1": 0.0,
        "stress.repeat.growth.v1@a": 50.0,
        "stress.repeat.growth.v1@b": -2.0,
    }


async def test_growth_beyond_what_is_allowed_and_errors_in_between():
    readings = [{"a": 100}, {"a": 151}]
    sample, _ = await check("repeat", again=2, readings=readings, growth=50)
    assert not passed(sample, "repeat")
    assert sample.details["why"] == "memory grew by 51 bytes on a; 50 are allowed"
    sample, _ = await check("repeat", again=2, readings=[{"a": 100}, {"a": 151}], growth=51)
    assert passed(sample, "repeat")
    fails = iter((False, True, False))
    sample, _ = await check("repeat", but(refuse(500), lambda body: next(fails)), again=3)
    assert not passed(sample, "repeat")
    assert (sample.outcome, sample.numbers["stress.repeat.errors.v1"]) == (Outcome.REFUSED, 1.0)
