"""Tests of two results against each other."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.bench.statistics.distributions import binomial_two_sided, hypergeometric, student_t_cdf
from gpumod.bench.statistics.intervals import CONFIDENCE

RESAMPLES: Final = 10_000
_EXACT_PAIRS: Final = 13
_SAME: Final = 1 + 1e-9
"""Tables that are equally likely may differ by rounding."""


class Verdict(StrEnum):
    """What a test showed. There is no verdict that two things are equal: no such test shows that."""

    HIGHER = "higher"
    LOWER = "lower"
    NOT_SHOWN = "no difference shown"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second result against the first.

    Args:
        test: its name.
        verdict: whether the second is higher or lower, or whether nothing was shown.
        p: the probability of a difference at least so large if there were none.
        difference: second less first, in the metric's own unit.
        low: the lower end of the difference's confidence interval; None where the test gives none.
        high: the upper end.
        count: samples, or pairs.
    """

    test: str
    verdict: Verdict
    p: float
    difference: float
    low: float | None
    high: float | None
    count: int


def mcnemar_exact(pairs: Sequence[tuple[bool, bool]], *, confidence: float = CONFIDENCE) -> Comparison:
    """McNemar's exact test of the same tasks solved or not by two subjects: only disagreements count."""
    gained = sum(second and not first for first, second in pairs)
    lost = sum(first and not second for first, second in pairs)
    p = binomial_two_sided(gained, gained + lost)
    difference = (gained - lost) / len(pairs) if pairs else 0.0
    verdict = _verdict(p, difference, confidence)
    return Comparison("exact McNemar", verdict, p, difference, None, None, len(pairs))


def fisher_exact(
    first: tuple[int, int], second: tuple[int, int], *, confidence: float = CONFIDENCE
) -> Comparison:
    """Fisher's exact test, two-sided: successes and trials of two independent samples.

    Raises:
        ValueError: a sample without trials, or with more successes than trials.
    """
    for successes, trials in (first, second):
        if trials < 1 or not 0 <= successes <= trials:
            raise ValueError(f"{successes} of {trials} is no rate")
    (a, n), (b, m) = first, second
    marked, total = a + b, n + m
    seen = hypergeometric(a, n, marked, total)
    every = (hypergeometric(count, n, marked, total) for count in range(min(n, marked) + 1))
    p = min(1.0, math.fsum(one for one in every if one <= seen * _SAME))
    difference = b / m - a / n
    return Comparison("Fisher's exact", _verdict(p, difference, confidence), p, difference, None, None, total)


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """The mean difference of pairs: an exact p by changing signs, and a percentile interval by resampling.

    Both have to speak for a difference: resampled intervals of few pairs are too narrow, and five pairs
    cannot show anything however large their differences are (2 of 32 sign patterns are as extreme).

    Raises:
        ValueError: there are no pairs, or one side has more samples.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"pairs are needed, not {len(first)} and {len(second)} samples")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    difference = statistics.fmean(differences)
    source = random.Random(seed)  # noqa: S311 - resampling is to be repeatable, not secret
    count = len(differences)
    means = sorted(statistics.fmean(source.choices(differences, k=count)) for _ in range(resamples))
    skip = round(resamples * (1 - confidence) / 2)
    low, high = means[skip], means[-skip - 1]
    p = _sign_changes(differences, source, resamples)
    verdict = _verdict(p, difference, confidence) if low > 0 or high < 0 else Verdict.NOT_SHOWN
    return Comparison("paired bootstrap", verdict, p, difference, low, high, count)


def _sign_changes(differences: Sequence[float], source: random.Random, resamples: int) -> float:
    """How often the sum is at least so far from zero when each difference could as well be negative."""
    seen = abs(math.fsum(differences)) / _SAME
    count = len(differences)
    if count <= _EXACT_PAIRS:
        every = itertools.product((1, -1), repeat=count)
        return sum(abs(_signed(signs, differences)) >= seen for signs in every) / (1 << count)
    some = (source.choices((1, -1), k=count) for _ in range(resamples))
    # The seen pattern is one of them: so many resamples show no smaller probability than one in their number.
    return (sum(abs(_signed(signs, differences)) >= seen for signs in some) + 1) / (resamples + 1)


def _signed(signs: Sequence[int], values: Sequence[float]) -> float:
    return sum(sign * value for sign, value in zip(signs, values, strict=True))


def drift(samples: Sequence[float], *, confidence: float = CONFIDENCE) -> Comparison | None:
    """The last third of a run against its first third, by Welch's t test; None of fewer than six samples."""
    third = len(samples) // 3
    if third < 2:
        return None
    early, late = samples[:third], samples[-third:]
    difference = statistics.fmean(late) - statistics.fmean(early)
    errors = statistics.variance(early) / third, statistics.variance(late) / third
    if sum(errors) == 0:
        p = 1.0 if difference == 0 else 0.0
        verdict = _verdict(p, difference, confidence)
        return Comparison("Welch's t", verdict, p, difference, None, None, 2 * third)
    shares = [error / sum(errors) for error in errors]
    freedom = (third - 1) / sum(share * share for share in shares)
    p = 2 * student_t_cdf(-abs(difference) / math.sqrt(sum(errors)), freedom)
    verdict = _verdict(p, difference, confidence)
    return Comparison("Welch's t", verdict, p, difference, None, None, 2 * third)


def _verdict(p: float, difference: float, confidence: float) -> Verdict:
    if p >= 1 - confidence or difference == 0:
        return Verdict.NOT_SHOWN
    return Verdict.HIGHER if difference > 0 else Verdict.LOWER
