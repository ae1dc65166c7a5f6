"""The suite `quality`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gpumod.bench.formulas import AT, share
from gpumod.bench.formulas import metrics as pooled
from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.reply import Reply
from gpumod.bench.meter.sampler import SAMPLERS
from gpumod.bench.suites.quality.answer import Answer, Call, arguments_of
from gpumod.bench.suites.quality.conversation import Conversation
from gpumod.bench.suites.quality.formulas import POINTS, TOKENS, TURNS, UNSCORED
from gpumod.bench.suites.quality.loading import packs_of, shipped_packs
from gpumod.bench.suites.quality.scenario import Pack, Scenario, Turn
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

VERSION: Final = "1"
_UNSCORED: Final = frozenset({Outcome.REFUSED, Outcome.DISCONNECTED, Outcome.SANDBOX})
"""Of these nothing follows about the model."""
_LONGEST_TEXT: Final = 4000
"""Characters of an answer that a sample keeps."""
_DEFAULTS: Final[Mapping[str, object]] = {
    "packs": (),
    "sampler": "GREEDY",
    "max_tokens": 8192,
    "timeout": 300.0,
}


def suite(own: Path | None = None) -> QualitySuite:
    """The suite with the shipped packs and those of a folder of the user's own, if there is one."""
    return QualitySuite(own)


class QualitySuite:
    """Scenarios in packs; each is answered rightly or not, which code decides.

    Args:
        own: a folder with packs of the user's own.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._own = own

    @property
    def name(self) -> str:
        """As in `job submit --suite`."""
        return "quality"

    @property
    def version(self) -> str:
        """Grows with every change that changes scores."""
        return VERSION

    @property
    def content_hash(self) -> str:
        """SHA-256 over the shipped packs and all code of this suite. Own packs are in the parameters."""
        digest = hashlib.sha256()
        root = Path(__file__).resolve().parent
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()}\n{len(content)}\n".encode() + content)
        return digest.hexdigest()

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with every default filled in.

        An own pack becomes `NAME@HASH`: a job that resumes after the file was changed is refused.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
            ConfigError: an own pack's file is wrong.
        """
        if unknown := [one for one in given if one not in _DEFAULTS]:
            known = ", ".join(_DEFAULTS)
            raise InvalidRequestError(f"the suite quality has no parameter {unknown[0]!r}: it has {known}")
        merged = {**_DEFAULTS, **given}
        sampler, tokens, timeout = merged["sampler"], merged["max_tokens"], merged["timeout"]
        if not isinstance(sampler, str) or sampler not in SAMPLERS:
            raise InvalidRequestError(f"sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r}")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
            raise InvalidRequestError(f"max_tokens must be a whole number from 1, not {tokens!r}")
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= 86400:
            raise InvalidRequestError(
                f"timeout must be seconds, more than 0 and at most a day, not {timeout!r}"
            )
        packs = self._chosen(merged["packs"])
        return {
            "packs": list(packs),
            "sampler": sampler,
            "max_tokens": tokens,
            "timeout": float(timeout),
        }

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Nothing: no pack runs a program, each answer is read by checkers alone."""
        del parameters
        return ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """Every scenario of the chosen packs, in order."""
        del endpoint
        return [
            Case(scenario.key, {"pack": scenario.pack, "id": scenario.id, "level": scenario.level})
            for pack in self._chosen(parameters["packs"]).values()
            for scenario in pack.scenarios
        ]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Ask, carry out tool calls, ask again, and check the end."""
        # The first time it reads files, for some tenths of a second.
        scenario = await asyncio.to_thread(self._scenario, case.key, parameters)
        conversation = Conversation(scenario)
        at, began = bench.clock.now(), bench.clock.monotonic()
        tokens = 0
        while True:
            reply = await chat(
                bench.endpoint,
                conversation.messages,
                sampler=SAMPLERS[str(parameters["sampler"])],
                max_tokens=_whole(parameters["max_tokens"]),
                tools=scenario.offered or None,
                timeout=_seconds(parameters["timeout"]),
                clock=bench.clock,
            )
            tokens += reply.usage.completion if reply.usage else 0
            conversation.take(_turn(reply))
            if reply.outcome is not Outcome.OK or conversation.over:
                break
        seconds = bench.clock.monotonic() - began
        sample = judged(scenario, conversation.answer, reply, bench.endpoint.target)
        numbers = {
            UNSCORED.id: float(sample.score is None),
            TOKENS.id: float(tokens),
            TURNS.id: float(conversation.answer.turns),
        }
        return replace(sample, numbers=numbers, at=at, seconds=seconds)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """Points of a hundred over all and per pack, and how many scenarios say nothing of the model."""
        scored = {one.case: one.score for one in samples if one.score is not None}
        packs = [
            _points(f"{POINTS.id}{AT}{name}", {key: one for key, one in scored.items() if _of(key, name)})
            for name in self._chosen(parameters["packs"])
        ]
        return (_points(POINTS.id, scored), *packs, *pooled((UNSCORED, TOKENS, TURNS), samples))

    def _chosen(self, asked: object) -> dict[str, Pack]:
        """The packs that were asked for, by what the parameters call them; the shipped ones by default.

        Raises:
            InvalidRequestError: there is no such pack, or an own one has changed.
        """
        if not isinstance(asked, list | tuple) or not all(isinstance(one, str) for one in asked):
            raise InvalidRequestError(f"packs must be a list of names, not {asked!r}")
        shipped = {one.name: one for one in shipped_packs()}
        if not asked:
            return shipped
        own = {} if set(asked) <= set(shipped) else self._own_packs(shipped)
        return dict(_found(str(one), shipped, own) for one in asked)

    def _own_packs(self, shipped: Mapping[str, Pack]) -> dict[str, Pack]:
        own = {one.name: one for one in (packs_of(self._own) if self._own else ())}
        if taken := sorted(own.keys() & shipped.keys()):
            raise InvalidRequestError(f"{taken[0]} is the name of a shipped pack; give your own another one")
        return own

    def _scenario(self, key: str, parameters: Mapping[str, object]) -> Scenario:
        for pack in self._chosen(parameters["packs"]).values():
            for scenario in pack.scenarios:
                if scenario.key == key:
                    return scenario
        raise InvalidRequestError(f"the suite quality has no scenario {key!r} in these packs")


