"""Runs the hidden tests of a level on a solution, in the sandbox."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any, Final

from gpumod.bench.sandbox import Ended, Limits, Sandbox, SandboxFailedError
from gpumod.bench.suites.coding.levels import Level
from gpumod.core.job import Outcome

TEST_SECONDS: Final = 20.0
"""For one hidden test. None of them takes two on a quiet box; a solution that hangs uses all of it."""
_LIMITS: Final = Limits(wall=400.0, cpu=60)


@dataclass(frozen=True, slots=True)
class Grade:
    """What the tests said.

    Args:
        outcome: `ok` where all pass, else `wrong`, `syntax_error` or `sandbox`.
        passed: names of hidden tests.
        failed: the others, each with its reason.
        note: what there is to say besides.
    """

    outcome: Outcome
    passed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    note: str = ""

    def points(self, level: Level) -> float | None:
        """Of the level's; None where nothing is known of the solution."""
        if self.outcome is Outcome.SANDBOX:
            return None
        return level.points * len(self.passed) / len(level.tests)


async def grade(sandbox: Sandbox, level: Level, solution: str, seconds: float = TEST_SECONDS) -> Grade:
    """Run every hidden test of the level; a test that was not reached has failed."""
    word = secrets.token_hex(8)
    argv = (*sandbox.python, level.runner, level.module, str(seconds), *level.given)
    try:
        execution = await sandbox.run(argv, level.files(solution) | {"word": word}, _LIMITS)
    except SandboxFailedError as error:
        return Grade(Outcome.SANDBOX, note=error.detail)
    said = [_said(line, word) for line in execution.output.splitlines() if line.startswith(word)]
    if syntax := next((str(one["syntax"]) for one in said if "syntax" in one), ""):
        return Grade(Outcome.SYNTAX_ERROR, note=syntax)
    refused = next((str(one["refused"]) for one in said if "refused" in one), "")
    if refused:
        return Grade(Outcome.WRONG, (), tuple((name, refused) for name in level.tests), refused)
    seen = {str(one["test"]): one for one in said if "test" in one}
    over = any("over" in one for one in said)
    note = "" if over else _why(execution.ended, execution.errors)
    if not over and not seen and execution.ended is Ended.EXITED:
        return Grade(Outcome.SANDBOX, note=note)  # the runner itself did not work
    passed = tuple(name for name in level.tests if seen.get(name, {}).get("passed") is True)
    failed = tuple(
        (name, str(seen.get(name, {}).get("why", note))) for name in level.tests if name not in passed
    )
    return Grade(Outcome.WRONG if failed else Outcome.OK, passed, failed, note)


def _said(line: str, word: str) -> dict[str, Any]:
    try:
        said = json.loads(line.removeprefix(word))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _why(ended: Ended, errors: str) -> str:
    last = errors.strip()[-300:]
    return f"the tests did not end by themselves: {ended}" + (f": {last}" if last else "")
