"""An ordinary request: whether a target is well."""

from __future__ import annotations

import re

from gpumod.bench.suites._common.asking import Asker, NotAnsweredError, said, user
from gpumod.bench.suites._common.texts import source
from gpumod.core.job import Outcome


async def ask_plainly(asker: Asker, seed: str, within: float) -> tuple[Outcome, str]:
    """Ask for a sum: how that ends, and what is wrong with it; empty if nothing is."""
    chance = source(f"{seed} sum")
    first, second = chance.randint(11, 49), chance.randint(11, 49)
    question = f"What is {first} plus {second}? Answer with the number alone."
    try:
        reply = await asker.answer([user(question)], timeout=within)
    except NotAnsweredError as error:
        return error.outcome, f"an ordinary request afterwards: {error.why}"
    told = set(re.findall(r"\d+", said(reply))) - {str(first), str(second)}
    if told != {str(first + second)}:
        return Outcome.WRONG, f"an ordinary request afterwards was answered wrongly: {said(reply)[:200]!r}"
    return Outcome.OK, ""
