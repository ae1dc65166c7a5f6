"""One number of a result against the same number of another: the test that fits, and what it showed."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache
from typing import Final

from gpumod.bench.comparison.words import Numbers, sentence
from gpumod.bench.formulas import AT, Pooling
from gpumod.bench.statistics import Verdict, fisher_exact, mcnemar_exact, paired_bootstrap
from gpumod.core.comparison import Finding
from gpumod.core.job import Metric

NOT_TESTED: Final = "not tested"
LEVEL: Final = 0.05
_RESAMPLES = 5_000
_DRAWS: Final = 300_000
"""Resampling many pairs draws about so many of them at most, since somebody waits for the answer."""
_LEAST_RESAMPLES: Final = 200
_MOST_PAIRS: Final = 2_000
"""More are taken together before they are resampled."""
_NEAR: Final = 1e-6


class Kind(StrEnum):
    """How a number follows from its cases."""

    RATE = "rate"
    MEAN = "mean"
    OTHER = "other"
    """A sum, a maximum, a ratio of sums: a test of the cases' mean would test another number."""


def finding(first: Metric, second: Metric, names: tuple[str, str]) -> Finding:
    """The second's number against the first's, both under the same formula id."""
    kind = _common({_kind(first), _kind(second)})
    cases = [case for case in first.by_case if case in second.by_case]
    if kind is Kind.RATE and (not cases or one_task(cases)):
        numbers = _unpaired(first, second)
    elif kind is not Kind.OTHER and cases:
        numbers = _paired(kind, first, second, cases)
    else:
        numbers = _untested(first, second, kind)
    verdict = numbers.tested.verdict.value if numbers.tested else NOT_TESTED
    better = None
    if first.larger_is_better is not None and verdict in {Verdict.HIGHER, Verdict.LOWER}:
        better = (verdict == Verdict.HIGHER) == first.larger_is_better
    return Finding(
        formula=first.formula,
        unit=first.unit,
        first=numbers.first,
        second=numbers.second,
        count=numbers.count,
        test=numbers.tested.test if numbers.tested else "",
        p=numbers.tested.p if numbers.tested else None,
        adjusted_p=None,
        relative=numbers.relative,
        low=numbers.low,
        high=numbers.high,
        verdict=verdict,
        larger_is_better=first.larger_is_better,
        better=better,
        sentence=sentence(first, numbers, names),
    )


def one_task(cases: Sequence[str]) -> bool:
    """Whether all cases repeat one task: their keys differ in a number only. Such attempts are no pairs."""
    return len({"/".join(part for part in case.split("/") if not part.isdigit()) for case in cases}) == 1


def adjusted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings with p adjusted for their number by Holm's method (Holm 1979)."""
    order = sorted(
        (place for place, one in enumerate(findings) if one.p is not None),
        key=lambda place: findings[place].p or 0.0,
    )
    found = list(findings)
    least = 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (findings[place].p or 0.0) * (len(order) - rank)))
        found[place] = replace(findings[place], adjusted_p=least)
    return tuple(found)


def _common(kinds: set[Kind]) -> Kind:
    """A rate beside a mean is one of values that happen to be all 0 or 1."""
    if Kind.OTHER in kinds:
        return Kind.OTHER
    return Kind.RATE if kinds == {Kind.RATE} else Kind.MEAN


def _kind(metric: Metric) -> Kind:
    values = list(metric.by_case.values())
    if metric.value is None or metric.formula.partition(AT)[0] in _no_means():
        return Kind.OTHER
    if not values:
        exact = abs(metric.value * metric.count - round(metric.value * metric.count)) < _NEAR
        rate = metric.unit == "share" and metric.count > 0 and 0 <= metric.value <= 1
        return Kind.RATE if rate and exact else Kind.OTHER
    mean = statistics.fmean(values)
    directed = metric.larger_is_better is not None
    if set(values) <= {0.0, 1.0} and metric.unit in {"share", "points"} and directed:
        near = any(math.isclose(metric.value, scale * mean, abs_tol=_NEAR) for scale in (1, 100))
        return Kind.RATE if near else Kind.OTHER
    near = math.isclose(metric.value, mean, rel_tol=_NEAR, abs_tol=1e-12)
    return Kind.MEAN if near else Kind.OTHER


