"""What a test showed, in a sentence with its numbers. It never says that two things are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpumod.bench.formulas import AT
from gpumod.bench.statistics import Comparison as Tested
from gpumod.bench.statistics import Verdict
from gpumod.core.job import Metric

LEAST_PAIRS: Final = 6
"""Fewer pairs cannot show a difference at 5 %: of the 32 sign patterns of five, 2 are as extreme as any."""
_VERBS: Final = {
    "speed.decode.client.v1": "decodes", "speed.decode.server.v1": "decodes",
    "speed.prefill.client.v1": "reads prompts", "speed.prefill.server.v1": "reads prompts",
    "speed.throughput.v1": "serves requests at once", "speed.together.decode.v1": "decodes beside others",
}  # fmt: skip

_SMALL: Final = 0.01
"""An interval within it has a digit more, or a shown difference would look like none."""

Trials = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Two numbers and their test.

    Args:
        count: pairs, or samples of both.
        relative: the difference as a share of the first, with its interval.
        trials: successes and trials of both, of rates.
        left_out: cases that only one of them has.
        why: why there is no test.
    """

    first: float | None
    second: float | None
    count: int
    tested: Tested | None
    relative: float | None = None
    low: float | None = None
    high: float | None = None
    trials: tuple[Trials, Trials] | None = None
    left_out: int = 0
    why: str = ""


def sentence(metric: Metric, numbers: Numbers, names: tuple[str, str]) -> str:
    """The verdict on a metric."""
    tested = numbers.tested
    if tested is None:
        return f"not tested: {numbers.why} ({_values(metric, numbers)})"
    if tested.verdict is Verdict.NOT_SHOWN:
        return f"no difference shown ({_against(metric, numbers)}, {_test(tested, numbers)}){_few(numbers)}"
    first, second = names
    change = _change(metric, numbers, tested.verdict)
    return f"{second} {change} than {first} ({_evidence(metric, numbers, tested)})"


def _change(metric: Metric, numbers: Numbers, verdict: Verdict) -> str:
    formula, _, setting = metric.formula.partition(AT)
    where = f" at {setting}" if setting else ""
    by = "" if numbers.relative is None else f"{abs(numbers.relative):.0%} ".replace("%", " %")
    higher = verdict is Verdict.HIGHER
    if metric.unit == "tokens/s":
        verb = _VERBS.get(formula)
        pace = "faster" if higher else "slower"
        return f"{verb} {by}{pace}{where}" if verb else f"is {by}{pace} in {metric.formula}"
    if metric.unit == "s":
        return f"takes {by}{'more' if higher else 'less'} time ({metric.formula})"
    if numbers.trials:
        by = ""
    return f"is {by}{'higher' if higher else 'lower'} in {metric.formula}"


def _evidence(metric: Metric, numbers: Numbers, tested: Tested) -> str:
    if numbers.trials:
        return f"{_values(metric, numbers)}, {_test(tested, numbers)}"
    if numbers.low is None or numbers.high is None:
        return f"{_values(metric, numbers)}, n={numbers.count} pairs{_left_out(numbers)}"
    return f"{_interval(numbers.low, numbers.high)}, n={numbers.count} pairs{_left_out(numbers)}"


def _interval(low: float, high: float) -> str:
    digits = 1 if 0 < max(abs(low), abs(high)) < _SMALL else 0
    return f"{100 * low:+.{digits}f} to {100 * high:+.{digits}f} %"


def _against(metric: Metric, numbers: Numbers) -> str:
    values = _values(metric, numbers)
    if numbers.trials or numbers.relative is None or numbers.low is None or numbers.high is None:
        return values
    return f"{values}: {_interval(numbers.low, numbers.high)}"


def _values(metric: Metric, numbers: Numbers) -> str:
    if numbers.trials:
        (a, n), (b, m) = numbers.trials
        return f"{a}/{n} against {b}/{m}"
    shown = ["-" if one is None else f"{one:.4g}" for one in (numbers.first, numbers.second)]
    return f"{shown[0]} against {shown[1]} {metric.unit}"


def _test(tested: Tested, numbers: Numbers) -> str:
    if numbers.trials and tested.test.startswith("Fisher"):
        return f"Fisher p = {_p(tested.p)}"
    name = "McNemar " if numbers.trials else ""
    return f"{name}p = {_p(tested.p)}, n={numbers.count} pairs{_left_out(numbers)}"


def _p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.095 else f"{p:.2g}"


def _left_out(numbers: Numbers) -> str:
    if not numbers.left_out:
        return ""
    return f", {numbers.left_out} case{'s' * (numbers.left_out > 1)} of one of them alone left out"


def _few(numbers: Numbers) -> str:
    if numbers.trials or numbers.count >= LEAST_PAIRS or numbers.first == numbers.second:
        return ""
    return f"; fewer than {LEAST_PAIRS} pairs cannot show one"
