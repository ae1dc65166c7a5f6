import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.spec import Draft, LlamaOptions, Split
from gpumod.core.units import MIB
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.model import llama_model
from gpumod.estimate.llama.sizes import card_bytes
from gpumod.estimate.llama.weights import weight_units, weights
from gpumod.testing.shapes import write_shape
from tests.estimate.llama.headers import model, setting

NAMES = ("llama31-8b", "qwen3-0.6b", "qwen3-30b-a3b", "qwen35-27b", "gemma3-1b")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return {name: llama_model(read_gguf(write_shape(name, folder / f"{name}.gguf"))) for name in NAMES}


def held(of, count=1, **keys):
    chosen = setting(of, count, **keys)
    return weights(of, chosen, place(of, chosen))


def test_an_8b_takes_what_llama_cpp_logs_for_it(models):
    # `CUDA0 model buffer size = 4403.49 MiB`, `CPU_Mapped model buffer size = 281.81 MiB`
    found = held(models["llama31-8b"])
    assert found.cards[0] / MIB == pytest.approx(4403.49, abs=0.005)
    assert found.host / MIB == pytest.approx(281.81, abs=0.005)


def test_a_tied_embedding_is_on_the_host_and_on_the_card(models):
    tied = models["qwen3-0.6b"]
    embedding = 1024 * 151936 // 32 * 34
    assert held(tied).host == embedding
    everything = sum(tensor.host for tensor in tied.tensors)
    # On the card each tensor is padded a little more; 310 of them.
    assert 0 <= held(tied).cards[0] - everything < 310 * 128


def test_a_tied_embedding_is_there_once_on_the_host_card(models):
    tied = models["qwen3-0.6b"]
    assert held(tied, on_host=True).cards[0] == sum(tensor.host for tensor in tied.tensors)


def test_the_cpu_s_own_layout_needs_a_second_copy_of_a_tied_embedding():
    matrix = ("token_embd.weight", "q4_0", (4096, 128256))
    of = model(tensors=[matrix])
    size = 4096 * 128256 // 32 * 18
    assert held(of, on_host=True).cards == (2 * size,)
    assert held(of, on_host=True, args=("--no-repack",)).cards == (size,)


def test_a_gemma_4_has_its_tied_embedding_twice_in_the_same_memory():
    matrix = ("token_embd.weight", "q6_k", (4096, 128256))
    pattern = (True, False) * 16
    keys = {"attention__sliding_window": 512, "attention__sliding_window_pattern": pattern}
    size = 4096 * 128256 // 256 * 210
    assert held(model("gemma4", [matrix], **keys), on_host=True).cards == (2 * size,)
    assert held(model("gemma3", [matrix], **keys), on_host=True).cards == (size,)


def test_a_27b_s_block_for_prediction_is_loaded_to_draft_with(models):
    delta = models["qwen35-27b"]
    more = held(delta, draft=Draft("mtp", n_max=3)).cards[0] - held(delta).cards[0]
    assert more / MIB == pytest.approx(274.83, abs=0.01)


def test_experts_of_the_first_layers_stay_on_the_host(models):
    experts = models["qwen3-30b-a3b"]
    whole, partly = held(experts), held(experts, llama=LlamaOptions(cpu_moe_layers=3))
    tensors = [one for one in experts.tensors if one.unit in {0, 1, 2} and "_exps" in one.name]
    assert len(tensors) == 9
    assert partly.host - whole.host == sum(one.host for one in tensors)
    assert whole.cards[0] - partly.cards[0] == sum(one.card for one in tensors)


def test_layer_10_is_not_layer_1(models):
    experts = models["qwen3-30b-a3b"]
    chosen = setting(experts, llama=LlamaOptions(cpu_moe_layers=2))
    moved = {name for name, _ in place(experts, chosen).moved}
    assert "blk.1.ffn_up_exps.weight" in moved
    assert "blk.10.ffn_up_exps.weight" not in moved


def test_the_first_rule_that_matches_a_tensor_wins(models):
    plain = models["llama31-8b"]
    rules = r"blk\.0\.ffn_up=CUDA1,ffn_(up|gate)=CPU,ffn_up=CUDA0"
    chosen = setting(plain, 2, args=("-ot", rules))
    moved = dict(place(plain, chosen).moved)
    assert moved["blk.0.ffn_up.weight"] == 1
    assert moved["blk.5.ffn_up.weight"] == -1
    assert held(plain, 2, args=("-ot", rules)).host > held(plain, 2).host


def test_a_rule_that_is_no_pattern_moves_nothing(models):
    plain = models["llama31-8b"]
    assert held(plain, args=("-ot", "ffn_(=CPU")) == held(plain)


def test_rope_factors_are_on_every_card_that_has_a_layer(models):
    plain = models["llama31-8b"]
    one, four = held(plain), held(plain, 4)
    assert sum(four.cards) - sum(one.cards) == 3 * 256


def test_the_output_alone_is_one_layer(models):
    plain = models["llama31-8b"]
    found = held(plain, llama=LlamaOptions(gpu_layers=1))
    output = sum(one.card for one in plain.tensors if one.name in {"output.weight", "output_norm.weight"})
    assert found.cards == (output,)
    assert held(plain, llama=LlamaOptions(gpu_layers=0)).cards == (0,)


def test_split_none_takes_the_first_card(models):
    plain = models["llama31-8b"]
    assert held(plain, 2, split=Split("none")).cards == (*held(plain).cards, 0)


def test_the_last_row_in_blocks_is_filled_up_to_512_values():
    q6 = GGML_TYPES[TYPE_NUMBERS["q6_k"]]
    # 768 = 512 + 256: one block of 210 bytes more, and the whole to the next 128.
    assert card_bytes(q6, 768, 630) == 896
    assert card_bytes(q6, 1024, 840) == 896
    f32 = GGML_TYPES[TYPE_NUMBERS["f32"]]
    assert card_bytes(f32, 3, 12) == 128


@given(data=st.data(), cards=st.integers(1, 8), layers=st.integers(0, 99))
def test_dividing_over_cards_neither_loses_nor_makes_weights(models, data, cards, layers):
    of = models[data.draw(st.sampled_from(NAMES))]
    options = LlamaOptions(gpu_layers=layers)
    divided, one = held(of, cards, llama=options), held(of, llama=options)
    copies = {one.card for one in of.tensors if one.name == "rope_freqs.weight"}
    assert 0 <= sum(divided.cards) - sum(one.cards) <= sum(copies) * (cards - 1)
    assert divided.host == one.host


@given(data=st.data(), layers=st.integers(0, 99))
def test_more_layers_on_the_card_leave_less_on_the_host(models, data, layers):
    of = models[data.draw(st.sampled_from(NAMES))]
    less, more = (held(of, llama=LlamaOptions(gpu_layers=count)) for count in (layers, layers + 1))
    assert more.cards[0] >= less.cards[0]
    assert more.host <= less.host


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_add_up_to_the_whole(models, name):
    of = models[name]
    chosen = setting(of)
    placement = place(of, chosen)
    shared = sum(one.card for one in of.tensors if one.name == "rope_freqs.weight")
    assert sum(weight_units(of, chosen, placement)) + shared == weights(of, chosen, placement).cards[0]
