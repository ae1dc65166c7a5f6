"""The search for room is exact: it agrees with trying everything."""

from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.footprint import Spread
from gpumod.core.names import ServiceId
from gpumod.planner.packing import Item, Nodes, Option, SearchLimitError, pack
from tests.tries import tries


def item(name, options):
    return Item(ServiceId(name), options)


def everywhere(name, sizes, cards):
    """An item that may go on any cards, in any order."""
    options = (Option(order, sizes) for order in permutations(range(cards), len(sizes)))
    return item(name, tuple(options))


def packed(items, room, limit=1000):
    return pack(items, room, [0] * len(room), Nodes(limit))


def fits(chosen, room):
    left = list(room)
    for option in chosen:
        for card, size in zip(option.cards, option.sizes, strict=True):
            left[card] -= size
            if left[card] < 0:
                return False
    return True


def on_class(option, classes):
    return {classes[card] for card in option.cards}


def by_brute_force(items, room):
    return any(fits(chosen, room) for chosen in product(*(item.options for item in items)))


@st.composite
def crowded(draw):
    cards = draw(st.integers(1, 4))
    room = draw(st.lists(st.integers(-2, 12), min_size=cards, max_size=cards))
    items = []
    for number in range(draw(st.integers(1, 4))):
        sizes = tuple(draw(st.lists(st.integers(1, 8), min_size=1, max_size=min(2, cards))))
        item = everywhere(f"s{number}", sizes, cards)
        if draw(st.integers(0, 4)) == 0:
            item = Item(item.id, (draw(st.sampled_from(item.options)),), fixed=True)
        items.append(item)
    return items, room


@tries(100)
@given(crowded())
def test_it_finds_room_exactly_when_trying_everything_does(problem):
    items, room = problem
    chosen = pack(items, room, [0] * len(room), Nodes())
    assert (chosen is not None) == by_brute_force(items, room)
    if chosen is not None:
        assert set(chosen) == {item.id for item in items}
        assert fits(chosen.values(), room)


@tries(100)
@given(crowded(), st.data())
def test_cards_of_different_classes_are_not_taken_for_equal(problem, data):
    """An item that fits one class of card only is found its place."""
    items, room = problem
    classes = data.draw(st.lists(st.integers(0, 1), min_size=len(room), max_size=len(room)))
    pickiness = data.draw(st.lists(st.sampled_from([{0}, {1}, {0, 1}]), min_size=4, max_size=4))
    picky = [
        one
        if one.fixed
        else item(one.id, tuple(way for way in one.options if on_class(way, classes) <= liked))
        for one, liked in zip(items, pickiness, strict=False)
    ]
    chosen = pack(picky, room, classes, Nodes())
    assert (chosen is not None) == by_brute_force(picky, room)


@tries(100)
@given(crowded(), st.data())
def test_one_item_that_can_be_divided_is_divided_whenever_that_helps(problem, data):
    items, room = problem
    count = data.draw(st.integers(1, len(room)))
    layers = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=5))
    spread = Spread(tuple(layers), tuple(data.draw(st.integers(0, 2)) for _ in range(count)))
    orders = list(permutations(range(len(room)), count))
    named = data.draw(st.booleans())
    orders = [data.draw(st.sampled_from(orders))] if named else orders
    one = (*(1,) * (count - 1), len(layers) - count + 1)
    ways = tuple(Option(order, spread.cards(one), spread=spread) for order in orders)
    divided = tuple(
        Option(order, spread.cards(counts))
        for order in orders
        for counts in product(range(1, len(layers) + 1), repeat=count)
        if sum(counts) == len(layers)
    )
    chosen = pack([*items, Item(ServiceId("d"), ways, fixed=named)], room, [0] * len(room), Nodes())
    assert (chosen is not None) == by_brute_force([*items, item("d", divided)], room)
    if chosen is not None:
        assert fits(chosen.values(), room)
        assert chosen[ServiceId("d")].sizes == spread.cards(chosen[ServiceId("d")].split)


