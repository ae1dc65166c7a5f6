"""The five levels: what is asked for, and what it is worth."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.bench.suites.coding.hidden.gate import RULES

HERE: Final = Path(__file__).resolve().parent
_PACKAGE: Final = "gpumod/bench/suites/coding/hidden"


@dataclass(frozen=True, slots=True)
class Level:
    """One task.

    Args:
        points: for passing every hidden test; each test is worth the same part of them.
        names: what the module has to define; by this the right block of an answer is found.
        given: modules that the solution may import.
    """

    key: str
    points: float
    names: tuple[str, ...]
    given: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the model is asked."""
        return (HERE / "levels" / f"{self.key}.md").read_text("utf-8") + RULES

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of its hidden tests."""
        tree = ast.parse((HERE / "hidden" / f"{self.key}.py").read_text("utf-8"))
        functions = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        return tuple(name for name in functions if name.startswith("test_"))

    @property
    def module(self) -> str:
        """The hidden tests, as a module inside the sandbox."""
        return f"{_PACKAGE.replace('/', '.')}.{self.key}"

    def files(self, solution: str) -> dict[str, str]:
        """What the sandbox's working directory holds."""
        own = {f"{name}.py": (HERE / "given" / f"{name}.py").read_text("utf-8") for name in self.given}
        for name in ("checking", "gate", "runner", self.key):
            own[f"{_PACKAGE}/{name}.py"] = (HERE / "hidden" / f"{name}.py").read_text("utf-8")
        return own | {"solution.py": solution}

    @property
    def runner(self) -> str:
        """The program that runs the tests, inside the sandbox."""
        return f"{_PACKAGE}/runner.py"


LEVELS: Final[Mapping[str, Level]] = {
    level.key: level
    for level in (
        Level("queue", 25.0, ("JobQueue",)),
        Level("retry", 25.0, ("retry",)),
        Level("priority", 25.0, ("PriorityQueue",)),
        Level("race", 15.0, ("Ledger",)),
        Level("compose", 10.0, ("Dispatcher",), ("ranked", "backoff", "fifo")),
    )
}
"""By key, in order; 100 points in all."""
