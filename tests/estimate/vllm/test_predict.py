from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.spec import Draft, Task
from gpumod.core.units import GIB, MIB
from gpumod.estimate.vllm import (
    VllmOverhead,
    largest_utilisation,
    predict_vllm,
    vllm_plan,
    vllm_pool,
    vllm_setting,
)
from gpumod.estimate.vllm.activations import capture_sizes, captured_memory, graph_memory
from tests.estimate.vllm import models
from tests.estimate.vllm.models import AMPERE, HOPPER, build, checkpoint, service

SEEN = VllmOverhead(context=500 * MIB, communication=300 * MIB, kernels=100 * MIB)
LLAMA = checkpoint(models.LLAMA_8B)


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize("config", [models.LLAMA_8B, models.QWEN36_27B, models.GEMMA4_26B_A4B])
def test_a_utilisation_is_taken_whole_and_the_context_besides(config: dict[str, Any], cards: int) -> None:
    spec = service(context=8192, slots=8, vllm={"gpu_memory_utilization": 0.8})
    prediction = predict_vllm(checkpoint(config), spec, cards, HOPPER, overhead=SEEN, build=build())
    plan = vllm_plan(checkpoint(config), spec, cards, HOPPER, overhead=SEEN, build=build())
    assert HOPPER.total is not None
    assert plan.context == 500 * MIB + (300 * MIB if cards > 1 else 0)
    assert prediction.cards == pytest.approx([0.8 * HOPPER.total + plan.outside] * cards, abs=1)
    assert [part.name for part in prediction.parts if part.cards[0]] == [
        "weights", "KV cache", "activations", "CUDA graphs", "unused utilisation", "outside vLLM's budget",
    ]  # fmt: skip


def test_a_cache_of_a_given_size_is_all_that_is_taken_besides_the_rest() -> None:
    spec = service(context=8192, vllm={"kv_cache_memory": 4 * GIB, "gpu_memory_utilization": 0.9})
    prediction = predict_vllm(LLAMA, spec, 1, AMPERE, overhead=SEEN, build=build())
    cache = prediction.part("KV cache")
    assert cache is not None
    assert cache.cards == (4 * GIB,)
    assert prediction.part("unused utilisation") is None
    assert prediction.cards[0] < 22 * GIB


def test_eager_execution_leaves_the_graphs_to_the_cache() -> None:
    graphs = vllm_plan(LLAMA, service(), 1, HOPPER, build=build())
    eager = vllm_plan(LLAMA, service(vllm={"enforce_eager": True}), 1, HOPPER, build=build())
    assert eager.graphs == 0
    assert eager.available == graphs.available + graphs.graphs


def test_graphs_came_on_top_before_they_were_counted() -> None:
    old = vllm_plan(LLAMA, service(), 1, HOPPER, build=build("0.11.0"))
    assert old.available == (old.requested or 0) - old.weights - old.activations
    prediction = predict_vllm(LLAMA, service(), 1, HOPPER, overhead=SEEN, build=build("0.11.0"))
    assert HOPPER.total is not None
    assert prediction.cards[0] == pytest.approx(
        0.9 * HOPPER.total + old.captured + old.gaps + 500 * MIB, abs=1
    )


def test_a_context_that_does_not_fit_is_said_not_to_start() -> None:
    spec = service(context=131072, slots=4, vllm={"gpu_memory_utilization": 0.9})
    plan = vllm_plan(LLAMA, spec, 1, AMPERE, build=build())
    assert not plan.pool.starts
    (note,) = predict_vllm(LLAMA, spec, 1, AMPERE, build=build()).notes
    assert str(plan.pool.largest_context) in note
    assert plan.pool.largest_context > 8192
    fits = replace(spec, context=plan.pool.largest_context)
    assert vllm_plan(LLAMA, fits, 1, AMPERE, build=build()).pool.starts
    longer = replace(spec, context=plan.pool.largest_context + 1)
    assert not vllm_plan(LLAMA, longer, 1, AMPERE, build=build()).pool.starts


def test_weights_that_do_not_fit_leave_no_cache() -> None:
    plan = vllm_plan(checkpoint(models.QWEN36_27B), service(context=4096), 1, AMPERE, build=build())
    assert plan.pool.blocks == 0
    assert not plan.pool.starts