def judged(scenario: Scenario, answer: Answer, reply: Reply, target: str) -> Sample:
    """The sample of a scenario that has ended with this reply."""
    complaints = scenario.complaints(answer) if reply.outcome is Outcome.OK else ()
    outcome = Outcome.WRONG if complaints else reply.outcome
    score = None if outcome in _UNSCORED else float(outcome is Outcome.OK)
    details: dict[str, object] = {
        "pack": scenario.pack,
        "level": scenario.level,
        "text": answer.text[:_LONGEST_TEXT],
        "calls": [{"name": call.name, "arguments": call.arguments} for call in answer.calls],
        "complaints": list(complaints),
        "turns": answer.turns,
        "finish_reason": reply.finish_reason,
        "request": dict(reply.request),
    }
    if reply.error:
        details["error"] = reply.error
    return Sample(target, scenario.key, outcome, score, details=details)


def _turn(reply: Reply) -> Turn:
    calls = tuple(Call(one.name, arguments_of(one.arguments)) for one in reply.tool_calls)
    return Turn(reply.text, calls)


def _found(asked: str, shipped: Mapping[str, Pack], own: Mapping[str, Pack]) -> tuple[str, Pack]:
    name, _, digest = asked.partition("@")
    if asked in shipped:
        return asked, shipped[asked]
    if name not in own:
        known = ", ".join([*shipped, *own])
        raise InvalidRequestError(f"there is no pack {name!r}: there are {known}")
    pack = own[name]
    if digest and not pack.digest.startswith(digest):
        raise InvalidRequestError(f"the pack {name!r} has changed since the job was submitted")
    return f"{name}@{pack.digest[:16]}", pack


def _of(case: str, pack: str) -> bool:
    return case.partition("/")[0] == pack.partition("@")[0]


def _points(formula: str, scores: Mapping[str, float]) -> Metric:
    if not scores:
        return Metric(formula, None, POINTS.unit, larger_is_better=True)
    found = share(list(scores.values()))
    return Metric(formula, found.value, POINTS.unit, found.low, found.high, found.count, True, dict(scores))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else int(str(value))


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float(str(value))
