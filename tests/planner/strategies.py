"""Random boxes, services and modes, small enough to be crowded."""

from hypothesis import strategies as st

from gpumod.core.footprint import Spread
from tests.planner.world import World, model

CARD_MODELS = ("A", "B")


@st.composite
def models(draw, number, cards):
    count = draw(st.sampled_from([1, 1, 1, 2])) if cards > 1 else 1
    by_model = {}
    for card_model in CARD_MODELS:
        first = draw(st.integers(1, 14))
        by_model[card_model] = (first,) if count == 1 else (first, draw(st.integers(1, 10)))
    if draw(st.booleans()):
        by_model["B"] = by_model["A"]
    exact = draw(st.permutations(range(cards)))[:count] if draw(st.integers(0, 5)) == 0 else ()
    needs = draw(st.sets(st.integers(0, number - 1), max_size=1)) if number else ()
    return model(
        number,
        by_model,
        count=count,
        exact=exact,
        needs=needs,
        resident=draw(st.integers(0, 3)),
        loading=draw(st.integers(0, 6)),
        alone=draw(st.integers(0, 3)) == 0,
    )


@st.composite
def spreads(draw, layers, count):
    return Spread(tuple(layers), tuple(draw(st.integers(0, 2)) for _ in range(count)))


@st.composite
def divisible(draw, number, cards):
    """A service whose layers can be divided over its cards; unless chosen otherwise the last takes most."""
    count = draw(st.integers(2, min(3, cards)))
    layers = draw(st.lists(st.integers(1, 4), min_size=count, max_size=8))
    by_model = {name: draw(spreads(layers, count)) for name in CARD_MODELS}
    split = (*(1,) * (count - 1), len(layers) - count + 1)
    exact = draw(st.permutations(range(cards)))[:count] if draw(st.integers(0, 3)) == 0 else ()
    return model(
        number,
        {name: spread.cards(split) for name, spread in by_model.items()},
        count=count,
        exact=exact,
        resident=draw(st.integers(0, 3)),
        spreads=by_model,
        split=split,
    )


@st.composite
def worlds(draw, services=5, least_cards=1):
    count = draw(st.integers(least_cards, 4))
    cards = {
        f"GPU-{at}": (draw(st.sampled_from(CARD_MODELS)), draw(st.sampled_from([12, 16, 16, 24])))
        for at in range(count)
    }
    all_models = [draw(models(number, count)) for number in range(services)]
    if count > 1 and draw(st.booleans()):
        # One at most: only then is the search exact, as more free memory can show.
        at = draw(st.integers(0, services - 1))
        all_models[at] = draw(divisible(at, count))
    foreign = {name: draw(st.sampled_from([0, 0, 0, 2, 5])) for name in cards}
    return World(
        cards,
        {one.id: one for one in all_models},
        host=draw(st.sampled_from([12, 20, 1000])),
        foreign=foreign,
        told=draw(st.integers(0, 4)) > 0,
    )


@st.composite
def modes(draw, world):
    """Ids of services, with all that they depend on."""
    names = draw(st.sets(st.sampled_from(sorted(world.models)), max_size=4))
    todo = list(names)
    while todo:
        for other in world.models[todo.pop()].spec.depends_on:
            if other not in names:
                names.add(other)
                todo.append(other)
    return frozenset(names)
