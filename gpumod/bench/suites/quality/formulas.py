"""What the numbers of `quality` are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling

POINTS: Final = Formula(
    "quality.points.v1", "points",
    "A scenario has 1 if every check of its answer is satisfied, else 0: a wrong, empty or late answer and "
    "one cut at the token limit have 0. What the server refused or broke off has no value and does not "
    "count. Over all scenarios, and at each pack.",
    larger_is_better=True, pooling=Pooling.SHARE,
)  # fmt: skip
UNSCORED: Final = Formula(
    "quality.unscored.v1", "scenarios",
    "1 for each scenario that has no value because the server refused it or broke it off.",
    larger_is_better=False, pooling=Pooling.SUM,
)  # fmt: skip
TOKENS: Final = Formula(
    "quality.tokens.v1", "tokens",
    "usage.completion_tokens of a scenario, reasoning included, summed over its turns.",
)  # fmt: skip
TURNS: Final = Formula("quality.turns.v1", "turns", "How often the model was asked in a scenario.")

FORMULAS: Final = (POINTS, UNSCORED, TOKENS, TURNS)
