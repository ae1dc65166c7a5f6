"""Numbers that contradict each other are told, both of them; small differences are not."""

import pytest

from gpumod.core.units import GIB, MIB
from gpumod.estimate.drift import drifted, misdeclared


def gib(*sizes):
    return tuple(round(size * GIB) for size in sizes)


def test_a_formula_that_is_far_off_is_told_with_both_numbers():
    assert drifted(gib(10), gib(12)).startswith(
        "launches took 12.0 GiB of a card where the formula says 10.0 GiB"
    )
    assert "7168 MiB" in drifted(gib(5, 9), gib(5, 7))


@pytest.mark.parametrize("seen", [10, 10.4, 9.7])
def test_less_than_five_percent_is_no_drift(seen):
    assert drifted(gib(10), gib(seen)) == ""


def test_of_something_small_a_large_share_is_no_drift():
    assert drifted((GIB,), (GIB + 200 * MIB,)) == ""
    assert drifted((GIB,), (GIB + 300 * MIB,)) != ""


def test_a_declaration_that_is_too_small_is_told():
    told = misdeclared(gib(5), gib(9), "by the formula")
    assert told == (
        "`vram:` declares 5120 MiB of a card, and it takes 9216 MiB by the formula: it may run out of memory"
    )


def test_a_declaration_that_is_far_too_large_is_told():
    assert "would leave others the difference" in misdeclared(gib(12), gib(9), "by the formula")
    assert misdeclared(gib(10.5), gib(9), "by the formula") == ""


def test_of_several_cards_the_worst_is_told():
    assert "2048 MiB" in misdeclared(gib(8, 2), gib(8, 6), "by the formula")
