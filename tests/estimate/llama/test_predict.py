from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from gpumod.core.cards import HOST_MODEL, CardModel
from gpumod.core.spec import Draft, LlamaOptions, Split
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.llama.layout import even_counts
from gpumod.estimate.llama.model import llama_model
from gpumod.estimate.llama.predict import predict
from gpumod.testing.shapes import write_shape
from tests.estimate.llama.headers import setting
from tests.tries import tries

CARD = CardModel("NVIDIA Test", 24 << 30, (8, 9), 100)
NAMES = ("llama31-8b", "qwen3-0.6b", "qwen35-27b", "gemma3-1b")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return {name: llama_model(read_gguf(write_shape(name, folder / f"{name}.gguf"))) for name in NAMES}


def parts(prediction):
    return {part.name: part for part in prediction.parts}


def test_the_parts_of_an_8b(models):
    plain = models["llama31-8b"]
    found = parts(predict(plain, setting(plain, context=16384, slots=4), CARD))
    assert found["weights"].cards[0] >> 20 == 4403
    assert found["KV cache"].cards[0] == 8 << 30
    assert "4 × 16,384 cells" in found["KV cache"].note
    assert found["compute buffer"].cards[0] > 100 << 20
    assert "recurrent state" not in found


def test_a_hybrid_has_a_state_per_slot(models):
    delta = models["qwen35-27b"]
    found = parts(predict(delta, setting(delta, context=8192, slots=2), CARD))
    assert found["recurrent state"].cards[0] == 2 * 48 * 4 * (30720 + 786432)


def test_layers_are_divided_by_their_bytes_where_no_ratio_is_written(models):
    plain = models["llama31-8b"]
    found = predict(plain, setting(plain, 2, context=16384), CARD)
    assert found.spread is not None
    assert sum(found.split) == 33
    assert max(found.cards) <= max(found.spread.cards(even_counts(found.spread))) * 1.01
    # The output alone is larger than two layers: an even number on both cards would not be even in bytes.
    assert max(found.cards) - min(found.cards) < max(found.spread.layers)


def test_a_written_ratio_is_obeyed(models):
    plain = models["llama31-8b"]
    found = predict(plain, setting(plain, 2, split=Split("layer", (3.0, 1.0))), CARD)
    assert (found.split, found.spread) == ((25, 8), None)


def test_matrices_divided_over_cards_are_reckoned_roughly(models):
    plain = models["llama31-8b"]
    found = predict(plain, setting(plain, 2, split=Split("tensor")), CARD)
    assert any("roughly" in note for note in found.notes)
    assert found.split == ()
    weights = parts(found)["weights"].cards
    assert weights[0] == weights[1]


def test_what_is_not_known_is_noted(models):
    odd = replace(models["llama31-8b"], unknown="brandnew is not known here")
    assert "brandnew is not known here" in predict(odd, setting(odd), CARD).notes


def test_the_host_card_takes_everything(models):
    plain = models["llama31-8b"]
    found = parts(predict(plain, setting(plain, context=4096, on_host=True), HOST_MODEL))
    assert found["weights"].cards[0] >> 20 == 4685
    assert found["weights"].host == 0


@tries(10, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    cards=st.integers(2, 4),
    context=st.sampled_from([1000, 16384, 60000]),
    layers=st.one_of(st.none(), st.integers(0, 70)),
    drafts=st.booleans(),
)
def test_the_spread_says_what_the_parts_say(models, name, cards, context, layers, drafts):
    of = models[name]
    draft = Draft("mtp", n_max=2) if drafts and of.nextn else None
    options = LlamaOptions(gpu_layers=layers)
    found = predict(of, setting(of, cards, context=context, llama=options, draft=draft), CARD)
    assert found.spread is not None
    assert found.spread.cards(found.split) == found.cards
    assert all(size >= 0 for size in found.spread.fixed)
