"""What a suite's report begins with, and the scales of its numbers; others need no entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

Scale = tuple[float, float]
_POINTS: Final[Scale] = (0.0, 100.0)
_DIFFERENCES: Final = frozenset({"drift", "growth", "difference", "delta", "slope"})
"""Words of formula ids: such numbers are on no scale, whatever their unit."""


def _no_limits() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Grid:
    """Numbers that were measured at the same settings, side by side.

    Args:
        setting: what the settings are, for example `depth in tokens`.
        formulas: formula id by the column's name.
    """

    title: str
    setting: str
    formulas: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a suite's numbers are shown.

    Args:
        first: formula ids of the headline, in order; a `*` at the end stands for the rest of an id. Empty:
            every formula of which one end is better.
        grids: tables of the headline, before the single numbers.
        full: points that there are at most by formula id, for those with other than 100.
    """

    first: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    full: Callable[[], Mapping[str, float]] = field(default=_no_limits)

    def scale(self, formula: str, unit: str) -> Scale | None:
        """The ends that a number cannot be beyond; None where that is not known, as of differences."""
        if _DIFFERENCES & set(formula.split(".")):
            return None
        if unit == "share":
            return (0.0, 1.0)
        if unit == "points":
            return (0.0, self.full().get(formula, _POINTS[1]))
        return None

    def leads(self, formula: str) -> int | None:
        """The place of a formula in the headline; None where it has none."""
        for place, wanted in enumerate(self.first):
            if formula == wanted or (wanted.endswith("*") and formula.startswith(wanted[:-1])):
                return place
        return None


def _levels() -> Mapping[str, float]:
    from gpumod.bench.suites.coding.levels import LEVELS

    return {f"coding.{key}.points.v1": float(level.points) for key, level in LEVELS.items()}


_SPEED: Final = Shape(
    first=("speed.draft.acceptance.*", "speed.memory.peak.*", "speed.kv.peak.*"),
    grids=(
        Grid(
            "One request at a time",
            "depth in tokens",
            {
                "decode": "speed.decode.client.v1",
                "prefill": "speed.prefill.client.v1",
                "time to first token": "speed.ttft.v1",
                "95th percentile of gaps": "speed.gap.p95.v1",
            },
        ),
        Grid(
            "Requests at once",
            "requests",
            {
                "throughput": "speed.throughput.v1",
                "decode of each": "speed.together.decode.v1",
                "time to first token": "speed.together.ttft.v1",
            },
        ),
    ),
)
_SHAPES: Final[Mapping[str, Shape]] = {
    "speed": _SPEED,
    "coding": Shape(first=("coding.points.*", "coding.perfect.*", "coding.*"), full=_levels),
    "smoke": Shape(first=("smoke.passed.*",)),
    "quality": Shape(first=("quality.points.*", "quality.unscored.*")),
    "stress": Shape(first=("stress.passed.*", "stress.needle.*")),
    "soak": Shape(
        first=(
            "soak.clean.*",
            "soak.empty.*",
            "soak.failed.*",
            "soak.memory.hour.*",
            "soak.memory.growth.*",
            "soak.ttft.v1",
            "soak.ttft.drift.*",
            "soak.decode.v1",
            "soak.decode.drift.*",
        )
    ),
    "switch": Shape(
        first=("switch.unavailable.*",),
        grids=(
            Grid(
                "Switches",
                "way",
                {
                    "whole": "switch.total.v1",
                    "stop": "switch.stop.v1",
                    "memory proven free": "switch.release.v1",
                    "start": "switch.start.v1",
                    "until ready": "switch.ready.v1",
                },
            ),
        ),
    ),
}
_ANY: Final = Shape()


def shape_of(suite: str) -> Shape:
    """How a suite's numbers are shown."""
    return _SHAPES.get(suite, _ANY)
