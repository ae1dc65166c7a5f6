"""The formulas against what llama.cpp itself logs. The table: `python -m tests.estimate.llama.launches`."""

import pytest

from tests.estimate.llama.launches import EXACT, Logged, chosen, logged, matrix, odd, predicted

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

COMPUTE = 0.05
"""What the compute buffer may be off by."""


def check(case):
    said, formula = logged(case), predicted(case)
    for part in EXACT:
        log = said.get(part, Logged(0, 0))
        assert abs(formula[part] - log.size) <= log.rounding, part
    assert formula["compute buffer"] == pytest.approx(said["compute buffer"].size, rel=COMPUTE)
    # Room for the outputs is made for one per slot, and for all of them on first use.
    assert formula["output buffer"] >= said["output buffer"].size - said["output buffer"].rounding


@pytest.mark.parametrize("case", tuple(chosen()), ids=lambda case: case.name)
def test_each_architecture_takes_what_the_formulas_say(case):
    check(case)


@pytest.mark.parametrize("case", tuple(odd()), ids=lambda case: case.name)
def test_odd_launches_take_what_the_formulas_say(case):
    check(case)


@pytest.mark.engines
@pytest.mark.parametrize("case", tuple(matrix()), ids=lambda case: case.name)
def test_the_whole_matrix_takes_what_the_formulas_say(case):
    check(case)
