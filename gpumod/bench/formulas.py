"""Formulas: what a number of a benchmark is, by an id under which alone it may be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.bench.statistics import Interval, mean_interval, wilson_interval
from gpumod.core.job import Metric, Sample

AT: Final = "@"
"""Between a formula's id and the setting it was measured at, such as the depth: `speed.ttft.v1@4096`."""


class Pooling(StrEnum):
    """How the numbers of the samples become one."""

    MEAN = "mean with Student's 95 % t interval over the samples"
    FIRST = "the first sample's"
    MOST = "the largest of the samples"
    SUM = "the sum over the samples"
    SHARE = "points of a hundred: the share of samples above 0, with Wilson's 95 % score interval"
    RATIO = "the ratio of two sums over the samples, with the t interval of a ratio estimator"
    OWN = "as it is defined: the suite computes it over all of them"


@dataclass(frozen=True, slots=True)
class Formula:
    """One formula. A change of what it means is a new id.

    Args:
        id: `suite.name.vN`.
        definition: a sentence or two, exact enough to compute it by hand.
        larger_is_better: None where neither is.
        of: numerator and denominator of a ratio, by their ids.
    """

    id: str
    unit: str
    definition: str
    larger_is_better: bool | None = None
    pooling: Pooling = Pooling.MEAN
    of: tuple[str, str] | None = None


def table(formulas: Iterable[Formula]) -> str:
    """A section for each formula, in Markdown."""
    return "\n".join(map(_entry, formulas))


def _entry(formula: Formula) -> str:
    better = {True: "larger is better", False: "smaller is better", None: "neither end is better"}
    words = f"Unit: {formula.unit}; {better[formula.larger_is_better]}. Over samples: {formula.pooling}."
    parts = f" `{formula.of[0]}` by `{formula.of[1]}`." if formula.of else ""
    return f"### `{formula.id}`\n\n{formula.definition}\n\n{words}{parts}\n"


def metrics(formulas: Iterable[Formula], samples: Sequence[Sample]) -> tuple[Metric, ...]:
    """The metrics of these formulas over the samples, one for each setting in the order of its appearance.

    Those that a suite computes by itself (`Pooling.OWN`) are not among them.
    """
    found: list[Metric] = []
    for formula in formulas:
        if formula.pooling is Pooling.OWN:
            continue
        for key in _keys(formula, samples):
            metric = _metric(formula, key, samples)
            if metric is not None:
                found.append(metric)
    return tuple(found)


def _keys(formula: Formula, samples: Sequence[Sample]) -> list[str]:
    """The formula's id with each setting that the samples have."""
    if formula.of is not None:
        return [formula.id]
    keys = (key for sample in samples for key in sample.numbers if key.partition(AT)[0] == formula.id)
    return list(dict.fromkeys(keys))


def _metric(formula: Formula, key: str, samples: Sequence[Sample]) -> Metric | None:
    if formula.of is not None:
        values, interval = _ratio(*(_by_case(part, samples) for part in formula.of))
    else:
        values = _by_case(key, samples)
        interval = _pooled(formula.pooling, list(values.values()))
    if interval is None:
        return None
    return Metric(
        key,
        interval.value,
        formula.unit,
        interval.low if math.isfinite(interval.low) else None,
        interval.high if math.isfinite(interval.high) else None,
        len(values),
        formula.larger_is_better,
        values,
    )


def _by_case(key: str, samples: Sequence[Sample]) -> dict[str, float]:
    return {sample.case: sample.numbers[key] for sample in samples if key in sample.numbers}


def _pooled(pooling: Pooling, values: list[float]) -> Interval | None:
    if not values:
        return None
    if pooling is Pooling.MEAN:
        return mean_interval(values, scale=(0.0, math.inf)) if len(values) > 1 else _point(values[0], 1)
    if pooling is Pooling.SHARE:
        return share(values)
    one = {Pooling.FIRST: values[0], Pooling.MOST: max(values), Pooling.SUM: math.fsum(values)}[pooling]
    return _point(one, len(values))


def share(values: Sequence[float]) -> Interval:
    """Points of a hundred for the samples above 0, with Wilson's score interval.

    Raises:
        ValueError: there is no sample.
    """
    rate = wilson_interval(sum(one > 0 for one in values), len(values))
    return Interval(100 * rate.value, 100 * rate.low, 100 * rate.high, rate.count)


def _point(value: float, count: int) -> Interval:
    return Interval(value, -math.inf, math.inf, count)


def _ratio(
    parts: Mapping[str, float], wholes: Mapping[str, float]
) -> tuple[dict[str, float], Interval | None]:
    """Ratio estimator with its linearised variance (Cochran, Sampling Techniques, chapter 6)."""
    cases = [case for case in parts if wholes.get(case, 0.0) > 0]
    each = {case: parts[case] / wholes[case] for case in cases}
    if not cases:
        return each, None
    whole = math.fsum(wholes[case] for case in cases)
    ratio = math.fsum(parts[case] for case in cases) / whole
    if len(cases) == 1:
        return each, _point(ratio, 1)
    scale = len(cases) / whole
    lines = [ratio + scale * (parts[case] - ratio * wholes[case]) for case in cases]
    return each, mean_interval(lines, scale=(0.0, 1.0))
