"""Asks a target, keeps account of every request, and tells an answer from a failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gpumod.bench.meter.chat import chat
from gpumod.bench.meter.reply import Reply
from gpumod.bench.meter.sampler import SAMPLERS
from gpumod.bench.suites._common.texts import Size, passage, sized
from gpumod.bench.suites.speed.numbers import cached_share, decode, ttft
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Bench

Message = Mapping[str, object]

LONGEST: Final = 2000
"""Characters of a text that a sample keeps."""
_MOST_ACCOUNTS: Final = 200
_SHORT: Final = 4
_LONG: Final = 68
"""Sentences of the two prompts by which a model's tokens per sentence are found."""
_COUNTS: Final[Mapping[str, Mapping[str, object]]] = {
    # How many tokens there are, told with every delta.
    "llama.cpp": {"timings_per_token": True},
    "vllm": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
}
_THINKING: Final = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)


class NotAnsweredError(Exception):
    """A request that had to be answered was not."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.why = why


class Asker:
    """Asks one target in one way.

    Args:
        tokens: to generate at most, where a request does not say otherwise.
        timeout: seconds for a request, where it does not say otherwise.
        thinking: whether the model is told to think; None leaves it to its template.
    """

    def __init__(
        self, bench: Bench, *, sampler: str, tokens: int, timeout: float, thinking: bool | None
    ) -> None:
        self.bench = bench
        self.replies: list[Reply] = []
        self.tokens = tokens
        self._sampler = SAMPLERS[sampler]
        self._timeout = timeout
        self._extra = dict(_COUNTS.get(bench.endpoint.engine, {}))
        if thinking is not None:
            self._extra["chat_template_kwargs"] = {"enable_thinking": thinking}

    async def ask(
        self,
        messages: Sequence[Message],
        tokens: int | None = None,
        *,
        tools: Sequence[Message] = (),
        timeout: float | None = None,
        heard: Callable[[], None] | None = None,
    ) -> Reply:
        """One request, however it ends."""
        reply = await chat(
            self.bench.endpoint,
            messages,
            sampler=self._sampler,
            max_tokens=tokens or self.tokens,
            tools=tools or None,
            timeout=timeout or self._timeout,
            extra=self._extra,
            clock=self.bench.clock,
            heard=heard,
        )
        self.replies.append(reply)
        return reply

    async def answer(
        self,
        messages: Sequence[Message],
        tokens: int | None = None,
        *,
        tools: Sequence[Message] = (),
        timeout: float | None = None,
    ) -> Reply:
        """One request that has to be answered to its end, with words or with a tool call.

        Raises:
            NotAnsweredError: it was not.
        """
        reply = await self.ask(messages, tokens, tools=tools, timeout=timeout)
        outcome = outcome_of(reply)
        if outcome is not Outcome.OK:
            raise NotAnsweredError(outcome, why(reply, outcome))
        return reply

    async def size(self) -> Size:
        """How many tokens the model makes of a sentence, by two short requests.

        Raises:
            NotAnsweredError: one of them failed.
        """
        context = self.bench.endpoint.context
        long = _LONG if context is None else max(2 * _SHORT, min(_LONG, context // 100))
        counts = [await self._counted(one) for one in (_SHORT, long)]
        return sized(_SHORT, counts[0], long, counts[1])

    def account(self) -> dict[str, object]:
        """What was sent and how it ended, for a sample's details."""
        endpoint = self.bench.endpoint
        return {
            "request": dict(self.replies[0].request) if self.replies else {},
            "sampler_left_out": list(self._sampler.left_out(endpoint.engine)),
            "requests": [_account(one) for one in self.replies[-_MOST_ACCOUNTS:]],
        }

    async def _counted(self, sentences: int) -> int:
        reply = await self.ask([user(passage("size", sentences))], 1)
        if not reply.answered:
            raise NotAnsweredError(reply.outcome, why(reply, reply.outcome))
        return reply.usage.prompt if reply.usage else 0


def user(text: str) -> Message:
    """A message of the user's."""
    return {"role": "user", "content": text}


def system(text: str) -> Message:
    """The system prompt."""
    return {"role": "system", "content": text}


def assistant(text: str) -> Message:
    """What the model is taken to have said."""
    return {"role": "assistant", "content": text}


def said(reply: Reply) -> str:
    """The words of an answer, without the block of thinking that some servers leave in front of it."""
    return _THINKING.sub("", reply.text, count=1).strip()


def outcome_of(reply: Reply) -> Outcome:
    """As the meter has it, but thinking alone, left in the text by the server, is silence too."""
    if reply.outcome is Outcome.OK and not reply.tool_calls and not said(reply):
        return Outcome.EMPTY
    return reply.outcome


def why(reply: Reply, outcome: Outcome) -> str:
    """A sentence on what went wrong with a request."""
    if outcome is Outcome.EMPTY:
        return "the request succeeded and nothing was said"
    if outcome is Outcome.CUT:
        return "the answer was cut at the token limit"
    return reply.error


def _account(reply: Reply) -> dict[str, object]:
    usage = reply.usage
    return {
        "outcome": outcome_of(reply).value,
        "error": reply.error,
        "status": reply.status,
        "prompt_tokens": usage.prompt if usage else None,
        "tokens": usage.completion if usage else None,
        "cached_share": cached_share(reply),
        "ttft": ttft(reply),
        "decode": decode(reply),
        "finish_reason": reply.finish_reason,
    }
