"""The suite itself."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from gpumod.bench import formulas
from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.reply import Reply
from gpumod.bench.meter.sampler import SAMPLERS
from gpumod.bench.suites.speed import numbers, prompts
from gpumod.bench.suites.speed.formulas import FORMULAS
from gpumod.bench.suites.speed.parameters import Parameters, read
from gpumod.bench.suites.speed.watch import Watch
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Metric, Outcome, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

_WARM_UP_TOKENS: Final = 4
_SPARE: Final = 1.1
"""A prompt may have so much more tokens than it was meant to have."""
_FLAGS: Final[Mapping[str, Mapping[str, object]]] = {
    # llama.cpp: nothing from the cache, no early end, and how many tokens there are with every delta.
    "llama.cpp": {"cache_prompt": False, "ignore_eos": True, "timings_per_token": True},
    # vLLM has no flag against its prefix cache; fresh prompts are what keeps it out.
    "vllm": {
        "ignore_eos": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    },
}


class Speed:
    """The suite `speed`."""

    name = "speed"
    version = "1"

    @property
    def content_hash(self) -> str:
        """SHA-256 over its sources."""
        return _content_hash()

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """As `Parameters` has them.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        return read(given).document()

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Nothing: it only asks the server."""
        del parameters
        return ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """Round by round, so that a box that slows down does it to all of them.

        Raises:
            InvalidRequestError: nothing of what is asked for fits the target.
        """
        asked = read(parameters)
        depths = [one for one in asked.depths if _fits(one, asked.tokens, endpoint)]
        several = [one for one in asked.concurrency if endpoint.slots is None or one <= endpoint.slots]
        if not _fits(asked.together_depth, asked.tokens, endpoint):
            several = []
        if not depths and not several and (why := left_out(asked, endpoint)):
            raise InvalidRequestError(f"nothing can be measured: {'; '.join(why)}")
        return [
            case
            for number in range(asked.repeats)
            for case in (
                *(_case("depth", depth, number, depth, 1) for depth in depths),
                *(_case("together", many, number, asked.together_depth, many) for many in several),
            )
        ]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Warm up, then measure."""
        return await _Run(case, read(parameters), bench).sample()

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """All of `FORMULAS` that the samples have numbers for."""
        del parameters
        return formulas.metrics(FORMULAS, samples)


class _Run:
    """One case."""

    def __init__(self, case: Case, parameters: Parameters, bench: Bench) -> None:
        self._case = case
        self._parameters = parameters
        self._bench = bench
        self._number = int(str(case.data["number"]))
        self._depth = int(str(case.data["depth"]))
        self._many = int(str(case.data["many"]))

    async def sample(self) -> Sample:
        clock = self._bench.clock
        at, start = clock.now(), clock.monotonic()
        failed, tokens = await self._warm_up()
        if failed is not None:
            return self._sample([failed], {}, {}, at, clock.monotonic() - start)
        words = tokens.words(self._depth)
        async with Watch(self._bench) as watch:
            replies = await asyncio.gather(
                *(self._ask(words, self._parameters.tokens) for _ in range(self._many))
            )
        found: dict[str, float] = {}
        if all(map(_measured, replies)):
            found = watch.numbers() | numbers.draft(replies) | self._speeds(replies)
        return self._sample(replies, found, watch.details(), at, clock.monotonic() - start)

    def _speeds(self, replies: Sequence[Reply]) -> dict[str, float]:
        if self._case.data["kind"] == "depth":
            return numbers.alone(replies[0], self._depth)
        return numbers.together(replies)

    async def _warm_up(self) -> tuple[Reply | None, prompts.Tokens]:
        """Unmeasured requests: the first one after a start is slow, and two tell how long words are."""
        context = self._bench.endpoint.context
        words = prompts.LONG if context is None else max(prompts.SHORT, min(prompts.LONG, context // 16))
        short = await self._ask(prompts.SHORT, _WARM_UP_TOKENS)
        if not short.answered:
            return short, prompts.Tokens()
        long = await self._ask(words, _WARM_UP_TOKENS)
        if short.usage is None or long.usage is None:
            return None, prompts.Tokens()
        return None, prompts.calibrated(short.usage.prompt, long.usage.prompt, words)

    async def _ask(self, words: int, tokens: int) -> Reply:
        # Never twice, not even for the same case: the server may have the former run's prompts in its cache.
        text = prompts.prompt(secrets.token_hex(8), words, self._number)
        endpoint = self._bench.endpoint
        return await chat(
            endpoint,
            [{"role": "user", "content": text}],
            sampler=SAMPLERS[self._parameters.sampler],
            max_tokens=tokens,
            timeout=self._parameters.timeout,
            extra=_FLAGS.get(endpoint.engine),
            clock=self._bench.clock,
        )

    def _sample(
        self,
        replies: Sequence[Reply],
        found: Mapping[str, float],
        memory: Mapping[str, object],
        at: float,
        seconds: float,
    ) -> Sample:
        bad = next((one for one in replies if not _measured(one)), None)
        sampler = SAMPLERS[self._parameters.sampler]
        endpoint = self._bench.endpoint
        details = {
            "request": dict(replies[0].request),
            "sampler_left_out": list(sampler.left_out(endpoint.engine)),
            "requests": [_account(one) for one in replies],
            "error": bad.error if bad else "",
            "left_out": left_out(self._parameters, endpoint),
            **memory,
        }
        outcome = bad.outcome if bad else Outcome.OK
        return Sample(endpoint.target, self._case.key, outcome, None, found, details, at, seconds)


def _measured(reply: Reply) -> bool:
    """The end at the limit is what was asked for, and blanks are tokens too; without any there is nothing."""
    return reply.answered and reply.times.first_token is not None


def _account(reply: Reply) -> dict[str, object]:
    usage, times = reply.usage, reply.times
    return {
        "outcome": reply.outcome.value,
        "prompt_tokens": usage.prompt if usage else None,
        "cached_tokens": usage.cached if usage else None,
        "tokens": usage.completion if usage else None,
        "chunks": len(times.chunks),
        "ttft": numbers.ttft(reply),
        "decode": numbers.decode(reply),
        "finish_reason": reply.finish_reason,
    }


def _fits(depth: int, tokens: int, endpoint: Endpoint) -> bool:
    return endpoint.context is None or depth * _SPARE + tokens <= endpoint.context


def left_out(asked: Parameters, endpoint: Endpoint) -> list[str]:
    """A sentence for each thing that is asked for and does not fit the target."""
    answer = f"with an answer of {asked.tokens} does not fit into a context of {endpoint.context}"
    told = [
        f"depth {depth}: a prompt of {depth} tokens {answer}"
        for depth in asked.depths
        if not _fits(depth, asked.tokens, endpoint)
    ]
    if asked.concurrency and not _fits(asked.together_depth, asked.tokens, endpoint):
        return [*told, f"requests at once: a prompt of {asked.together_depth} tokens {answer}"]
    if endpoint.slots is None:
        return told
    slots = f"{endpoint.slots} slot{'s' * (endpoint.slots != 1)}"
    return told + [
        f"{one} requests at once: it has {slots}" for one in asked.concurrency if one > endpoint.slots
    ]


def _case(kind: str, setting: int, number: int, depth: int, many: int) -> Case:
    return Case(f"{kind}-{setting}-{number}", {"kind": kind, "number": number, "depth": depth, "many": many})


@cache
def _content_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
