"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpumod.bench.formulas import AT, Formula
from gpumod.bench.meter.reply import Reply
from gpumod.bench.suites.speed.numbers import CACHED_LIMIT, cached_share, ttft
from gpumod.bench.suites.stress import formulas as f
from gpumod.core.job import Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """How one case ended.

    Args:
        outcome: `ok` if it has passed.
        why: a sentence if it has not.
        numbers: by formula id.
    """

    outcome: Outcome
    why: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, object] = field(default_factory=dict)


def judged(wrong: str, numbers: Mapping[str, float], details: Mapping[str, object] | None = None) -> Finding:
    """Passed, unless something is wrong."""
    return Finding(Outcome.WRONG if wrong else Outcome.OK, wrong, numbers, details or {})


def at(formula: Formula, setting: object) -> str:
    """A formula's id at a setting."""
    return f"{formula.id}{AT}{setting}"


def fresh(reply: Reply) -> bool:
    """Whether the server read the prompt itself, as far as it tells: another job may have sent the same."""
    return (cached_share(reply) or 0.0) <= CACHED_LIMIT


def reading(reply: Reply, setting: object, *, cached: bool = False) -> dict[str, float]:
    """How long the prompt of a request was, and how long it took to be read.

    Args:
        reply: to the request.
        setting: of both numbers.
        cached: whether the prompt is meant to come out of the server's cache.
    """
    time, usage = ttft(reply), reply.usage
    numbers: dict[str, float] = {}
    if time is not None and (cached or fresh(reply)):
        numbers[at(f.TTFT, setting)] = time
    if usage is not None:
        numbers[at(f.PROMPT, setting)] = float(usage.prompt)
    return numbers
