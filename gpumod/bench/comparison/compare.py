"""Results of one suite side by side, and of several suites together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gpumod.bench.comparison.axes import axes_of, busy, credit_of
from gpumod.bench.comparison.findings import LEVEL, adjusted, by_formula, finding
from gpumod.bench.comparison.recommend import recommend
from gpumod.core.comparison import Comparison, ComparisonReport, Finding, Pair, Side
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import Outcome, Result
from gpumod.core.spec import Mode

MOST: Final = 8
_HARMLESS: Final = frozenset(
    {"iterations", "attempts", "repeats", "sessions", "depths", "concurrency", "packs", "checks"}
    | {"sampler", "thinking"}
)
"""How often and which cases, and how the model is asked, which are axes: what is common can be compared."""
_BUSY: Final = 0.5
"""Share of a host's processors from which on others may well have slowed a target down."""
_SAYS_NOTHING: Final = (Outcome.SANDBOX, Outcome.REFUSED, Outcome.DISCONNECTED)


def report(results: Sequence[Result], modes: Sequence[Mode] = ()) -> ComparisonReport:
    """Results of any suites: each suite's side by side, and what all of them say for the modes.

    Args:
        results: in the order in which they were asked for; the first of each suite is what the others
            are compared with.
        modes: those that a recommendation may be about.

    Raises:
        InvalidRequestError: there are no two results of a suite, or too many.
    """
    suites = list(dict.fromkeys(one.suite for one in results))
    every = [[one for one in results if one.suite == suite] for suite in suites]
    comparisons = tuple(compare(those) for those in every if len(those) > 1)
    if not comparisons:
        names = ", ".join(f"{one.suite} of {one.target}" for one in results) or "none"
        raise InvalidRequestError(f"two results of one suite are needed to compare; there are: {names}")
    return ComparisonReport(comparisons, recommend(comparisons, modes))


def compare(results: Sequence[Result]) -> Comparison:
    """Results of one suite, each against the first.

    Raises:
        InvalidRequestError: there are fewer than two, too many, the same one twice, or of several suites.
    """
    _check(results)
    names = _names(results)
    axes = axes_of(results)
    not_comparable = tuple(_not_comparable(results))
    return Comparison(
        suite=results[0].suite,
        suite_version=results[0].suite_version,
        sides=tuple(_side(name, one) for name, one in zip(names, results, strict=True)),
        axes=axes,
        credit=credit_of(axes),
        not_comparable=not_comparable,
        warnings=tuple(_warnings(names, results)),
        pairs=() if not_comparable else _pairs(names, results),
    )


def _check(results: Sequence[Result]) -> None:
    if not 2 <= len(results) <= MOST:
        raise InvalidRequestError(f"2 to {MOST} results can be compared, not {len(results)}")
    if len({one.suite for one in results}) > 1:
        raise InvalidRequestError("results of different suites have no number in common")
    places = [(one.job, one.target) for one in results]
    twice = next((one for one in places if places.count(one) > 1), None)
    if twice is not None:
        raise InvalidRequestError(f"{twice[0]}/{twice[1]} is given twice")


def _names(results: Sequence[Result]) -> tuple[str, ...]:
    targets = [one.target for one in results]
    return tuple(
        one.target if targets.count(one.target) == 1 else f"{one.target} ({one.job})" for one in results
    )


def _side(name: str, result: Result) -> Side:
    return Side(
        name,
        result.job,
        result.target,
        result.label,
        result.started,
        result.ended,
        dict(result.outcomes),
        result.integrity,
    )


def _not_comparable(results: Sequence[Result]) -> Iterator[str]:
    versions = {(one.suite_version, one.suite_hash) for one in results}
    if len(versions) > 1:
        shown = ", ".join(f"version {version} ({digest[:12]})" for version, digest in sorted(versions))
        yield f"Different states of the suite measured them: {shown}. Their numbers are not comparable."
    names = sorted({name for one in results for name in one.parameters} - _HARMLESS)
    for name in names:
        values = [one.parameters.get(name) for one in results]
        if any(value != values[0] for value in values):
            shown = " against ".join(map(str, values))
            yield f"The parameter {name} differs ({shown}): the tasks were not the same."
    packs = [_own_packs(one) for one in results]
    if any(one != packs[0] for one in packs):
        yield "Packs of your own differ, or have changed between: the tasks were not the same."


def _own_packs(result: Result) -> frozenset[str]:
    packs = result.parameters.get("packs")
    return (
        frozenset(str(one) for one in packs if "@" in str(one))
        if isinstance(packs, list | tuple)
        else frozenset()
    )


def _warnings(names: Sequence[str], results: Sequence[Result]) -> Iterator[str]:
    for name, result in zip(names, results, strict=True):
        for sentence in result.integrity:
            yield f"Do not trust {name}: {sentence}"
        load = busy(result)
        if load is not None and load > _BUSY:
            yield f"The host was busy while {name} was measured: up to {100 * load:.0f} % of its processors"
        silent = sum(result.outcomes.get(outcome.value, 0) for outcome in _SAYS_NOTHING)
        if silent:
            every = sum(result.outcomes.values())
            yield f"{silent} of {every} samples of {name} say nothing of the model: {_silent(result)}"
    for name in sorted(_HARMLESS):
        values = [one.parameters.get(name) for one in results]
        if any(value != values[0] for value in values):
            yield f"The parameter {name} differs: what they have in common is compared."


def _silent(result: Result) -> str:
    counts = ((outcome.value, result.outcomes.get(outcome.value, 0)) for outcome in _SAYS_NOTHING)
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def _pairs(names: Sequence[str], results: Sequence[Result]) -> tuple[Pair, ...]:
    first = by_formula(results[0].metrics)
    every: list[list[Finding]] = []
    alone: list[list[str]] = []
    for name, result in zip(names[1:], results[1:], strict=True):
        second = by_formula(result.metrics)
        every.append([finding(first[key], second[key], (names[0], name)) for key in first if key in second])
        alone.append(sorted(first.keys() ^ second.keys()))
    counted = iter(adjusted([one for those in every for one in those]))
    found = [[next(counted) for _ in those] for those in every]
    tests = sum(one.p is not None for those in found for one in those)
    return tuple(
        Pair(names[0], name, tuple(those), tuple(_notes(those, tests, missing)))
        for name, those, missing in zip(names[1:], found, alone, strict=True)
    )


def _notes(findings: Iterable[Finding], tests: int, missing: Sequence[str]) -> Iterator[str]:
    if tests:
        yield (
            "The intervals and tests are over the samples of one run each: how much two runs of the very "
            "same thing differ is not in them."
        )
    if tests > 1:
        shown = [one for one in findings if one.verdict in {"higher", "lower"}]
        kept = [one for one in shown if one.adjusted_p is not None and one.adjusted_p < LEVEL]
        yield (
            f"{tests} tests were made: at 5 % each, {tests * LEVEL:.1f} of them would show a difference by "
            f"chance alone. {len(shown)} show one here; {len(kept)} still do when all are counted (Holm)."
        )
    if missing:
        yield f"Only one of them has {', '.join(missing)}: not compared."
