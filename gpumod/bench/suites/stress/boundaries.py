"""The suite itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gpumod.bench import formulas
from gpumod.bench.suites._common.asking import LONGEST, Asker, NotAnsweredError
from gpumod.bench.suites._common.hashing import content_hash
from gpumod.bench.suites.stress import agent, conversation, limit, long_prompts, reasoning, storm, tools
from gpumod.bench.suites.stress.finding import Finding, at
from gpumod.bench.suites.stress.formulas import FORMULAS, NEEDLE, PASSED
from gpumod.bench.suites.stress.parameters import Parameters, read
from gpumod.bench.suites.stress.plan import plan
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

_Check = Callable[[Case, Parameters, Asker], Awaitable[Finding]]
_CHECKS: Final[Mapping[str, _Check]] = {
    "needle": long_prompts.needle,
    "tools": tools.check,
    "agent": agent.check,
    "conversation": conversation.check,
    "reasoning": reasoning.check,
    "repeat": long_prompts.repeat,
    "storm": storm.check,
    "limit": limit.check,
}


class Stress:
    """The suite `stress`."""

    name = "stress"
    version = "1"

    @property
    def content_hash(self) -> str:
        """SHA-256 over its sources."""
        return content_hash(Path(__file__).resolve().parent)

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """As `Parameters` has them.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        return read(given).document()

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Nothing: it needs a server to ask, and no more."""
        del parameters
        return ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """Check by check, as they fit into the target's context."""
        return plan(read(parameters), endpoint).cases

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Do one case; its details name what was left out because it does not fit this target."""
        asked, clock = read(parameters), bench.clock
        began, start = clock.now(), clock.monotonic()
        tokens = asked.answer_tokens(bench.endpoint)
        asker = Asker(
            bench, sampler=asked.sampler, tokens=tokens, timeout=asked.timeout, thinking=asked.thinking
        )
        check = str(case.data["check"])
        try:
            found = await _CHECKS[check](case, asked, asker)
        except NotAnsweredError as error:
            found = Finding(error.outcome, error.why)
        score = float(found.outcome is Outcome.OK)
        numbers = {PASSED.id: score, at(PASSED, check): score, **found.numbers}
        if check == "needle":
            numbers[at(NEEDLE, case.data["tokens"])] = score
        details = {
            "why": found.why[:LONGEST],
            "left_out": plan(asked, bench.endpoint).left_out,
            **found.details,
            **asker.account(),
        }
        seconds = clock.monotonic() - start
        return Sample(bench.endpoint.target, case.key, found.outcome, score, numbers, details, began, seconds)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """All of `FORMULAS` that the samples have numbers for."""
        del parameters
        return formulas.metrics(FORMULAS, samples)
