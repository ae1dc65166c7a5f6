"""What the numbers of `coding` are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling
from gpumod.bench.suites.coding.levels import LEVELS, Level

FULL: Final = 100.0
"""The points of all levels together."""

POINTS: Final = Formula(
    "coding.points.v1", "points",
    "Points of one iteration: the sum over its five levels, of 100. Iterations in which a level has no "
    "score, because the server or the sandbox failed, are left out; a timeout, a cut answer, no code and a "
    "syntax error are 0 points. The interval is kept within 0 and 100.",
    larger_is_better=True,
)  # fmt: skip
PERFECT: Final = Formula(
    "coding.perfect.v1", "share",
    "Share of the same iterations that have all 100 points, with Wilson's 95 % score interval.",
    larger_is_better=True, pooling=Pooling.OWN,
)  # fmt: skip
SECONDS: Final = Formula(
    "coding.request_seconds.v1", "s",
    "Seconds from asking for a module to the end of the answer, whatever it was worth; a request that ran "
    "into its timeout counts with that time. Grading is not in it. Requests without a score are left out.",
    larger_is_better=False,
)  # fmt: skip
TOKENS: Final = Formula(
    "coding.completion_tokens.v1", "tokens",
    "usage.completion_tokens of the request, thoughts included. Answers for which the server tells none are "
    "left out.",
)  # fmt: skip


def _of(level: Level) -> Formula:
    definition = (
        f"Points of the level `{level.key}`: {level.points:g}, times the share of its {len(level.tests)} "
        f"hidden tests that passed. The interval is kept within 0 and {level.points:g}."
    )
    return Formula(f"coding.{level.key}.points.v1", "points", definition, larger_is_better=True)


OF_LEVEL: Final = {key: _of(level) for key, level in LEVELS.items()}
"""By the level's key."""

FORMULAS: Final = (POINTS, PERFECT, *OF_LEVEL.values(), SECONDS, TOKENS)
