"""Confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.bench.statistics.distributions import student_t_quantile

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval.

    Args:
        value: the estimate.
        low: the lower end; -inf where so few samples say nothing.
        high: the upper end.
        count: how many samples.
        confidence: how often such an interval holds the true value.
        deviation: the samples' standard deviation, None where it is not defined.
    """

    value: float
    low: float
    high: float
    count: int
    confidence: float = CONFIDENCE
    deviation: float | None = None


def mean_interval(
    samples: Sequence[float],
    *,
    scale: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean with Student's t interval, which ends where the scale ends.

    One sample has a mean and no interval but the whole scale.

    Raises:
        ValueError: there is no sample, or one is not finite.
    """
    if not samples or not all(map(math.isfinite, samples)):
        raise ValueError("a mean needs at least one sample, and finite ones")
    mean = statistics.fmean(samples)
    if len(samples) == 1:
        return Interval(mean, *scale, 1, confidence)
    deviation = statistics.stdev(samples)
    reach = _t(confidence, len(samples) - 1) * deviation / math.sqrt(len(samples))
    low, high = max(scale[0], mean - reach), min(scale[1], mean + reach)
    return Interval(mean, low, high, len(samples), confidence, deviation)


def wilson_interval(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """A rate with Wilson's score interval (Wilson 1927), which never leaves 0 to 1.

    Raises:
        ValueError: there is no trial, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no rate")
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, square = successes / trials, z * z / trials
    centre = (rate + square / 2) / (1 + square)
    reach = z * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials)) / (1 + square)
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == trials else min(1.0, centre + reach)
    return Interval(rate, low, high, trials, confidence)


def slope_interval(
    times: Sequence[float], values: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval | None:
    """The slope of a straight line through the points by least squares, with its t interval.

    None where there are fewer than three points, or all at one time.
    """
    count = len(times)
    if count < 3 or len(values) != count or min(times) == max(times):
        return None
    slope, intercept = statistics.linear_regression(times, values)
    mean = statistics.fmean(times)
    spread = math.fsum((time - mean) ** 2 for time in times)
    residual = math.fsum(
        (value - intercept - slope * time) ** 2 for time, value in zip(times, values, strict=True)
    )
    error = math.sqrt(residual / (count - 2) / spread)
    reach = _t(confidence, count - 2) * error
    return Interval(slope, slope - reach, slope + reach, count, confidence)


def _t(confidence: float, freedom: int) -> float:
    return student_t_quantile(0.5 + confidence / 2, freedom)
