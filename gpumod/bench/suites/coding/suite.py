"""The suite `coding`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from gpumod.bench.formulas import Formula
from gpumod.bench.statistics import mean_interval, wilson_interval
from gpumod.bench.suites.coding.attempt import (
    DEFAULTS,
    attempt,
    check_parameters,
    content_hash,
    hindrance,
    level_of,
)
from gpumod.bench.suites.coding.formulas import FULL, OF_LEVEL, PERFECT, POINTS, SECONDS, TOKENS
from gpumod.bench.suites.coding.levels import LEVELS
from gpumod.core.job import Metric, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint

VERSION: Final = "1"
_DEFAULTS: Final[Mapping[str, object]] = {"iterations": 15, **DEFAULTS}


class CodingSuite:
    """Five modules to write, some times over; hidden tests give the points."""

    @property
    def name(self) -> str:
        """As in `job submit --suite`."""
        return "coding"

    @property
    def version(self) -> str:
        """Grows with every change that changes scores."""
        return VERSION

    @property
    def content_hash(self) -> str:
        """SHA-256 over prompts, hidden tests, given modules and all code of this suite."""
        return content_hash()

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with every default filled in.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        return check_parameters(self.name, given, _DEFAULTS, "iterations")

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Why there is no sandbox on this machine; empty where there is one."""
        del parameters
        return await hindrance()

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """Every level of every iteration; one iteration is done before the next begins."""
        del endpoint
        count = int(str(parameters["iterations"]))
        return [
            Case(f"{iteration:03}/{key}", {"level": key, "iteration": iteration})
            for iteration in range(1, count + 1)
            for key in LEVELS
        ]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Ask for one level, and grade it.

        Raises:
            NoSandboxError: this box has no sandbox.
        """
        return await attempt(level_of(case.data["level"]), case, parameters, bench)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """Points per iteration and per level, and how often everything was right.

        An iteration counts if all of its levels have a score: where a server failed, nothing is known.
        """
        del parameters
        by_iteration: dict[str, dict[str, float]] = defaultdict(dict)
        for sample in samples:
            iteration, _, level = sample.case.partition("/")
            if sample.score is not None:
                by_iteration[iteration][level] = sample.score
        whole = {
            key: sum(points.values()) for key, points in by_iteration.items() if len(points) == len(LEVELS)
        }
        levels = [
            _points(
                OF_LEVEL[key],
                {name: points[key] for name, points in by_iteration.items() if key in points},
                level.points,
            )
            for key, level in LEVELS.items()
        ]
        perfect = {key: float(points > FULL - 1e-6) for key, points in whole.items()}
        return (
            _points(POINTS, whole, FULL),
            share(PERFECT, perfect),
            *levels,
            _mean(SECONDS, samples),
            _mean(TOKENS, samples),
        )


def share(formula: Formula, by_case: Mapping[str, float]) -> Metric:
    """How many of the cases have a one, with Wilson's interval."""
    if not by_case:
        return Metric(formula.id, None, formula.unit, larger_is_better=True)
    found = wilson_interval(round(sum(by_case.values())), len(by_case))
    return Metric(
        formula.id, found.value, formula.unit, found.low, found.high, found.count, True, dict(by_case)
    )


def _points(formula: Formula, by_case: Mapping[str, float], full: float) -> Metric:
    if not by_case:
        return Metric(formula.id, None, formula.unit, larger_is_better=True)
    found = mean_interval(list(by_case.values()), scale=(0.0, full))
    low, high = (found.low, found.high) if found.count > 1 else (None, None)
    return Metric(formula.id, found.value, formula.unit, low, high, found.count, True, dict(by_case))


def _mean(formula: Formula, samples: Sequence[Sample]) -> Metric:
    """Over the requests that were answered, however well: a refused one takes no time and says nothing."""
    better = formula.larger_is_better
    by_case = {
        one.case: one.numbers[formula.id]
        for one in samples
        if one.score is not None and formula.id in one.numbers
    }
    if not by_case:
        return Metric(formula.id, None, formula.unit, larger_is_better=better)
    found = mean_interval(list(by_case.values()), scale=(0.0, float("inf")))
    low, high = (found.low, found.high) if found.count > 1 else (None, None)
    return Metric(formula.id, found.value, formula.unit, low, high, found.count, better, by_case)
