"""Needles in long prompts, and the same long prompt again and again."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from typing import Final

from gpumod.bench.suites._common.asking import LONGEST, Asker, outcome_of, said, user, why
from gpumod.bench.suites._common.memory import held
from gpumod.bench.suites._common.texts import Fact, Size, facts, sentences
from gpumod.bench.suites.speed.numbers import cached_share, ttft
from gpumod.bench.suites.stress import formulas as f
from gpumod.bench.suites.stress.finding import Finding, at, fresh, judged, reading
from gpumod.bench.suites.stress.parameters import Parameters
from gpumod.core.job import Outcome
from gpumod.core.job_ports import Case

_CODE: Final = re.compile(r"(?<!\d)\d{6}(?!\d)")
_HEAD: Final = "Read this text; you will be asked about it.\n\n"
_TAIL: Final = "\n\nThat was the text. "
_BESIDE: Final = 3
"""Sentences that head, tail, fact and question are as long as."""


def prompt(seed: str, size: Size, tokens: int, position: float) -> tuple[str, Fact]:
    """A text of about so many tokens, one sentence of which states a fact, and the question for it."""
    (fact,) = facts(seed, 1)
    lines = sentences(seed, max(1, size.sentences(tokens) - _BESIDE))
    lines.insert(round(position * len(lines)), fact.statement)
    return f"{_HEAD}{' '.join(lines)}{_TAIL}{fact.question}", fact


def wrong_code(answer: str, fact: Fact) -> str:
    """What is wrong with an answer to a fact's question; empty if nothing is."""
    found = set(_CODE.findall(re.sub(r"(?<=\d)[ ,](?=\d{3}(?!\d))", "", answer)))
    if found == {fact.code}:
        return ""
    told = ", ".join(sorted(found)[:5]) or "no code"
    return f"the code is {fact.code}, and the answer has {told}"


async def needle(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """One sentence somewhere in a long prompt has to be found."""
    del parameters
    tokens, position = int(str(case.data["tokens"])), float(str(case.data["position"]))
    text, fact = prompt(str(case.data["seed"]), await asker.size(), tokens, position)
    reply = await asker.answer([user(text)])
    answer = said(reply)
    return judged(wrong_code(answer, fact), reading(reply, tokens), {"answer": answer[:LONGEST]})


async def repeat(case: Case, parameters: Parameters, asker: Asker) -> Finding:
    """The same long prompt has to be answered every time, and memory may not grow by more than allowed."""
    tokens, times = int(str(case.data["tokens"])), int(str(case.data["times"]))
    text, fact = prompt(str(case.data["seed"]), await asker.size(), tokens, 0.5)
    bad: list[tuple[Outcome, str]] = []
    looks: list[Mapping[str, int] | None] = []
    for _ in range(times):
        reply = await asker.ask([user(text)])
        outcome = outcome_of(reply)
        wrong = wrong_code(said(reply), fact) if outcome is Outcome.OK else why(reply, outcome)
        if wrong:
            bad.append((Outcome.WRONG if outcome is Outcome.OK else outcome, wrong))
        looks.append(await held(asker.bench))
    grown = _grown(looks[0], looks[-1])
    numbers = {f.REPEAT_ERRORS.id: float(len(bad))}
    numbers |= {at(f.REPEAT_GROWTH, card): float(size) for card, size in grown.items()}
    if not bad:
        numbers |= _numbers(asker, times)
    details = {"memory": [dict(one) if one is not None else None for one in looks]}
    if bad:
        outcome, wrong = bad[0]
        return Finding(outcome, f"{len(bad)} of {times} failed, the first one: {wrong}", numbers, details)
    return judged(_too_much(grown, parameters.growth), numbers, details)


def _numbers(asker: Asker, times: int) -> dict[str, float]:
    replies = asker.replies[-times:]
    numbers = reading(replies[-1], "repeat", cached=True)
    first, *later = (ttft(one) for one in replies)
    if first is not None and fresh(replies[0]):
        numbers[f.REPEAT_FIRST.id] = first
    if known := [one for one in later if one is not None]:
        numbers[f.REPEAT_LATER.id] = statistics.median(known)
    shares = [share for one in replies[1:] if (share := cached_share(one)) is not None]
    if shares:
        numbers[f.REPEAT_CACHED.id] = statistics.fmean(shares)
    return numbers


def _grown(first: Mapping[str, int] | None, last: Mapping[str, int] | None) -> dict[str, int]:
    if first is None or last is None:
        return {}
    return {card: last[card] - size for card, size in first.items() if card in last}


def _too_much(grown: Mapping[str, int], most: int) -> str:
    over = [f"by {size} bytes on {card}" for card, size in grown.items() if size > most]
    return f"memory grew {', '.join(over)}; {most} are allowed" if over else ""