def test_a_card_of_unknown_size() -> None:
    prediction = predict_vllm(LLAMA, service(), 1, CardModel("mystery"), build=build())
    assert any("not known" in note for note in prediction.notes)


@pytest.mark.parametrize(
    ("free", "utilisation"), [(20 * GIB, 0.80), (int(23.56 * GIB), 0.95), (GIB // 4, 0.0)]
)
def test_the_largest_utilisation_that_starts(free: int, utilisation: float) -> None:
    assert largest_utilisation(free, SEEN.outside(1) + 600 * MIB, AMPERE) == utilisation


@pytest.mark.parametrize(
    ("card", "tokens", "sequences"),
    [(AMPERE, 2048, 256), (models.A100, 2048, 256), (HOPPER, 8192, 1024)],
)
def test_batches_follow_the_card_where_nothing_is_said(card: CardModel, tokens: int, sequences: int) -> None:
    setting = vllm_setting(LLAMA.model, service(context=8192), 1, card, build())
    assert (setting.batched_tokens, setting.sequences) == (tokens, sequences)


@pytest.mark.parametrize(
    ("version", "args", "chosen", "mode"),
    [
        ("0.20.2", (), None, "none"),
        ("0.20.2", (), "align", "none"),
        ("0.20.2", ("--enable-prefix-caching",), None, "align"),
        ("0.33.0", (), None, "align"),
        ("0.33.0", ("--no-enable-prefix-caching",), "align", "none"),
    ],
)
def test_states_are_aligned_only_for_a_prefix_cache(
    version: str, args: tuple[str, ...], chosen: str | None, mode: str
) -> None:
    spec = service(args=args, vllm={"mamba_cache_mode": chosen})
    setting = vllm_setting(checkpoint(models.QWEN36_27B).model, spec, 1, AMPERE, build(version))
    assert setting.mamba_mode == mode


def test_a_state_per_request_costs_blocks_whatever_its_length() -> None:
    spec = service(context=784, slots=1, args=("--no-enable-prefix-caching",))
    found = checkpoint(models.QWEN36_27B)
    pool = vllm_pool(found, spec, 1, HOPPER, 10 * GIB, build=build())
    # 16 attention layers and 3 groups of 16 recurrent ones, blocks of 784 tokens.
    assert (pool.block_size, pool.blocks_per_request, pool.bytes_per_block) == (784, 4, 49 * MIB)
    aligned = service(context=784, slots=1, args=("--enable-prefix-caching",), draft=Draft("mtp", n_max=2))
    assert vllm_pool(found, aligned, 1, HOPPER, 10 * GIB, build=build()).blocks_per_request == 13


@pytest.mark.parametrize(
    ("dtype", "block"),
    [("auto", 784), ("fp8", 1568), ("int8_per_token_head", 1552), ("nvfp4", 2784)],
)
def test_smaller_caches_have_longer_blocks_beside_states(dtype: str, block: int) -> None:
    spec = service(vllm={"kv_cache_dtype": dtype})
    pool = vllm_pool(checkpoint(models.QWEN36_27B), spec, 1, HOPPER, GIB, build=build())
    assert pool.block_size == block


def test_a_window_bounds_what_a_long_request_takes() -> None:
    found, short, long = (
        checkpoint(models.GPT_OSS_20B),
        service(context=8192, vllm={"max_num_batched_tokens": 2048}),
        service(context=131072, vllm={"max_num_batched_tokens": 2048}),
    )
    pools = [vllm_pool(found, spec, 1, HOPPER, 10 * GIB, build=build()) for spec in (short, long)]
    sliding = -(-(127 + 2048) // 16) + 1
    assert [pool.blocks_per_request for pool in pools] == [8192 // 16 + sliding, 131072 // 16 + sliding]
    # Twelve layers of each kind share their blocks.
    assert pools[0].bytes_per_block == 12 * 16 * 8 * (64 + 64) * 2


@pytest.mark.parametrize(("version", "batches"), [("0.20.2", 1), ("0.33.0", 2)])
def test_batches_that_overlap_both_keep_their_window(version: str, batches: int) -> None:
    spec = service(context=8192, vllm={"max_num_batched_tokens": 2048})
    pool = vllm_pool(checkpoint(models.GPT_OSS_20B), spec, 1, HOPPER, 10 * GIB, build=build(version))
    assert pool.blocks_per_request == 8192 // 16 + -(-(127 + batches * 2048) // 16) + 1


def test_one_kind_of_cache_keeps_every_token_of_every_layer() -> None:
    spec = service(context=131072, args=("--disable-hybrid-kv-cache-manager",))
    pool = vllm_pool(checkpoint(models.GPT_OSS_20B), spec, 1, HOPPER, 10 * GIB, build=build())
    assert (pool.blocks_per_request, pool.bytes_per_block) == (131072 // 16, 24 * 16 * 8 * 128 * 2)


def test_pages_that_cannot_be_unified_are_padded_by_newer_versions_only() -> None:
    config = models.GEMMA4_26B_A4B["text_config"] | {"num_global_key_value_heads": 3}
    found = checkpoint(config)
    old = vllm_pool(found, service(), 1, HOPPER, 10 * GIB, build=build("0.20.2"))
    assert not old.starts
    assert "cannot unify" in old.problem
    assert vllm_pool(found, service(context=8192), 1, HOPPER, 10 * GIB, build=build("0.33.0")).starts


def test_the_blocks_that_a_user_sets_are_the_blocks() -> None:
    spec = service(args=("--num-gpu-blocks-override", "100"), context=1600)
    pool = vllm_pool(LLAMA, spec, 1, HOPPER, 10 * GIB, build=build())
    assert (pool.blocks, pool.concurrency, pool.tokens) == (100, 1.0, 1600)


def test_an_encoder_has_no_cache() -> None:
    config = models.LLAMA_8B | {"model_type": "bert"}
    pool = vllm_pool(checkpoint(config), service(task=Task.EMBEDDING), 1, HOPPER, GIB, build=build())
    assert (pool.size, pool.problem) == (0, "")


def test_latent_attention_is_held_whole_by_every_rank() -> None:
    found = checkpoint(models.MISTRAL_SMALL_4)
    pools = [vllm_pool(found, service(), ranks, HOPPER, GIB, build=build()) for ranks in (1, 8)]
    assert pools[0].bytes_per_block == pools[1].bytes_per_block == 36 * 16 * 320 * 2


def test_a_draft_model_brings_weights_and_a_cache() -> None:
    draft = checkpoint(models.LLAMA_8B | {"num_hidden_layers": 2})
    spec = service(draft=Draft("model", "/models/small", 3), vllm={"kv_cache_memory": GIB})
    alone = vllm_plan(LLAMA, service(vllm={"kv_cache_memory": GIB}), 1, HOPPER, build=build())
    both = vllm_plan(LLAMA, spec, 1, HOPPER, build=build(), draft=draft)
    assert both.weights > alone.weights
    assert both.pool.bytes_per_block == alone.pool.bytes_per_block * 34 // 32


def test_the_sizes_that_are_captured() -> None:
    setting = vllm_setting(LLAMA.model, service(slots=16), 1, HOPPER, build())
    assert list(chain(*capture_sizes(setting))) == [1, 2, 4, 8, 16, 24, 32]
    most = vllm_setting(LLAMA.model, service(slots=1024), 1, HOPPER, build())
    sizes = list(chain(*capture_sizes(most)))
    assert sizes[-3:] == [480, 496, 512]
    assert len(sizes) == 51


def test_a_silly_largest_size_costs_no_memory_here() -> None:
    silly = service(
        args=("--max-cudagraph-capture-size", "999999999"),
        vllm={"max_num_batched_tokens": 10**9},
    )
    setting = vllm_setting(LLAMA.model, silly, 1, HOPPER, build())
    tracemalloc.start()
    try:
        assert graph_memory(LLAMA.model, setting, HOPPER) < captured_memory(LLAMA.model, setting, HOPPER)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("ranks", "heads"), [(2, True), (3, False), (16, True)])
def test_what_landmines_ask_of_a_model(ranks: int, *, heads: bool) -> None:
    assert LLAMA.model.divides_heads(ranks) is heads
