"""Long reasoning: it has to end, and with an answer."""

from __future__ import annotations

import re
from typing import Final

from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites._common.asking import LONGEST, Asker, outcome_of, said, user, why
from gpumod.bench.suites._common.texts import source
from gpumod.bench.suites.stress import formulas as f
from gpumod.bench.suites.stress.finding import Finding, judged, reading
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Case

_MODULUS: Final = 97
_ANSWER: Final = re.compile(r"ANSWER[ *_`]*:[ *_`]*(-?\d{1,9})", re.IGNORECASE)


def task(seed: str, steps: int) -> tuple[str, int]:
    """Three counters, so many steps, and the sum of them at the end."""
    chance = source(f"{seed} task")
    counters = {name: chance.randint(1, _MODULUS - 1) for name in "ABC"}
    lines = [f"{name} starts at {value}." for name, value in counters.items()]
    for number in range(1, steps + 1):
        target, other = chance.sample("ABC", 2)
        factor = chance.randint(2, 9)
        counters[target] = (counters[target] * factor + counters[other]) % _MODULUS
        lines.append(f"{number}. Multiply {target} by {factor}, add {other}, keep the rest by {_MODULUS}.")
    text = (
        "Three counters are changed step by step. `Keep the rest` means the remainder of the division.\n"
        + "\n".join(lines)
        + "\nWork through every step, and check the steps once more from the beginning. What is A plus B "
        "plus C in the end? The last line has to be `ANSWER: ` and the number."
    )
    return text, sum(counters.values())


async def check(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """Any number will do: whether it is right is told apart."""
    text, right = task(str(case.data["seed"]), int(str(case.data["steps"])))
    reply = await asker.ask([user(text)], parameters.long_tokens(asker.bench.endpoint))
    outcome, answer = outcome_of(reply), said(reply)
    numbers = thought(reply)
    found = _ANSWER.findall(answer)
    details = {"answer": answer[-LONGEST:], "right": right}
    if outcome is not Outcome.OK:
        return Finding(outcome, why(reply, outcome), numbers, details)
    numbers |= reading(reply, "reasoning")
    numbers[f.REASONING_RIGHT.id] = float(bool(found) and int(found[-1]) == right)
    return judged("" if found else "it ended without an answer", numbers, details)


def thought(reply: Reply) -> dict[str, float]:
    """How much was reasoned, as far as the server tells."""
    inside = len(reply.text.strip()) - len(said(reply)) if not reply.reasoning else 0
    numbers = {f.REASONING_CHARACTERS.id: float(len(reply.reasoning) + max(0, inside))}
    times = reply.times
    if reply.reasoning and times.tokens:
        until = times.first_content
        before = [
            count
            for count, when in zip(times.tokens, times.chunks, strict=True)
            if until is None or when < until
        ]
        numbers[f.REASONING_TOKENS.id] = float(before[-1] if before else 0)
    return numbers
