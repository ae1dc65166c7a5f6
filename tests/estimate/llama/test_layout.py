import itertools

from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.footprint import Spread
from gpumod.core.spec import LlamaOptions, Split
from gpumod.estimate.llama.layout import even_counts, place, split_counts
from tests.estimate.llama.headers import model, setting

PLAIN = model()


def test_an_even_split_of_33_units():
    assert place(PLAIN, setting(PLAIN, 2)).counts == (17, 16)
    assert place(PLAIN, setting(PLAIN, 4)).counts == (9, 8, 8, 8)


def test_the_written_ratio_divides_what_is_on_cards():
    chosen = setting(PLAIN, 2, split=Split("layer", (3.0, 1.0)))
    assert place(PLAIN, chosen).counts == (25, 8)
    fewer = setting(PLAIN, 2, split=Split("layer", (3.0, 1.0)), llama=LlamaOptions(gpu_layers=8))
    placement = place(PLAIN, fewer)
    assert placement.counts == (6, 2)
    assert placement.layers == (-1,) * 25 + (0,) * 6 + (1,)
    assert placement.output == 1


def test_layers_go_where_they_are_counted_to():
    placement = place(PLAIN, setting(PLAIN, 3), (10, 20, 3))
    assert placement.layers == (0,) * 10 + (1,) * 20 + (2,) * 2
    assert placement.output == 2


@given(counts=st.lists(st.integers(0, 200), min_size=1, max_size=8).filter(sum))
def test_counts_given_to_llama_cpp_as_its_ratio_come_out_as_they_went_in(counts):
    chosen = setting(PLAIN, len(counts), split=Split("layer", tuple(map(float, counts))))
    assert split_counts(chosen, sum(counts)) == tuple(counts)


@given(
    layers=st.lists(st.integers(0, 50), min_size=1, max_size=9),
    fixed=st.lists(st.integers(0, 30), min_size=1, max_size=4),
)
def test_no_other_division_fills_the_fullest_card_less(layers, fixed):
    spread = Spread(tuple(layers), tuple(fixed))
    counts = even_counts(spread)
    assert sum(counts) == len(layers)
    others = itertools.product(range(len(layers) + 1), repeat=len(fixed))
    whole = (other for other in others if sum(other) == len(layers))
    assert max(spread.cards(counts)) == min(max(spread.cards(other)) for other in whole)
