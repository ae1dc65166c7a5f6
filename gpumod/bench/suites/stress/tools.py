"""Many tool definitions in the prompt: the right one has to be called, rightly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from gpumod.bench.suites._common.asking import LONGEST, Asker, user
from gpumod.bench.suites._common.texts import ADJECTIVES, NOUNS, passage, source
from gpumod.bench.suites.stress.finding import Finding, judged, reading
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.core.job_ports import Case

_ACTIONS: Final = ("reserve", "inspect", "repair", "transfer", "archive", "release", "label", "weigh")


def tool(name: str, description: str, fields: Mapping[str, tuple[str, str]]) -> Mapping[str, object]:
    """A definition as OpenAI's API has it; `fields` are required: type and description by name."""
    properties = {key: {"type": kind, "description": text} for key, (kind, text) in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    function = {"name": name, "description": description, "parameters": schema}
    return {"type": "function", "function": function}


def names(seed: str, count: int) -> list[str]:
    """So many names of tools."""
    every = [f"{one}_{two}_{three}" for one in _ACTIONS for two in ADJECTIVES for three in NOUNS]
    return source(f"{seed} tools").sample(every, count)


def definition(name: str, seed: str) -> Mapping[str, object]:
    """The definition of the tool of that name."""
    action, first, second = name.split("_")
    description = (
        f"Use this to {action} one or more of the {first} {second}s. Notes: {passage(f'{seed} {name}', 5)}"
    )
    return tool(
        name,
        description,
        {
            "hall": ("string", "The hall in which it stands, by its name in small letters."),
            "units": ("integer", "How many of them, at least one."),
            "reference": ("string", "The order's reference exactly as it was given, such as `QX-1234`."),
        },
    )


def request(seed: str, among: list[str]) -> tuple[str, str, dict[str, object]]:
    """What to ask, the tool that it needs, and the arguments."""
    chance = source(f"{seed} request")
    name = chance.choice(among)
    action, first, second = name.split("_")
    arguments: dict[str, object] = {
        "hall": chance.choice(("north", "south", "east", "west")),
        "units": chance.randint(2, 40),
        "reference": f"{chance.choice('QRSTVWXZ')}{chance.choice('BCDFGHJK')}-{chance.randint(1000, 9999)}",
    }
    text = (
        f"Please {action} {arguments['units']} of the {first} {second}s in the hall {arguments['hall']}; the "
        f"reference is {arguments['reference']}. Call the one tool that does this, once."
    )
    return text, name, arguments


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """Exactly one call, of the right tool, with exactly these arguments."""
    del parameters
    seed = str(case.data["seed"])
    there = names(seed, int(str(case.data["count"])))
    text, name, arguments = request(seed, there)
    reply = await asker.answer([user(text)], tools=[definition(one, seed) for one in there])
    calls = [(one.name[:LONGEST], one.arguments[:LONGEST]) for one in reply.tool_calls[:10]]
    details = {"calls": [list(one) for one in calls], "expected": [name, arguments]}
    return judged(_wrong(calls, name, arguments), reading(reply, "tools"), details)


def _wrong(calls: list[tuple[str, str]], name: str, arguments: Mapping[str, object]) -> str:
    if len(calls) != 1:
        return f"there were {len(calls)} tool calls instead of one"
    called, given = calls[0]
    if called != name:
        return f"it called {called[:100]} instead of {name}"
    if arguments_of(given) != arguments:
        return f"it called {name} with {given[:200]}"
    return ""


def arguments_of(text: str) -> Mapping[str, object] | None:
    """A call's arguments; None where they are no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
