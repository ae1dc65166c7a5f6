"""What drafting takes besides the model."""

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.spec import Draft, Split
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.llama.draft import draft_parts, draft_setting
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.model import llama_model
from gpumod.estimate.llama.overhead import usual_overhead
from gpumod.estimate.llama.predict import predict
from gpumod.testing.shapes import write_shape
from tests.estimate.llama.headers import model as by_hand
from tests.estimate.llama.headers import setting

MIB = 1 << 20
CARD = CardModel("NVIDIA Test", 24 << 30, (8, 9), 100)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    names = ("qwen35-9b", "llama31-8b", "llama32-1b")
    return {name: llama_model(read_gguf(write_shape(name, folder / f"{name}.gguf"))) for name in names}


def parts(of, launch, *, draft=None):
    found = draft_parts(of, launch, place(of, launch), CARD, usual_overhead(CARD), draft=draft)
    return {part.name: part for part in found}


def test_who_does_not_draft_takes_nothing(models):
    plain = models["llama31-8b"]
    assert parts(plain, setting(plain, context=4096)) == {}
    # Asked for, but not in the file.
    assert parts(plain, setting(plain, context=4096, draft=Draft("mtp"))) == {}


def test_a_block_of_the_model_s_own_has_a_cache_and_buffers(models):
    delta = models["qwen35-9b"]
    found = parts(delta, setting(delta, context=16384, slots=2, draft=Draft("mtp", n_max=3)))
    # Keys and values of one layer: 4 heads of 256, f16.
    assert found["draft KV cache"].cards == (2 * 16384 * 2 * 4 * 256 * 2,)
    assert found["draft compute buffer"].cards[0] > 50 * MIB
    assert "draft model" not in found
    assert found["CUDA graphs and pools"].cards[0] > 11 * MIB


def test_the_draft_s_cache_is_of_the_draft_s_types(models):
    delta = models["qwen35-9b"]
    flags = ("--spec-draft-type-k", "q8_0", "--spec-draft-type-v", "q8_0")
    launch = setting(delta, context=16384, draft=Draft("mtp"), args=flags)
    assert parts(delta, launch)["draft KV cache"].cards == (16384 * 2 * 4 * 256 * 34 // 32,)


def test_the_last_card_has_the_block(models):
    delta = models["qwen35-9b"]
    found = parts(delta, setting(delta, 2, context=16384, draft=Draft("mtp")))
    assert found["draft KV cache"].cards[0] == 0
    assert found["draft KV cache"].cards[1] > 0


def test_a_model_of_its_own_is_counted_whole(models):
    plain, small = models["llama31-8b"], models["llama32-1b"]
    launch = setting(plain, context=16384, draft=Draft("model", model="/models/d.gguf"))
    found = parts(plain, launch, draft=small)
    assert found["draft model"].cards[0] // MIB == 762
    # As much context as the model has: 16 layers of 8 heads of 64 values, f16.
    assert found["draft KV cache"].cards == (16384 * 16 * 2 * 8 * 64 * 2,)
    assert found["draft compute buffer"].cards[0] > 60 * MIB


def test_the_draft_is_launched_as_the_model_is(models):
    plain = models["llama31-8b"]
    launch = setting(plain, context=8192, slots=3, draft=Draft("model", n_max=4))
    own = draft_setting(launch)
    assert (own.slots, own.cells, own.ubatch, own.outputs) == (3, launch.cells, launch.ubatch, 3)
    assert own.draft is None
    assert launch.outputs == 3 * 5


def test_a_file_without_what_it_counts_is_said_so():
    broken = by_hand(
        "qwen35", block_count=2, nextn_predict_layers=1, ssm__state_size=128, ssm__inner_size=4096
    )
    with pytest.raises(ModelFileError, match=r"/models/m.gguf has no tensor \S+ to predict tokens with"):
        parts(broken, setting(broken, context=4096, draft=Draft("mtp")))


MOVES = {"weights", "KV cache", "draft model", "draft KV cache"}


@pytest.mark.parametrize("ratio", [(1.0, 3.0), (3.0, 1.0), (1.0, 1.0)])
def test_a_model_of_its_own_is_divided_as_the_model_is(models, ratio):
    plain, small = models["llama31-8b"], models["llama32-1b"]
    draft = Draft("model", model="/models/d.gguf")
    launch = setting(plain, 2, context=16384, draft=draft, split=Split("layer", ratio))
    cache = parts(plain, launch, draft=small)["draft KV cache"].cards
    # Of 17 units, the output being the last one: those below the fraction are on the first card.
    first = sum(1 for unit in range(17) if unit / 17 < ratio[0] / sum(ratio))
    layer = 16384 * 2 * 8 * 64 * 2
    assert cache == (first * layer, (16 - first) * layer)


def test_where_the_model_is_divided_otherwise_its_draft_goes_along(models):
    plain, small = models["llama31-8b"], models["llama32-1b"]
    draft = Draft("model", model="/models/d.gguf")
    chosen = predict(plain, setting(plain, 2, context=16384, draft=draft), CARD, draft=small)
    assert chosen.spread is not None
    assert chosen.spread.cards(chosen.split) == chosen.cards
    fixed = chosen.spread.fixed
    for first in range(34):
        counts = (first, 33 - first)
        launch = setting(
            plain, 2, context=16384, draft=draft, split=Split("layer", tuple(map(float, counts)))
        )
        asked = predict(plain, launch, CARD, draft=small)
        moved = [sum(part.cards[card] for part in asked.parts if part.name in MOVES) for card in (0, 1)]
        divided = [size - own for size, own in zip(chosen.spread.cards(counts), fixed, strict=True)]
        # What every card that has a layer has of the file, frequencies of RoPE, is in `fixed`.
        assert moved == pytest.approx(divided, abs=1024), counts
