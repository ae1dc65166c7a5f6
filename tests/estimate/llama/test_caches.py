import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.spec import Draft, KvCache, LlamaOptions
from gpumod.core.units import GIB, MIB
from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS
from gpumod.estimate.llama.cache import kv_cache, kv_units
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.recurrent import recurrent_state, state_units
from gpumod.estimate.llama.sizes import cache_bytes
from tests.estimate.llama.headers import model, setting

PLAIN = model()
GEMMA = model("gemma3", attention__sliding_window=1024)
LATENT = model(
    "deepseek2",
    block_count=27,
    attention__head_count_kv=1,
    attention__key_length=576,
    attention__value_length=512,
    attention__key_length_mla=192,
    attention__value_length_mla=128,
    attention__kv_lora_rank=512,
    rope__dimension_count=64,
)
DELTA = model(
    "qwen35",
    block_count=65,
    nextn_predict_layers=1,
    embedding_length=5120,
    attention__head_count=24,
    attention__head_count_kv=4,
    attention__key_length=256,
    attention__value_length=256,
    ssm__conv_kernel=4,
    ssm__inner_size=6144,
    ssm__state_size=128,
    ssm__group_count=16,
    ssm__time_step_rank=48,
)
MODELS = {"plain": PLAIN, "gemma": GEMMA, "latent": LATENT, "delta": DELTA}


def kv(of, count=1, **keys):
    chosen = setting(of, count, **keys)
    return kv_cache(of, chosen, place(of, chosen))


def state(of, count=1, **keys):
    chosen = setting(of, count, **keys)
    return recurrent_state(of, chosen, place(of, chosen))


def test_an_8b_at_32k_keeps_4_gib():
    # 2 (keys, values) x 8 heads x 128 x 2 bytes x 32,768 cells x 32 layers.
    assert kv(PLAIN, context=32768).cards == (4 * GIB,)


def test_blocks_of_q8_0_are_34_bytes_for_32_values():
    assert kv(PLAIN, context=32768, kv_cache=KvCache("q8_0", "q8_0")).cards == (4 * GIB * 34 // 64,)


def test_every_slot_has_its_own_cells():
    assert kv(PLAIN, context=8192, slots=4).cards == (4 * GIB,)


def test_sliding_layers_keep_a_window_and_a_batch():
    # 32 layers: 5 see everything, 27 keep 1,024 + 512 cells; 4 KiB per cell and layer.
    assert kv(GEMMA, context=32768).cards == (4096 * (5 * 32768 + 27 * 1536),)


def test_a_latent_cache_has_no_values():
    assert kv(LATENT, context=16384).cards == (27 * 576 * 2 * 16384,)


def test_without_flash_attention_values_are_as_wide_as_the_widest_layer_s():
    uneven = model(attention__head_count_kv=(8, 2) * 16)
    off = kv(uneven, context=1024, llama=LlamaOptions(flash_attention=False)).cards[0]
    # Keys: 16 layers of 1,024 and 16 of 256 values; values: 32 of 1,024.
    assert off == 2 * 1024 * (16 * 1024 + 16 * 256 + 32 * 1024)
    assert kv(uneven, context=1024).cards[0] == 2 * 2 * 1024 * (16 * 1024 + 16 * 256)


def test_blocks_for_multi_token_prediction_keep_nothing_in_the_main_cache():
    # 16 attending layers, 4 heads of 256, f16.
    assert kv(DELTA, context=262144).cards == (16 * 2 * 1024 * 2 * 262144,)


def test_a_27b_s_state_is_149_6_mib_per_slot():
    one = state(DELTA, context=4096).cards[0]
    assert one == 48 * 4 * (30720 + 786432)
    assert one / MIB == pytest.approx(149.6, abs=0.1)


def test_drafting_multiplies_the_state():
    drafted = state(DELTA, context=4096, slots=4, draft=Draft("mtp", n_max=3)).cards[0]
    assert drafted / GIB == pytest.approx(2.34, abs=0.005)


def test_caches_can_be_kept_on_the_host():
    found = kv(PLAIN, context=32768, args=("--no-kv-offload",))
    assert (found.cards, found.host) == ((0,), 4 * GIB)
    kept = state(DELTA, context=4096, args=("-nkvo",))
    assert kept.cards == (0,)
    assert kept.host == 48 * 4 * (30720 + 786432)


def test_layers_on_the_host_have_their_caches_there():
    found = kv(PLAIN, context=32768, llama=LlamaOptions(gpu_layers=9))
    # The output is the ninth.
    assert (found.cards, found.host) == ((GIB,), 3 * GIB)


def test_the_host_card_has_everything():
    assert kv(PLAIN, context=32768, on_host=True).cards == (4 * GIB,)
    assert kv(PLAIN, context=32768, on_host=True).host == 0


def test_encoders_keep_nothing():
    assert kv(model("bert", attention__causal=False), context=512).size == 0


def test_rows_in_blocks_are_filled_up_on_a_card():
    q8 = GGML_TYPES[TYPE_NUMBERS["q8_0"]]
    # 576 values are 18 blocks of 34 bytes; the last row is filled up to 1,024 values, 14 blocks more.
    assert cache_bytes(q8, 576, 256, on_card=True) == 157184  # 612 x 256 + 476, to the next 128
    assert cache_bytes(q8, 576, 256, on_card=False) == 612 * 256


@given(
    name=st.sampled_from(sorted(MODELS)),
    context=st.integers(1, 200_000),
    more=st.integers(0, 100_000),
    slots=st.integers(1, 16),
    kind=st.sampled_from(["f16", "q8_0", "q4_0", "f32"]),
)
def test_more_context_or_slots_never_take_less(name, context, more, slots, kind):
    of, types = MODELS[name], KvCache(kind, kind)
    least = kv(of, context=context, slots=slots, kv_cache=types).size
    assert kv(of, context=context + more, slots=slots, kv_cache=types).size >= least
    assert kv(of, context=context, slots=slots + 1, kv_cache=types).size >= least
    assert state(of, context=context, slots=slots + 1).size >= state(of, context=context, slots=slots).size


@given(
    name=st.sampled_from(sorted(MODELS)),
    cards=st.integers(1, 8),
    layers=st.integers(0, 99),
    context=st.integers(1, 100_000),
)
def test_dividing_over_cards_neither_loses_nor_makes_bytes(name, cards, layers, context):
    of = MODELS[name]
    options = LlamaOptions(gpu_layers=layers)
    for part in (kv, state):
        whole, divided = part(of, context=context), part(of, cards, context=context, llama=options)
        assert divided.size == whole.size


@given(name=st.sampled_from(sorted(MODELS)), context=st.integers(1, 100_000), slots=st.integers(1, 8))
def test_the_layers_add_up_to_the_whole(name, context, slots):
    of = MODELS[name]
    chosen = setting(of, context=context, slots=slots)
    placement = place(of, chosen)
    assert sum(kv_units(of, chosen)) == kv_cache(of, chosen, placement).cards[0]
    assert sum(state_units(of, chosen)) == recurrent_state(of, chosen, placement).cards[0]
