"""What launches teach: about the same setting, about others, and what is not believed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.footprint import Measurement, Part, Spread
from gpumod.core.names import ServiceId
from gpumod.core.units import GIB, MIB
from gpumod.estimate.learning import (
    Basis,
    Learned,
    Seen,
    basis_of,
    cards_at,
    exact_size,
    nearest,
    with_margin,
)
from gpumod.estimate.prediction import Prediction

FORMULA = Prediction(
    (
        Part("weights", (4 * GIB,)),
        Part("KV cache", (GIB,)),
        Part("compute buffer", (GIB // 2,)),
        Part("CUDA context", (500 * MIB,)),
        Part("CUDA graphs and pools", (60 * MIB,)),
    )
)
SIZE = FORMULA.cards[0]


def took(*used, stage="warm", name="f", family="fam", at=1.0, split=(), driver=""):
    return Measurement(
        name, ServiceId("s"), "RTX", len(used), stage, used, 0, at, family, None, split, driver
    )


def seen(*used, prediction=FORMULA, **fields):
    return Seen(took(*used, **fields), prediction)


def taught(launches, prediction=FORMULA) -> Basis:
    basis = basis_of(launches, prediction)
    assert basis is not None
    return basis


def test_the_largest_launch_counts():
    basis = basis_of([seen(SIZE + 10), seen(SIZE + 30, at=2.0), seen(SIZE - 5, at=3.0)], FORMULA)
    assert basis == Basis((30,), (30,), took(SIZE - 5, at=3.0))
    assert basis.same


def test_before_the_first_request_its_pools_are_not_there_yet():
    basis = taught([seen(SIZE - 60 * MIB, stage="ready")])
    assert (basis.excess, basis.seen) == ((0,), (-60 * MIB,))


def test_after_one_short_request_longer_ones_are_still_expected():
    launches = [seen(SIZE - 60 * MIB, stage="ready"), seen(SIZE - 50 * MIB, stage="warm")]
    assert taught(launches).excess == (0,)
    launches = [seen(SIZE - 60 * MIB, stage="ready"), seen(SIZE + 50 * MIB, stage="warm")]
    assert taught(launches).excess == (50 * MIB,)


def test_a_peak_counts_as_well():
    launches = [seen(SIZE, stage="warm"), seen(SIZE + GIB, stage="peak")]
    assert taught(launches).excess == (GIB,)


@pytest.mark.parametrize("used", [0, GIB, 3 * GIB])
def test_a_process_tree_that_holds_less_than_its_weights_was_not_seen_whole(used):
    assert basis_of([seen(used)], FORMULA) is None
    assert taught([seen(used), seen(SIZE)]).excess == (0,)


def test_without_a_formula_for_its_weights_nothing_at_all_is_still_not_a_launch():
    assert basis_of([Seen(took(0), FORMULA, by_formula=False)], FORMULA) is None
    assert taught([Seen(took(7), FORMULA, by_formula=False)]).excess == (7 - SIZE,)


def test_another_setting_is_as_far_as_the_formula_says():
    larger = replace(FORMULA, parts=(*FORMULA.parts, Part("KV cache", (2 * GIB,))))
    basis = taught([seen(SIZE + 10)], larger)
    assert (basis.excess, basis.distance, basis.same) == ((10,), 2 * GIB, False)


def test_the_nearest_setting_teaches_and_of_equals_the_newest():
    near, far = Basis((1,), (1,), took(1), 5), Basis((2,), (2,), took(1), 9)
    newer = Basis((3,), (3,), took(1, at=2.0), 5)
    assert nearest([far, near, newer]) is newer
    assert nearest([]) is None


# --- several cards ------------------------------------------------------------------------------

SPREAD = Spread((GIB,) * 8, (2 * GIB, GIB))
DIVIDED = Prediction((Part("weights", SPREAD.cards((4, 4))),), spread=SPREAD, split=(4, 4))


def test_what_was_beyond_the_formula_is_the_same_however_the_layers_were_divided():
    launch = Seen(took(7 * GIB + 5, 4 * GIB + 7, split=(5, 3)), DIVIDED)
    assert launch.excess == (5, 7)
    assert basis_of([launch], DIVIDED) == Basis((5, 7), (5, 7), launch.measurement)


def test_a_division_of_another_number_of_cards_is_not_used():
    assert cards_at(DIVIDED, (8,)) == DIVIDED.cards


# --- the margin ---------------------------------------------------------------------------------


def test_the_margin_is_small_and_never_nothing():
    assert with_margin(GIB) == GIB + 32 * MIB
    assert with_margin(20 * GIB) == pytest.approx(20.1 * GIB)


def test_what_is_carried_over_has_a_margin_of_its_own():
    assert with_margin(10 * GIB, -4 * GIB) - with_margin(10 * GIB) == pytest.approx(0.04 * GIB)


def test_weights_and_caches_are_what_cannot_be_less():
    assert exact_size(FORMULA) == (5 * GIB,)
    assert exact_size(Prediction((Part("allowance", (1, 1)),))) == (0, 0)


# --- the memory ---------------------------------------------------------------------------------


def test_settings_of_one_family_are_relatives():
    learned = Learned()
    for one in (took(1, name="a"), took(2, name="b"), took(3, name="c", family="other")):
        learned.add(one)
    assert [[one.used for one in group] for group in learned.relatives("fam")] == [[(1,)], [(2,)]]
    assert learned.relatives("unknown") == ()


def test_a_new_driver_makes_former_readings_old():
    learned = Learned()
    learned.add(took(9, driver="550", at=1.0))
    learned.add(took(7, driver="560", at=2.0))
    assert [one.used for one in learned.of("f")] == [(7,)]


def test_readings_of_a_former_driver_count_until_there_are_new_ones():
    learned = Learned()
    learned.add(took(9, driver="550", at=1.0))
    learned.add(took(7, name="g", driver="560", at=2.0))
    assert [one.used for one in learned.of("f")] == [(9,)]


@given(st.permutations(range(6)))
def test_the_order_in_which_measurements_are_told_does_not_matter(order):
    every = [took(at + 1, driver="1" if at < 3 else "2", at=float(at)) for at in range(6)]
    learned = Learned()
    for at in order:
        learned.add(every[at])
    assert [one.used for one in learned.of("f")] == [(4,), (5,), (6,)]


def test_the_settings_that_were_launched_last_are_looked_at():
    learned = Learned()
    for at in range(40):
        learned.add(took(at + 1, name=f"n{at}", at=float(at)))
    learned.add(took(99, name="n0", at=50.0))
    found = [group[-1].used for group in learned.relatives("fam")]
    assert found[-1] == (99,)
    assert len(found) < 20


def test_an_odd_launch_is_forgotten_in_the_end():
    learned = Learned()
    learned.add(took(99, at=0.0))
    for at in range(1, 100):
        learned.add(took(1, at=float(at)))
    assert max(one.used for one in learned.of("f")) == (1,)
