"""Sessions to numbers. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.bench.formulas import AT, Formula
from gpumod.bench.statistics import drift, slope_interval, wilson_interval
from gpumod.bench.suites.soak import formulas as f
from gpumod.core.job import Metric, Outcome, Sample

_HOUR: Final = 3600.0
_LEAST_HOURS: Final = 120 / _HOUR
"""From readings within less, what an engine takes while it warms up would be told as gigabytes an hour."""
_SETTLED: Final = 3
"""With so many sessions or more, the first one's readings say nothing about growth."""
_FAILED: Final = (Outcome.TIMEOUT, Outcome.REFUSED, Outcome.DISCONNECTED)


def spread_over_turns(formula: Formula, values: Sequence[float | None], turns: int) -> dict[str, float]:
    """The mean over a session's turns, if every turn has a value."""
    there = [value for value in values if value is not None]
    return {formula.id: statistics.fmean(there)} if len(there) == turns else {}


def pooled(samples: Sequence[Sample]) -> tuple[Metric, ...]:
    """What is not a number of single sessions; these in the order of their beginnings."""
    return (
        *_share(f.EMPTY, samples, (Outcome.EMPTY,)),
        *_share(f.FAILED, samples, _FAILED),
        *_drift(samples, f.TTFT, f.TTFT_DRIFT, f.TTFT_DRIFT_P),
        *_drift(samples, f.DECODE, f.DECODE_DRIFT, f.DECODE_DRIFT_P),
        *_growth(samples),
    )


def _share(formula: Formula, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> Iterator[Metric]:
    def count(sample: Sample) -> float:
        return sum(sample.numbers.get(f"{f.ENDED.id}{AT}{one.value}", 0.0) for one in outcomes)

    requests = {one.case: one.numbers.get(f.REQUESTS.id, 0.0) for one in samples}
    whole = round(math.fsum(requests.values()))
    if whole:
        found = wilson_interval(round(math.fsum(map(count, samples))), whole)
        by_case = {one.case: 100 * count(one) / requests[one.case] for one in samples if requests[one.case]}
        yield Metric(
            formula.id,
            100 * found.value,
            formula.unit,
            100 * found.low,
            100 * found.high,
            whole,
            formula.larger_is_better,
            by_case,
        )


def _drift(samples: Sequence[Sample], of: Formula, formula: Formula, p: Formula) -> Iterator[Metric]:
    values = [one.numbers[of.id] for one in samples if of.id in one.numbers]
    found = drift(values)
    count = found.count if found else len(values)
    yield Metric(
        formula.id,
        found.difference if found else None,
        formula.unit,
        count=count,
        larger_is_better=formula.larger_is_better,
    )
    yield Metric(p.id, found.p if found else None, p.unit, count=count)


@dataclass(frozen=True, slots=True)
class _Look:
    """One reading.

    Args:
        after: whether a request of its session came before it.
        hours: since 1970.
        requests: sent until then, in all sessions.
        held: bytes.
    """

    after: bool
    hours: float
    requests: float
    held: float


def _growth(samples: Sequence[Sample]) -> Iterator[Metric]:
    sessions = _looks(samples)
    settled = sessions[1:] if len(sessions) >= _SETTLED else sessions
    for card in dict.fromkeys(card for one in sessions for card in one):
        # What a session finds at its beginning is what the one before it has left: after requests only.
        looks = [look for one in settled for look in one.get(card, []) if look.after]
        sizes = [look.held for look in looks]
        hours = [look.hours for look in looks]
        long_enough = bool(hours) and max(hours) - min(hours) >= _LEAST_HOURS
        yield _slope(f.MEMORY_HOUR, card, hours if long_enough else [], sizes)
        yield _slope(f.MEMORY_REQUEST, card, [look.requests for look in looks], sizes)
        every = [look.held for one in sessions for look in one.get(card, [])]
        key = f"{f.MEMORY_GROWTH.id}{AT}{card}"
        yield Metric(
            key,
            every[-1] - every[0],
            f.MEMORY_GROWTH.unit,
            count=len(every),
            larger_is_better=f.MEMORY_GROWTH.larger_is_better,
        )


def _slope(formula: Formula, card: str, places: Sequence[float], sizes: Sequence[float]) -> Metric:
    found = slope_interval(places, sizes) if places else None
    return Metric(
        f"{formula.id}{AT}{card}",
        found.value if found else None,
        formula.unit,
        found.low if found else None,
        found.high if found else None,
        len(sizes),
        formula.larger_is_better,
    )


def _looks(samples: Sequence[Sample]) -> list[dict[str, list[_Look]]]:
    """The readings of each session by card."""
    sent, sessions = 0.0, []
    for sample in samples:
        by_card: dict[str, list[_Look]] = {}
        looks = sample.details.get("looks")
        for look in looks if isinstance(looks, list) else []:
            at, before = float(look["at"]) / _HOUR, float(look["requests"])
            for card, size in look["memory"].items():
                one = _Look(before > 0, at, sent + before, float(size))
                by_card.setdefault(str(card), []).append(one)
        sent += sample.numbers.get(f.REQUESTS.id, 0.0)
        sessions.append(by_card)
    return sessions
