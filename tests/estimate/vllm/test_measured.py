"""Launches of vLLM 0.20.2 on an H200 with dummy weights: what its log said, and what NVML read.

The log's numbers are rounded to hundredths of a GiB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gpumod.core.cards import CardModel
from gpumod.core.units import GIB, MIB
from gpumod.estimate.vllm import predict_vllm, vllm_plan, vllm_pool
from tests.estimate.vllm import models
from tests.estimate.vllm.models import build, checkpoint, service

H200 = CardModel("NVIDIA H200", 150_109_880_320, (9, 0), 132)
QWEN3_8B = models.QWEN3_14B | {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
}  # fmt: skip
QWEN3_1B7 = models.QWEN3_14B | {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "tie_word_embeddings": True,
}  # fmt: skip
GEMMA3_12B: dict[str, Any] = {
    "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
    "max_position_embeddings": 131072, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 8,
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    config: dict[str, Any]
    options: dict[str, Any]
    weights: float
    activations: float
    kernels: float
    graphs: float
    available: float
    blocks: int
    tokens: int
    used: int
    """Of the card in all, the most after several requests."""
    keys: dict[str, Any] = field(default_factory=dict)


LAUNCHES = {
    "qwen3-1.7b": Launch(QWEN3_1B7, {"gpu_memory_utilization": 0.2},
                         3.22, 2.18, 0.23, 0.37, 21.96, 12852, 205_632, 31_042_895_872),
    "qwen3-8b": Launch(QWEN3_8B, {"gpu_memory_utilization": 0.4},
                       15.27, 2.21, 0.23, 0.50, 37.71, 17161, 274_576, 61_132_832_768),
    "qwen3-8b eager, fp8 cache": Launch(
        QWEN3_8B, {"gpu_memory_utilization": 0.25, "enforce_eager": True, "kv_cache_dtype": "fp8",
                   "max_num_batched_tokens": 2048},
        15.27, 0.23, 0.22, 0.0, 19.22, 17497, 279_952, 38_261_293_056, {"slots": 64, "context": 8192}),
    "qwen3-30b-a3b": Launch(models.QWEN3_30B_A3B, {"gpu_memory_utilization": 0.6},
                            56.88, 2.68, 0.24, 0.64, 23.44, 16002, 256_032, 91_044_511_744),
    "gemma3-12b": Launch(GEMMA3_12B, {"gpu_memory_utilization": 0.4},
                         22.52, 3.73, 0.24, 0.54, 28.88, 29577, 196_468, 61_365_616_640, {"context": 32768}),
}  # fmt: skip
EACH = pytest.mark.parametrize("launch", LAUNCHES.values(), ids=LAUNCHES)


@EACH
def test_given_the_bytes_the_pool_is_the_one_that_was_logged(launch: Launch) -> None:
    spec = service(vllm=launch.options, **launch.keys)
    pools = [
        vllm_pool(
            checkpoint(launch.config), spec, 1, H200, int((launch.available + rounding) * GIB), build=build()
        )
        for rounding in (-0.005, 0.005)
    ]
    assert pools[0].blocks <= launch.blocks <= pools[1].blocks
    exact = vllm_pool(
        checkpoint(launch.config), spec, 1, H200, launch.blocks * pools[0].bytes_per_block, build=build()
    )
    assert exact.tokens == launch.tokens


@EACH
def test_each_part_is_near_what_was_logged(launch: Launch) -> None:
    plan = vllm_plan(
        checkpoint(launch.config), service(vllm=launch.options, **launch.keys), 1, H200, build=build()
    )
    assert plan.weights / GIB == pytest.approx(launch.weights, abs=0.045)
    assert plan.activations / GIB == pytest.approx(launch.activations + launch.kernels, abs=0.05)
    assert plan.graphs / GIB == pytest.approx(launch.graphs, abs=0.06)
    assert plan.available / GIB == pytest.approx(launch.available, abs=0.06)


@EACH
def test_the_sum_is_what_the_card_had_in_use(launch: Launch) -> None:
    spec = service(vllm=launch.options, **launch.keys)
    (total,) = predict_vllm(checkpoint(launch.config), spec, 1, H200, build=build()).cards
    assert total == pytest.approx(launch.used, rel=0.005)
    assert total > launch.used - 100 * MIB


def test_a_cache_of_given_bytes_gives_the_sum_of_the_parts() -> None:
    spec = service(
        vllm={"gpu_memory_utilization": 0.1, "kv_cache_memory": 8 * GIB, "max_num_batched_tokens": 4096}
    )
    plan = vllm_plan(checkpoint(QWEN3_1B7), spec, 1, H200, build=build())
    assert (plan.pool.blocks, plan.pool.tokens) == (4681, 74_896)
    (total,) = predict_vllm(checkpoint(QWEN3_1B7), spec, 1, H200, build=build()).cards
    assert total == pytest.approx(15299 * MIB, rel=0.01)


def test_blocks_beside_states_in_the_models_own_type() -> None:
    config: dict[str, Any] = {
        "model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 151936, "max_position_embeddings": 262144,
        "partial_rotary_factor": 0.25, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512, "full_attention_interval": 4, "torch_dtype": "bfloat16",
    }  # fmt: skip
    plan = vllm_plan(checkpoint(config), service(context=65536), 1, H200, build=build())
    assert plan.pool.block_size == 544
    assert plan.weights / GIB == pytest.approx(50.27, abs=0.005)
