"""A conversation that grows: what was said at its beginning is asked for at its end."""

from __future__ import annotations

from typing import Final

from gpumod.bench.suites._common.asking import (
    LONGEST,
    Asker,
    Message,
    NotAnsweredError,
    assistant,
    said,
    user,
)
from gpumod.bench.suites._common.texts import facts, passage
from gpumod.bench.suites.speed.numbers import cached_share
from gpumod.bench.suites.stress import formulas as f
from gpumod.bench.suites.stress.finding import Finding, judged, reading
from gpumod.bench.suites.stress.long_prompts import wrong_code
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.core.job_ports import Case

_KEPT: Final = 600
"""Characters of an answer that stay in the conversation."""


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """A fact, a text with every turn, and at last the question for the fact."""
    del parameters
    seed, turns, tokens = str(case.data["seed"]), int(str(case.data["turns"])), int(str(case.data["tokens"]))
    size = await asker.size()
    (fact,) = facts(seed, 1)
    messages: list[Message] = []
    for turn in range(turns - 1):
        text = passage(f"{seed} {turn}", size.sentences(tokens // (turns - 1)))
        start = f"{fact.statement} Keep it in mind. " if turn == 0 else ""
        messages.append(user(f"{start}{text}\n\nName one thing of this text in one short sentence."))
        try:
            reply = await asker.answer(messages)
        except NotAnsweredError as error:
            raise NotAnsweredError(error.outcome, f"turn {turn + 1} of {turns}: {error.why}") from error
        messages.append(assistant(said(reply)[:_KEPT]))
    messages.append(user(fact.question))
    reply = await asker.answer(messages)
    numbers, share = reading(reply, "conversation", cached=True), cached_share(reply)
    if share is not None:
        numbers[f.CONVERSATION_CACHED.id] = share
    return judged(wrong_code(said(reply), fact), numbers, {"answer": said(reply)[:LONGEST]})
