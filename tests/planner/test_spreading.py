"""Dividing a model between its layers: exact, within every card's room, and as even as that allows."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.footprint import Spread
from gpumod.planner.spreading import divide, divisions
from tests.tries import tries


def every_division(spread, cards):
    count = len(spread.layers)
    for cuts in combinations(range(1, count), cards - 1):
        ends = (0, *cuts, count)
        yield tuple(end - start for start, end in pairwise(ends))


def fits(spread, counts, room):
    return all(size <= there for size, there in zip(spread.cards(counts), room, strict=True))


@st.composite
def crowded(draw):
    cards = draw(st.integers(1, 4))
    layers = draw(st.lists(st.integers(0, 9), min_size=1, max_size=9))
    fixed = draw(st.lists(st.integers(0, 4), min_size=cards, max_size=cards))
    room = draw(st.lists(st.integers(-3, 25), min_size=cards, max_size=cards))
    return Spread(tuple(layers), tuple(fixed)), tuple(room)


@tries(150)
@given(crowded())
def test_a_division_is_found_exactly_when_there_is_one(problem):
    spread, room = problem
    possible = [counts for counts in every_division(spread, len(room)) if fits(spread, counts, room)]
    found = divide(spread, room)
    assert (found is not None) == bool(possible)
    if found is not None:
        assert found in possible
        assert set(divisions(spread, room)) <= set(possible)


@tries(100)
@given(crowded())
def test_no_other_division_has_a_much_smaller_largest_card(problem):
    spread, room = problem
    found = divide(spread, room)
    if found is None:
        return
    best = min(
        max(spread.cards(counts))
        for counts in every_division(spread, len(room))
        if fits(spread, counts, room)
    )
    assert max(spread.cards(found)) <= best + max(1, best // 100)


def test_equal_cards_take_equal_shares_of_equal_layers():
    assert divide(Spread((10,) * 32, (1, 1)), (1000, 1000)) == (16, 16)
    assert divide(Spread((10,) * 32, (1, 1, 1, 1)), (1000,) * 4) == (8, 8, 8, 8)


def test_a_card_with_little_room_takes_few_layers_and_the_others_the_rest():
    assert divide(Spread((10,) * 32, (1, 1, 1)), (1000, 51, 1000)) == (13, 5, 14)


def test_what_is_beside_the_layers_counts():
    """A projector on the first card leaves it fewer layers."""
    assert divide(Spread((10,) * 32, (100, 0)), (1000, 1000)) == (11, 21)


def test_a_card_without_room_for_a_layer_is_no_card():
    assert divide(Spread((10,) * 32, (1, 1)), (1000, 10)) is None