@st.composite
def solved(draw):
    """Items that fill every card to its last byte. On cards of another class some are larger."""
    contents = draw(st.lists(st.lists(st.integers(2, 6), min_size=1, max_size=3), min_size=2, max_size=4))
    classes = draw(st.lists(st.integers(0, 1), min_size=len(contents), max_size=len(contents)))
    items: list[Item] = []
    for at, sizes in enumerate(contents):
        for size in sizes:
            other = draw(st.sampled_from([0, 0, 3, 20]))
            options = (
                Option((card,), (size if classes[card] == classes[at] else size + other,))
                for card in range(len(contents))
            )
            items.append(item(f"s{len(items)}", tuple(options)))
    return items, [sum(sizes) for sizes in contents], classes


@tries(100)
@given(solved())
def test_a_puzzle_that_has_a_solution_is_solved(puzzle):
    items, room, classes = puzzle
    chosen = pack(items, room, classes, Nodes(100_000))
    assert chosen is not None
    assert fits(chosen.values(), room)


def test_equal_room_on_cards_of_two_classes_is_not_one_state():
    """The 7 has to leave the only card that the 6 can use; the room left is 5 and 12 either way."""
    picky = item("b", (Option((0,), (6,)),))
    chosen = pack([everywhere("a", (7,), 2), picky], [12, 12], [0, 1], Nodes())
    assert chosen is not None
    assert fits(chosen.values(), [12, 12])


def test_the_tightest_card_is_taken_and_the_former_one_before_it():
    one = everywhere("a", (4,), 3)
    assert packed([one], [9, 5, 7])["a"].cards == (1,)
    options = (Option(way.cards, way.sizes, int(way.cards == (2,))) for way in one.options)
    former = item("a", tuple(options))
    assert packed([former], [9, 5, 7])["a"].cards == (2,)


def test_best_fit_that_leads_nowhere_is_taken_back():
    """The 5 fits the 7 best, and then one of the 3s has no room; on the 8 it leaves room for all."""
    items = [everywhere(name, (size,), 2) for name, size in (("a", 5), ("b", 4), ("c", 3), ("d", 3))]
    chosen = packed(items, [7, 8])
    assert chosen["a"].cards == (1,)
    assert fits(chosen.values(), [7, 8])


def test_the_search_gives_up_at_its_bound_and_says_so():
    items = [everywhere(f"s{number}", (3,), 4) for number in range(8)]
    assert pack(items, [9, 9, 9, 9], [0] * 4, Nodes(8)) is not None
    with pytest.raises(SearchLimitError):
        pack(items, [9, 9, 9, 9], [0] * 4, Nodes(7))


def test_more_items_than_slots_are_refused_at_once():
    """Two of 8 to 9 to a card of 24: seventeen have no place on eight cards, whatever their bytes."""
    items = [everywhere(f"s{number}", (800 + number * 7 % 90 + 1,), 8) for number in range(17)]
    nodes = Nodes(1)
    assert pack(items, [2400] * 8, [0] * 8, nodes) is None


def test_equal_items_on_equal_cards_are_refused_without_trying_every_order():
    """Nine items, one to a card, on eight cards: 8! orders, a few nodes."""
    items = [everywhere(f"s{number}", (15,), 8) for number in range(9)]
    nodes = Nodes(100)
    assert pack(items, [16] * 8, [0] * 8, nodes) is None
    assert nodes.left > 80


def test_slots_of_different_sizes_find_their_cards():
    options = [Option(order, (8, 2)) for order in permutations(range(2))]
    assert packed([item("a", tuple(options))], [3, 9])["a"].cards == (1, 0)


def test_several_cards_are_several_different_cards():
    pairs = tuple(Option(cards, (4, 4)) for cards in combinations(range(2), 2))
    assert packed([item("a", pairs)], [9, 3]) is None
