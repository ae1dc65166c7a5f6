"""The hidden tests: a right solution passes them all, and each of them is failed by some wrong solution."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from gpumod.bench.suites.coding.grading import grade
from gpumod.bench.suites.coding.levels import LEVELS
from gpumod.core.job import Outcome
from tests.bench.coding.mutants import MUTANTS

REFERENCES = Path(__file__).with_name("references")


def reference(level: str) -> str:
    return (REFERENCES / f"{level}.txt").read_text()


def test_points_are_those_of_the_levels():
    assert [level.points for level in LEVELS.values()] == [25, 25, 25, 15, 10]


@pytest.mark.parametrize("level", LEVELS)
async def test_a_right_solution_gets_every_point(sandbox, level):
    graded = await grade(sandbox, LEVELS[level], reference(level))
    assert graded.failed == ()
    assert graded.outcome is Outcome.OK
    assert graded.points(LEVELS[level]) == LEVELS[level].points


@pytest.mark.parametrize("level", LEVELS)
async def test_every_wrong_solution_is_found_and_every_test_finds_one(sandbox, level):
    at_once, alone = asyncio.Semaphore(12), asyncio.Lock()  # most of their time they hang

    async def tried(code):
        """Graded; a race that was not lost, or a machine too busy for any test, gets a few tries more."""
        async with at_once:
            result = await grade(sandbox, LEVELS[level], code, seconds=3)
        for _ in range(4):
            if result.outcome is Outcome.WRONG and result.passed:
                break
            async with alone:
                result = await grade(sandbox, LEVELS[level], code)
        return result

    async def graded(name, *edits):
        code = reference(level)
        for old, new in edits:
            assert old in code, (name, old)
            code = code.replace(old, new)
        return name, await tried(code)

    found = defaultdict(set)
    for name, result in await asyncio.gather(*(graded(*mutant) for mutant in MUTANTS[level])):
        assert result.outcome is Outcome.WRONG, f"{name} passes everything"
        assert 0 <= result.points(LEVELS[level]) < LEVELS[level].points
        assert result.passed, f"{name} fails everything: it is broken, not wrong"
        for test, _ in result.failed:
            found[test].add(name)
    assert set(LEVELS[level].tests) - set(found) == set(), "tests that no wrong solution fails"
