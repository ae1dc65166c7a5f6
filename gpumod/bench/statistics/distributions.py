"""The distributions that intervals and tests need."""

from __future__ import annotations

import math
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-15
_MOST_TERMS: Final = 500
_MOST_HALVINGS: Final = 200


def student_t_cdf(t: float, freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at most `t`.

    By the regularised incomplete beta function: Abramowitz and Stegun, Handbook of Mathematical
    Functions, 26.7.1 and 26.5.2.

    Raises:
        ValueError: `freedom` is not positive.
    """
    if not freedom > 0:
        raise ValueError(f"degrees of freedom must be positive, not {freedom}")
    square = t * t
    if square < freedom:  # near the middle the tail is too close to a half to tell them apart
        middle = incomplete_beta(0.5, freedom / 2, square / (freedom + square)) / 2
        return 0.5 + math.copysign(middle, t)
    tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square)) / 2
    return 1 - tail if t > 0 else tail


def student_t_quantile(probability: float, freedom: float) -> float:
    """The t that Student's t stays below with that probability; the inverse of `student_t_cdf`.

    Raises:
        ValueError: the probability is not strictly between 0 and 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability strictly between 0 and 1 is needed, not {probability}")
    if probability < 0.5:
        return -student_t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while student_t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(_MOST_HALVINGS):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if student_t_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b).

    By its continued fraction (Abramowitz and Stegun, 26.5.8), evaluated by Lentz's method on the side
    where it converges fast.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, _inverse(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = _inverse(1 + even * d), 1 + even * _inverse(c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = _inverse(1 + odd * d), 1 + odd * _inverse(c)
        value *= d * c
        if abs(d * c - 1) < _PRECISION:
            break
    return value


def _inverse(value: float) -> float:
    return 1 / (value if abs(value) > _TINY else _TINY)


def binomial_two_sided(successes: int, trials: int) -> float:
    """The probability of a result at least as far from half as this one, of a fair coin."""
    if trials == 0:
        return 1.0
    fewer = min(successes, trials - successes)
    tail = sum(math.comb(trials, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << trials))


def hypergeometric(drawn_marked: int, drawn: int, marked: int, total: int) -> float:
    """The probability to draw exactly so many marked ones of a population, without putting back."""
    if not max(0, drawn - (total - marked)) <= drawn_marked <= min(drawn, marked):
        return 0.0
    ways = math.comb(marked, drawn_marked) * math.comb(total - marked, drawn - drawn_marked)
    return ways / math.comb(total, drawn)
