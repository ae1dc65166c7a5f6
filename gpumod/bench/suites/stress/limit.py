"""A request that is too long: it has to be refused at once and cleanly, and the next one has to work."""

from __future__ import annotations

from typing import Final

from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites._common.asking import Asker, user
from gpumod.bench.suites._common.texts import passage
from gpumod.bench.suites.stress import formulas as f
from gpumod.bench.suites.stress.finding import Finding, at
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.bench.suites.stress.plain import ask_plainly
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Case

_LEAST_READ: Final = 0.9
"""A prompt of which the server counts less than this share of what it was meant to have was shortened."""


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """`at`: the prompt fits, but it and what may be generated do not. `over`: the prompt does not fit."""
    side, tokens, seed = str(case.data["side"]), int(str(case.data["tokens"])), str(case.data["seed"])
    size = await asker.size()
    text = f"{passage(seed, size.sentences(tokens))}\n\nSay in one short sentence what this text is like."
    context = asker.bench.endpoint.context or tokens
    reply = await asker.ask([user(text)], context if side == "at" else None)
    outcome, wrong = _judged(reply, side, tokens)
    numbers = {}
    if reply.times.sent is not None:
        numbers[at(f.LIMIT_SECONDS, side)] = reply.times.ended - reply.times.sent
    details = {"status": reply.status, "error": reply.error, "nominal_tokens": tokens}
    if not wrong:
        outcome, wrong = await ask_plainly(asker, seed, parameters.bound)
    return Finding(outcome, wrong, numbers, details)


def _judged(reply: Reply, side: str, tokens: int) -> tuple[Outcome, str]:
    """The outcome, and what is wrong."""
    if reply.outcome is Outcome.REFUSED and reply.status is not None and 400 <= reply.status < 500:
        return Outcome.OK, ""
    if not reply.answered:
        return reply.outcome, f"no clean error of the 400s: {reply.error}"
    read = reply.usage.prompt if reply.usage else None
    if side == "over":
        return Outcome.WRONG, f"a prompt of some {tokens} tokens was answered; the server read {read} of it"
    if read is None:
        return Outcome.WRONG, "it was answered, and the server does not say how much of the prompt it read"
    if read < _LEAST_READ * tokens:
        return Outcome.WRONG, f"of a prompt of some {tokens} tokens the server read {read}"
    return Outcome.OK, ""