@cache
def _no_means() -> frozenset[str]:
    """Formulas of sums, maxima, first readings and ratios: where all cases agree, they look like a mean."""
    from gpumod.bench.formulas_page import formulas

    poolings = {Pooling.FIRST, Pooling.MOST, Pooling.SUM, Pooling.RATIO}
    return frozenset(one.id for those in formulas().values() for one in those if one.pooling in poolings)


def _unpaired(first: Metric, second: Metric) -> Numbers:
    """Rates of independent attempts."""
    one, other = _trials(first), _trials(second)
    return Numbers(
        one[0] / one[1],
        other[0] / other[1],
        one[1] + other[1],
        fisher_exact(one, other),
        relative=_relative(one[0] / one[1], other[0] / other[1]),
        trials=(one, other),
    )


def _trials(metric: Metric) -> tuple[int, int]:
    if metric.by_case:
        return round(sum(metric.by_case.values())), len(metric.by_case)
    return round((metric.value or 0.0) * metric.count), metric.count


def _paired(kind: Kind, first: Metric, second: Metric, cases: Sequence[str]) -> Numbers:
    a, b = [first.by_case[case] for case in cases], [second.by_case[case] for case in cases]
    mean_a, mean_b = statistics.fmean(a), statistics.fmean(b)
    left_out = len(first.by_case) + len(second.by_case) - 2 * len(cases)
    if kind is Kind.RATE:
        pairs = [(x > 0, y > 0) for x, y in zip(a, b, strict=True)]
        trials = (sum(x for x, _ in pairs), len(pairs)), (sum(y for _, y in pairs), len(pairs))
        tested = mcnemar_exact(pairs)
        relative = _relative(mean_a, mean_b)
        return Numbers(mean_a, mean_b, len(cases), tested, relative, trials=trials, left_out=left_out)
    blocks_a, blocks_b = _blocks(a), _blocks(b)
    resamples = max(_LEAST_RESAMPLES, min(_RESAMPLES, _DRAWS // len(blocks_a)))
    tested = paired_bootstrap(blocks_a, blocks_b, resamples=resamples)
    low, high = _ratio_interval(blocks_a, blocks_b, resamples)
    return Numbers(
        mean_a, mean_b, len(cases), tested, _relative(mean_a, mean_b), low, high, left_out=left_out
    )


def _blocks(values: Sequence[float]) -> Sequence[float]:
    """Values as they are; very many as means of neighbours: their mean spreads as that of all does."""
    size = math.ceil(len(values) / _MOST_PAIRS)
    if size == 1:
        return values
    whole = len(values) // size * size
    return [statistics.fmean(values[place : place + size]) for place in range(0, whole, size)]


def _untested(first: Metric, second: Metric, kind: Kind) -> Numbers:
    if first.value is None or second.value is None:
        why = "one of them has no value"
    elif kind is Kind.OTHER:
        why = "a number that is no mean of its cases has no paired test"
    else:
        why = "they have no case in common"
    relative = _relative(first.value, second.value)
    return Numbers(first.value, second.value, first.count + second.count, None, relative, why=why)


def _relative(first: float | None, second: float | None) -> float | None:
    if first is None or second is None or first <= 0:
        return None
    return second / first - 1


def _ratio_interval(
    first: Sequence[float], second: Sequence[float], resamples: int
) -> tuple[float | None, float | None]:
    """Percentile interval of the ratio of the means less one, by resampling pairs; None where it has none."""
    if min(first) <= 0 or len(first) < 2:
        return None, None
    source = random.Random(0)  # noqa: S311 - resampling is to be repeatable, not secret
    pairs = list(zip(first, second, strict=True))
    ratios = []
    for _ in range(resamples):
        drawn = source.choices(pairs, k=len(pairs))
        ratios.append(math.fsum(b for _, b in drawn) / math.fsum(a for a, _ in drawn) - 1)
    ratios.sort()
    skip = round(resamples * LEVEL / 2)
    return ratios[skip], ratios[-skip - 1]


def by_formula(metrics: Sequence[Metric]) -> Mapping[str, Metric]:
    """Metrics by their formula ids with their settings."""
    return {one.formula: one for one in metrics}
