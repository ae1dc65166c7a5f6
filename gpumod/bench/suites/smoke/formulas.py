"""What the number of `smoke` is."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling

PASSED: Final = Formula(
    "smoke.passed.v1", "share",
    "Share of the attempts that passed every hidden test of the level, with Wilson's 95 % score interval. "
    "Attempts without a score, because the server or the sandbox failed, are left out; a timeout, a cut "
    "answer, no code and a syntax error have not passed.",
    larger_is_better=True, pooling=Pooling.OWN,
)  # fmt: skip

FORMULAS: Final = (PASSED,)
