"""What comparisons say for the modes that run their first target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gpumod.bench.comparison.findings import LEVEL
from gpumod.bench.formulas import AT
from gpumod.core.comparison import Comparison, Finding, Pair, Recommendation
from gpumod.core.spec import Mode

_SPEED: Final = frozenset({"tokens/s", "s", "ms"})
_QUALITY: Final = frozenset({"points", "share"})
_SPEED_SUITES: Final = frozenset({"speed", "switch"})
"""Shares in these say nothing of the answers."""
_LOST: Final = 0.1
"""A quality that came out lower by more than this share is in doubt, even if that is not shown."""


def recommend(comparisons: Sequence[Comparison], modes: Sequence[Mode] = ()) -> tuple[Recommendation, ...]:
    """For each other target: whether modes should run it instead of the first, and why or why not.

    It is recommended only where quality was measured and is not shown to be lower, speed neither, one of
    them is shown to be better with all tests counted, and nothing speaks against the results themselves.
    """
    if not comparisons:
        return ()
    first = comparisons[0].sides[0].target
    others = dict.fromkeys(
        side.target for one in comparisons if one.sides[0].target == first for side in one.sides[1:]
    )
    return tuple(_one(first, other, comparisons, modes) for other in others if other != first)


def _one(first: str, second: str, comparisons: Sequence[Comparison], modes: Sequence[Mode]) -> Recommendation:
    about = [(one, side.name) for one in comparisons for side in one.sides[1:] if side.target == second]
    against = tuple(_obstacles(first, about))
    found = [(one, finding) for one, name in about for finding in _findings(one, name)]
    quality = [finding for one, finding in found if _is_quality(one, finding)]
    speed = [finding for _, finding in found if finding.unit in _SPEED]
    against += tuple(_worse(quality, speed))
    better = [one for one in (*quality, *speed) if one.better and _survives(one)]
    if not against and not better:
        against = ("nothing is shown to be better with all tests counted; more repeats may show it",)
    if against:
        return Recommendation(first, second, (), tuple(f"None: {one}." for one in against))
    reasons = (*(f"{one.sentence}." for one in better), *(f"Quality: {one.sentence}." for one in quality[:3]))
    commands = tuple(
        f"gpumodctl mode set {mode.id} --replace {first}={second}"
        for mode in modes
        if any(str(service.preset) == first for service in mode.services)
    )
    if not commands:
        reasons = (*reasons, f"No mode runs {first}: there is nothing to replace.")
    return Recommendation(first, second, commands, tuple(dict.fromkeys(reasons)))


def _obstacles(first: str, about: Sequence[tuple[Comparison, str]]) -> Iterator[str]:
    for one, name in about:
        if one.sides[0].target != first:
            yield f"the {one.suite} results are compared with {one.sides[0].target}, not with {first}"
        if one.not_comparable:
            yield f"the {one.suite} results are not comparable"
        for side in one.sides:
            if side.integrity and side.name in {name, one.sides[0].name}:
                yield f"the {one.suite} result of {side.name} should not be trusted ({side.integrity[0]})"


def _findings(comparison: Comparison, name: str) -> tuple[Finding, ...]:
    pair: Pair | None = next((one for one in comparison.pairs if one.second == name), None)
    return pair.findings if pair else ()


def _is_quality(comparison: Comparison, finding: Finding) -> bool:
    return (
        finding.unit in _QUALITY and comparison.suite not in _SPEED_SUITES and finding.verdict != "not tested"
    )


def _survives(finding: Finding) -> bool:
    return finding.adjusted_p is not None and finding.adjusted_p < LEVEL


def _overall(finding: Finding) -> bool:
    """Whether it is over a whole suite: `suite.name.vN` without a setting."""
    return finding.formula.count(".") == 2 and AT not in finding.formula


def _lost(finding: Finding) -> float:
    """How much worse the second came out, as a share of the first; of the whole scale where that has none."""
    if finding.first is None or finding.second is None or finding.larger_is_better is None:
        return 0.0
    change = finding.second - finding.first
    return (-change if finding.larger_is_better else change) / (abs(finding.first) or 1.0)


def _worse(quality: Sequence[Finding], speed: Sequence[Finding]) -> Iterator[str]:
    if not quality:
        yield "quality was not compared; measure coding or quality of both"
    for one in quality:
        if one.better is False:
            yield f"quality is shown to be lower: {one.sentence}"
        elif _overall(one) and one.better is None and _lost(one) > _LOST:
            yield (
                f"quality in {one.formula} came out worse by {100 * _lost(one):.0f} %, which is neither "
                f"shown nor ruled out by so few samples: {one.sentence}"
            )
    slower = sorted((one for one in speed if one.better is False), key=_lost, reverse=True)
    if slower:
        worst, many = slower[0].sentence, f"{len(slower)} number{'s' * (len(slower) > 1)}"
        yield f"speed is shown to be lower in {many}, which only you can weigh; the worst: {worst}"
