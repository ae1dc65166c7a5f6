"""Results side by side: what they differ in, what was shown, and what follows for a mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpumod.core.job import JobId


@dataclass(frozen=True, slots=True)
class Side:
    """One of the results that are compared.

    Args:
        name: what it is called here: its target, with the job where two have the same target.
        outcomes: how many samples ended how.
        integrity: sentences: why it should not be trusted.
    """

    name: str
    job: JobId
    target: str
    label: str
    started: float
    ended: float
    outcomes: Mapping[str, int]
    integrity: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """Something in which the results differ, with each one's value, in their order; `-` where it has none."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One number of the second result against that of the first.

    Args:
        formula: its formula id with its setting.
        first: over the pairs, where it was paired; else the first result's own.
        second: the same of the second.
        count: pairs; or samples of both together, where they do not pair.
        test: empty where there is none that fits.
        p: the probability of a difference at least so large if there were none.
        adjusted_p: the same with all tests of the comparison counted (Holm).
        relative: the difference as a share of the first.
        low: the lower end of the relative difference's 95 % interval.
        high: the upper end.
        verdict: `higher`, `lower`, `no difference shown`, or `not tested`.
        larger_is_better: None where neither end is.
        better: whether the second is shown to be better; None where nothing is shown or neither end is.
        sentence: the verdict in words, with its numbers.
    """

    formula: str
    unit: str
    first: float | None
    second: float | None
    count: int
    test: str
    p: float | None
    adjusted_p: float | None
    relative: float | None
    low: float | None
    high: float | None
    verdict: str
    larger_is_better: bool | None
    better: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A result against the first one. `notes` are sentences about all of its findings."""

    first: str
    second: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results of one suite side by side.

    Args:
        sides: the results; the first is what the others are compared with.
        axes: every recorded axis on which they differ.
        credit: one sentence: whether a difference may be credited to one of the axes.
        not_comparable: sentences: why no test was made; empty where they can be compared.
        warnings: sentences to read before the numbers.
        pairs: each further result against the first.
    """

    suite: str
    suite_version: str
    sides: tuple[Side, ...]
    axes: tuple[Axis, ...]
    credit: str
    not_comparable: tuple[str, ...]
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a comparison says for the modes that run its first target.

    Args:
        first: what those modes run.
        second: what could run instead.
        commands: to make it so, one for each mode; empty where nothing is recommended.
        reasons: sentences: why, or why not.
    """

    first: str
    second: str
    commands: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """Results of one or more suites side by side."""

    comparisons: tuple[Comparison, ...]
    recommendations: tuple[Recommendation, ...] = ()
