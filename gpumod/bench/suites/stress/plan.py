"""Which cases there are for a target, and which had to be left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.core.job_ports import Case, Endpoint

_SPARE: Final = 1.02
"""A prompt may have so much more tokens than it was meant to have."""
_OVERHEAD: Final = 64
"""Tokens of the chat template and of the question."""
_CHARACTERS: Final = 3.0
"""Per token: few, so that definitions and code fit whatever the model."""
_TOOL_CHARACTERS: Final = 1000
_FILE_CHARACTERS: Final = 1200
_AGENT_CHARACTERS: Final = 4500
"""Of the system prompt, the tools, and what is said around the files."""
_LEAST_REASONING: Final = 1024


@dataclass(slots=True)
class Plan:
    """The cases in order, and a sentence for each one that does not fit."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def plan(parameters: Parameters, endpoint: Endpoint) -> Plan:
    """The same for the same parameters and endpoint."""
    made = Plan()
    for number in range(parameters.repeats):
        for check in parameters.checks:
            for found in _BY_CHECK[check](parameters, endpoint):
                if isinstance(found, str):
                    made.left_out.append(found)
                    continue
                key, data = found
                key = f"{key}-{number}"
                data |= {"check": check, "seed": f"{parameters.seed} {key}"}
                made.cases.append(Case(key, data))
    made.left_out = list(dict.fromkeys(made.left_out))
    return made


_Found = Iterator[tuple[str, dict[str, object]] | str]


def _load(parameters: Parameters, endpoint: Endpoint) -> int:
    """Tokens of a long prompt that is not about depth."""
    return round(parameters.load * parameters.room(endpoint))


def _needles(parameters: Parameters, endpoint: Endpoint) -> _Found:
    room, answer = parameters.room(endpoint), parameters.answer_tokens(endpoint)
    for depth in sorted(parameters.depths):
        tokens = round(depth * room)
        if tokens * _SPARE + _OVERHEAD + answer > room:
            yield (
                f"needle: a prompt of {tokens} tokens ({depth:g} of the context) and an answer of "
                f"{answer} do not fit into {room}"
            )
            continue
        for position in sorted(parameters.positions):
            yield f"needle-{tokens}-{position:g}", {"tokens": tokens, "position": position}


def _tools(parameters: Parameters, endpoint: Endpoint) -> _Found:
    fitting = int(_load(parameters, endpoint) * _CHARACTERS / _TOOL_CHARACTERS)
    count = min(parameters.tools, fitting)
    if count < 2:
        yield f"tools: fewer than two definitions fit into {_load(parameters, endpoint)} tokens"
        return
    yield f"tools-{count}", {"count": count}


def _agent(parameters: Parameters, endpoint: Endpoint) -> _Found:
    fitting = int((_load(parameters, endpoint) * _CHARACTERS - _AGENT_CHARACTERS) / _FILE_CHARACTERS)
    count = min(parameters.files, fitting)
    if count < 2:
        yield f"agent: fewer than two files fit into {_load(parameters, endpoint)} tokens"
        return
    yield f"agent-{count}", {"count": count}


def _conversation(parameters: Parameters, endpoint: Endpoint) -> _Found:
    tokens = _load(parameters, endpoint)
    yield f"conversation-{parameters.turns}-{tokens}", {"turns": parameters.turns, "tokens": tokens}


def _reasoning(parameters: Parameters, endpoint: Endpoint) -> _Found:
    if parameters.long_tokens(endpoint) < min(_LEAST_REASONING, parameters.reasoning_tokens):
        yield f"reasoning: {parameters.long_tokens(endpoint)} tokens are no room for it"
        return
    steps = parameters.reasoning_steps
    yield f"reasoning-{steps}", {"steps": steps}


def _repeat(parameters: Parameters, endpoint: Endpoint) -> _Found:
    tokens = _load(parameters, endpoint)
    yield f"repeat-{parameters.again}-{tokens}", {"times": parameters.again, "tokens": tokens}


def _storm(parameters: Parameters, endpoint: Endpoint) -> _Found:
    del endpoint
    yield f"storm-{parameters.storm}", {"many": parameters.storm}


def _limit(parameters: Parameters, endpoint: Endpoint) -> _Found:
    del parameters
    if endpoint.context is None:
        yield "limit: the target's context is not known"
        return
    yield "limit-at", {"side": "at", "tokens": round(0.95 * endpoint.context)}
    yield "limit-over", {"side": "over", "tokens": round(1.2 * endpoint.context)}


_BY_CHECK: Final = {
    "needle": _needles,
    "tools": _tools,
    "agent": _agent,
    "conversation": _conversation,
    "reasoning": _reasoning,
    "repeat": _repeat,
    "storm": _storm,
    "limit": _limit,
}
