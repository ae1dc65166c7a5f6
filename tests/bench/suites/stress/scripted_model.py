"""A model that does everything right, in a scripted server; a test replaces what shall go wrong."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from gpumod.bench.suites.stress import suite
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Endpoint
from gpumod.testing.clock import FakeClock
from gpumod.testing.scripted_answers import Disconnect, Packet, Script, call_tools, content, refuse, say
from gpumod.testing.scripted_server import ScriptedServer

STRESS: Any = suite()
CONTEXT = 8192
EMPTY = Script(usage=(10, 5, 0))
CRASH = Script((Packet((content("a"),)), Disconnect()))


@dataclass
class FakeBench:
    """The last reading of memory stays."""

    endpoint: Endpoint
    clock: FakeClock
    readings: list[Any] = field(default_factory=lambda: [{"card": 100}])

    async def memory(self):
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(reading, Exception):
            raise reading
        return reading


def text_of(body):
    return "\n".join(str(one["content"]) for one in body["messages"])


def tokens_of(body):
    """Twenty tokens, and ten for every sentence."""
    return 20 + 10 * text_of(body).count(".")


def counting(body):
    return body["max_tokens"] == 1


def is_sum(body):
    return "plus" in body["messages"][-1]["content"] and "alone" in body["messages"][-1]["content"]


def right(body, **given):
    """What a model that makes no mistake answers."""
    text, last = text_of(body), str(body["messages"][-1]["content"])
    given = {"first": 0.5, "prompt": tokens_of(body), **given}
    if counting(body):
        return say("x", prompt=tokens_of(body), finish_reason="length")
    if tokens_of(body) > CONTEXT:
        return refuse(400, "the request exceeds the available context size")
    if is_sum(body):
        return say(str(sum(map(int, re.findall(r"\d+", last)))), **given)
    if found := re.search(r"What is the code of the (.*)\?", last):
        return say(re.findall(f"code of the {found[1]} is (\\d+)", text)[0], **given)
    if found := re.search(r"Please (\w+) (\d+) of the (\w+) (\w+)s in the hall (\w+); .* is (\S+)\.", last):
        action, units, one, other, hall, reference = found.groups()
        arguments = {"hall": hall, "units": int(units), "reference": reference}
        return call_tools((f"{action}_{one}_{other}", arguments), first=0.5)
    if found := re.search(r"In (\S+), set RETRY_LIMIT to (\d+)", text):
        old = re.findall(r"RETRY_LIMIT = \d+", last)[0]
        return call_tools(
            ("replace_in_file", {"path": found[1], "old": old, "new": f"RETRY_LIMIT = {found[2]}"})
        )
    if "essay" in last:
        return say("a b c d e f g h", first=0.5, gap=10.0)
    return say("Something plain.", **given)


async def check(name, answers=right, *, readings=None, pages=None, which=0, slots=4, **given):
    """One case of a check on that server; the sample and the server."""
    clock = FakeClock(0.0)
    async with ScriptedServer(clock, answers, pages=pages or {}) as server:
        endpoint = server.endpoint(context=CONTEXT, slots=slots)
        bench = FakeBench(endpoint, clock, readings or [{"card": 100}])
        parameters = STRESS.parameters({"checks": [name], **given})
        sample = await STRESS.run(STRESS.cases(parameters, endpoint)[which], parameters, bench)
        return sample, server


def but(wrong, when=lambda body: True):
    """Right, but for requests that are not there to count tokens and that the test means."""

    def answer(body):
        if counting(body) or not when(body):
            return right(body)
        return wrong(body) if callable(wrong) else wrong

    return answer


def passed(sample, name):
    keys = ("stress.passed.v1", f"stress.passed.v1@{name}")
    assert {sample.numbers[key] for key in keys} == {sample.score}
    assert (sample.score == 1.0) == (sample.outcome is Outcome.OK) == (sample.details["why"] == "")
    assert json.loads(json.dumps(sample.details)) == sample.details
    return sample.score == 1.0


def numbers(sample):
    return {key: value for key, value in sample.numbers.items() if "passed" not in key}
