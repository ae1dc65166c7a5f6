"""Measured numbers: their spread, how they compare, and whether they meet a goal. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    least: float
    median: float
    most: float
    count: int


class Figure(StrEnum):
    """Which of a finding's figures a goal is about; always its median."""

    OURS = "ours"
    RATIO = "ratio"
    DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure's median has to stay below `below`."""

    figure: Figure
    below: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing measured, beside its alternative where it has one.

    Attributes:
        other: the alternative, in the same unit; `beside` says what it is.
        ratio: ours by the other's, round by round.
        difference: ours less the other's, round by round.
    """

    name: str
    unit: str
    ours: Spread
    beside: str = ""
    other: Spread | None = None
    ratio: Spread | None = None
    difference: Spread | None = None
    goals: tuple[Goal, ...] = ()

    def figure(self, which: Figure) -> Spread | None:
        """One of its figures."""
        return {Figure.OURS: self.ours, Figure.RATIO: self.ratio, Figure.DIFFERENCE: self.difference}[which]

    def missed(self) -> tuple[Goal, ...]:
        """Goals that it does not meet; one about a figure that there is not counts as missed."""
        return tuple(goal for goal in self.goals if not _met(goal, self.figure(goal.figure)))


@dataclass(frozen=True, slots=True)
class Skipped:
    """What could not be measured here, and why."""

    name: str
    reason: str


def spread(values: Sequence[float]) -> Spread:
    """Least, median and most.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Spread(min(values), statistics.median(values), max(values), len(values))


def alone(name: str, unit: str, values: Sequence[float], *goals: Goal) -> Finding:
    """A finding that has no alternative."""
    return Finding(name, unit, spread(values), goals=goals)


def compared(
    name: str, unit: str, ours: Sequence[float], beside: str, other: Sequence[float], *goals: Goal
) -> Finding:
    """A finding beside its alternative, both measured in the same rounds.

    Raises:
        ValueError: a round lacks one of the two.
    """
    pairs = list(zip(ours, other, strict=True))
    ratios = [mine / its for mine, its in pairs if its > 0]
    return Finding(
        name,
        unit,
        spread(ours),
        beside,
        spread(other),
        spread(ratios) if len(ratios) == len(pairs) else None,
        spread([mine - its for mine, its in pairs]),
        goals,
    )


def in_turns(rounds: int, first: Callable[[], A], second: Callable[[], B]) -> tuple[list[A], list[B]]:
    """Measure two things in turns; who goes first changes, so that neither always pays for the other."""
    of_first: list[A] = []
    of_second: list[B] = []
    for number in range(rounds):
        if number % 2:
            of_second.append(second())
            of_first.append(first())
        else:
            of_first.append(first())
            of_second.append(second())
    return of_first, of_second


def _met(goal: Goal, figure: Spread | None) -> bool:
    return figure is not None and figure.median < goal.below
