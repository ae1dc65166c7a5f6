"""The suite itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gpumod.bench import formulas as shared
from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites._common.asking import Asker, Message, assistant, outcome_of, said, user, why
from gpumod.bench.suites._common.hashing import content_hash
from gpumod.bench.suites._common.memory import held
from gpumod.bench.suites._common.texts import passage
from gpumod.bench.suites.soak import formulas as f
from gpumod.bench.suites.soak.numbers import pooled, spread_over_turns
from gpumod.bench.suites.soak.parameters import Parameters, read
from gpumod.bench.suites.speed.numbers import decode, ttft
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

_TOLD: Final = (Outcome.TIMEOUT, Outcome.CUT, Outcome.EMPTY, Outcome.REFUSED, Outcome.DISCONNECTED)
_KEPT: Final = 8000
"""Characters of an answer that stay in the conversation."""


class Soak:
    """The suite `soak`."""

    name = "soak"
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
        """The sessions."""
        asked = read(parameters)
        sentences = asked.fitting(endpoint)
        return [
            Case(f"session-{number:04}", {"number": number, "sentences": sentences})
            for number in range(asked.sessions)
        ]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """One session, and what the target holds before it and after each of its requests."""
        return await _Session(case, read(parameters), bench).sample()

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """Over all sessions."""
        del parameters
        in_order = sorted(samples, key=lambda one: one.at)
        return (*shared.metrics(f.FORMULAS, in_order), *pooled(in_order))


class _Session:
    """One case."""

    def __init__(self, case: Case, parameters: Parameters, bench: Bench) -> None:
        self._case = case
        self._parameters = parameters
        self._bench = bench
        self._asker = Asker(
            bench,
            sampler=parameters.sampler,
            tokens=parameters.answer_tokens(bench.endpoint),
            timeout=parameters.timeout,
            thinking=parameters.thinking,
        )
        self._messages: list[Message] = []
        self._looks: list[dict[str, object]] = []

    async def sample(self) -> Sample:
        clock = self._bench.clock
        if self._parameters.pause and self._case.data["number"]:
            await clock.sleep(self._parameters.pause)
        at, start = clock.now(), clock.monotonic()
        await self._look()
        for turn in range(self._parameters.turns):
            reply = await self._turn(turn)
            await self._look()
            if not reply.answered:
                break
        outcome, error = self._verdict()
        details = {
            "why": error,
            "sentences_per_turn": self._case.data["sentences"],
            "looks": self._looks,
            **self._asker.account(),
        }
        seconds = clock.monotonic() - start
        score = float(outcome is Outcome.OK)
        target = self._bench.endpoint.target
        return Sample(target, self._case.key, outcome, score, self._numbers(score), details, at, seconds)

    async def _turn(self, turn: int) -> Reply:
        """Ask with all that was said; a silent answer leaves no trace in the conversation."""
        seed = f"{self._parameters.seed} {self._case.key} {turn}"
        text = passage(seed, int(str(self._case.data["sentences"])))
        ask = "Say in a short paragraph what this text, and those before it, are about."
        self._messages.append(user(f"{text}\n\n{ask}" if text else ask))
        reply = await self._asker.ask(self._messages)
        if words := said(reply):
            self._messages.append(assistant(words[:_KEPT]))
        else:
            self._messages.pop()
        return reply

    async def _look(self) -> None:
        memory = await held(self._bench)
        now = self._bench.clock.now()
        if memory is not None:
            self._looks.append({"at": now, "requests": len(self._asker.replies), "memory": dict(memory)})

    def _verdict(self) -> tuple[Outcome, str]:
        """The failure if there was one, else silence, else well."""
        every = [(outcome_of(one), one) for one in self._asker.replies]
        bad = [(outcome, one) for outcome, one in every if outcome not in {Outcome.OK, Outcome.CUT}]
        if not bad:
            return Outcome.OK, ""
        outcome, reply = next((pair for pair in bad if pair[0] is not Outcome.EMPTY), bad[0])
        return outcome, why(reply, outcome)

    def _numbers(self, score: float) -> dict[str, float]:
        replies, turns = self._asker.replies, self._parameters.turns
        ended = [outcome_of(one) for one in replies]
        numbers = {f.CLEAN.id: score, f.REQUESTS.id: float(len(replies))}
        numbers |= {f"{f.ENDED.id}{shared.AT}{one.value}": float(ended.count(one)) for one in _TOLD}
        numbers |= spread_over_turns(f.TTFT, [ttft(one) for one in replies], turns)
        numbers |= spread_over_turns(f.DECODE, [decode(one) for one in replies], turns)
        return numbers
