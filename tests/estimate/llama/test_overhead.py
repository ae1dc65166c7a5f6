"""What CUDA takes besides buffers, and what grows with the first requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.cards import HOST_MODEL, CardModel
from gpumod.core.spec import LlamaOptions
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.overhead import Overhead, context_overhead, graphs_and_pools, usual_overhead
from tests.estimate.llama.headers import model, setting

MIB = 1 << 20
H200 = CardModel("NVIDIA H200", 140 << 30, (9, 0), 132)
ADA = CardModel("NVIDIA GeForce RTX 4090", 24 << 30, (8, 9), 128)
KNOWN = Overhead(588 * MIB)
FEED_FORWARD = [
    ("blk.0.ffn_up.weight", "q4_k", (4096, 14336)),
    ("blk.0.ffn_down.weight", "q6_k", (14336, 4096)),
]
ROUTER = ("blk.0.ffn_gate_inp.weight", "f32", (4096, 128))


def grows(tensors, card=H200, *, on_host=False, architecture="llama", **keys):
    of = model(architecture, tensors, block_count=1, **keys.pop("dimensions", {}))
    launch = setting(of, on_host=on_host, context=4096, **keys)
    return graphs_and_pools(of, launch, place(of, launch), card, KNOWN).cards[0]


@pytest.mark.parametrize(
    ("multiprocessors", "capability", "low", "high"),
    [(24, (8, 9), 170, 190), (82, (8, 6), 300, 370), (128, (8, 9), 440, 475), (132, (9, 0), 570, 600)],
)
def test_a_context_is_as_large_as_it_was_seen_on_such_cards(multiprocessors, capability, low, high):
    card = CardModel("one", None, capability, multiprocessors)
    assert low * MIB <= usual_overhead(card).context <= high * MIB


def test_a_card_that_is_not_known_is_taken_for_a_large_one():
    assert 440 * MIB < usual_overhead(CardModel("one")).context < 475 * MIB


def test_every_card_has_a_context_and_the_host_has_none():
    of = model()
    assert context_overhead(setting(of, 2), KNOWN).cards == (588 * MIB,) * 2
    assert context_overhead(setting(of, on_host=True), usual_overhead(HOST_MODEL)).cards == (0,)
    assert grows(FEED_FORWARD, on_host=True) == 0


def test_the_pool_holds_the_largest_activations():
    # 2,048 tokens of 14,336 values, 9 bytes for 8 of them: 31.5 MiB, in steps of 2, and 4 MiB of graphs.
    assert grows(FEED_FORWARD, llama=LlamaOptions(ubatch=2048)) == 36 * MIB


def test_a_result_of_few_tiles_is_shared_between_multiprocessors():
    few = [("blk.0.attn_k.weight", "q4_k", (4096, 1024))]
    tiles = 132 * 128 * 128 * 4
    activations = 512 * 4096 * 9 // 8
    attention = 2 * 132 * 64 * (2 + 64) * 8
    assert max(tiles + activations, attention) == tiles + activations
    assert grows(few) == 4 * MIB + -(-(tiles + activations) // (2 * MIB)) * 2 * MIB


def test_a_matrix_that_is_not_quantised_brings_cublas():
    assert grows([*FEED_FORWARD, ROUTER]) - grows(FEED_FORWARD) == (66 + 32) * MIB
    # Its workspace is smaller before Hopper.
    assert grows([*FEED_FORWARD, ROUTER], ADA) - grows(FEED_FORWARD, ADA) == (66 + 4) * MIB


def test_half_precision_is_converted_on_both_sides_of_a_product():
    half = [("blk.0.ffn_up.weight", "f16", (4096, 14336))]
    pool = 2 * 512 * (4096 + 14336)
    assert grows(half) == (4 + 98) * MIB + pool


def test_without_flash_attention_all_scores_are_converted():
    flash, plain = (grows(FEED_FORWARD, llama=LlamaOptions(flash_attention=on)) for on in (True, False))
    assert plain == (4 + 98) * MIB + 2 * 4096 * 512 * 32
    assert flash < plain


def test_mamba2_scans_with_products_from_so_many_tokens_on():
    sizes = {"ssm__conv_kernel": 4, "ssm__inner_size": 5120, "ssm__state_size": 128, "ssm__group_count": 1,
             "ssm__time_step_rank": 80, "attention__head_count": 0}  # fmt: skip

    def scanned(ubatch):
        options = LlamaOptions(ubatch=ubatch)
        return grows([], architecture="mamba2", dimensions=sizes, llama=options)

    assert scanned(128) == 4 * MIB
    assert 120 * MIB < scanned(512) < 140 * MIB


def test_work_that_goes_back_and_forth_needs_more_graphs():
    routed = [("blk.0.ffn_up_exps.weight", "q4_k", (2048, 768, 8))]
    there = grows(routed, dimensions={"expert_used_count": 2})
    assert grows(routed, dimensions={"expert_used_count": 2}, llama=LlamaOptions(cpu_moe_layers=1)) > there


@given(st.integers(1, 400), st.integers(1, 400))
def test_more_multiprocessors_never_take_less(one, other):
    fewer, more = sorted((one, other))
    sizes = [usual_overhead(CardModel("one", None, (8, 0), count)).context for count in (fewer, more)]
    assert sizes == sorted(sizes)
