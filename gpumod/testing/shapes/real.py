"""Models that people run, by name: their architecture with the dimensions of their published config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import gemma3, llama
from gpumod.testing.shapes.embedders import bert, nomic_bert
from gpumod.testing.shapes.experts import deepseek2, gpt_oss, qwen3moe
from gpumod.testing.shapes.gemma4 import gemma4
from gpumod.testing.shapes.hybrid import mamba2, qwen3next, qwen35, qwen35moe
from gpumod.testing.shapes.mixtures import glm4moe, lfm2
from gpumod.testing.shapes.projectors import gemma3_projector
from gpumod.testing.shapes.relatives import command_r, glm4, granite, olmo2, phi3, qwen2vl

_llama3 = partial(llama, rope_factors=True)
_qwen2 = partial(llama, architecture="qwen2", qkv_bias=True)
_qwen3 = partial(llama, architecture="qwen3", qk_norm=True, vocabulary=151936, context=40960)

REAL: Final[Mapping[str, Callable[..., Model]]] = {
    "llama31-8b": _llama3,
    "llama32-1b": partial(_llama3, embedding=2048, layers=16, head_dim=64, feed_forward=8192, tied=True),
    "llama33-70b": partial(_llama3, embedding=8192, layers=80, heads=64, feed_forward=28672),
    "mistral-small-24b": partial(llama, embedding=5120, layers=40, feed_forward=32768, vocabulary=131072),
    "qwen25-1.5b": partial(
        _qwen2,
        embedding=1536,
        layers=28,
        heads=12,
        kv_heads=2,
        feed_forward=8960,
        vocabulary=151936,
        context=32768,
        tied=True,
    ),
    "qwen25-32b": partial(_qwen2, embedding=5120, layers=64, heads=40, feed_forward=27648, vocabulary=152064),
    "qwen3-0.6b": partial(
        _qwen3,
        embedding=1024,
        layers=28,
        heads=16,
        feed_forward=3072,
        tied=True,
        matrices="q8_0",
        better="q8_0",
    ),
    "qwen3-4b": partial(_qwen3, embedding=2560, layers=36, feed_forward=9728, tied=True),
    "qwen3-8b": partial(_qwen3, layers=36, feed_forward=12288),
    "qwen3-14b": partial(_qwen3, embedding=5120, layers=40, heads=40, feed_forward=17408),
    "qwen3-30b-a3b": qwen3moe,
    "qwen3-235b": partial(qwen3moe, embedding=4096, layers=94, heads=64, expert_width=1536),
    "qwen3next-80b": qwen3next,
    "qwen35-2b": partial(
        qwen35, embedding=2048, layers=24, heads=8, kv_heads=2, feed_forward=6144, value_heads=16
    ),
    "qwen35-4b": partial(qwen35, embedding=2560, layers=32, heads=16, feed_forward=9216, value_heads=32),
    "qwen35-9b": partial(qwen35, embedding=4096, layers=32, heads=16, feed_forward=12288, value_heads=32),
    "qwen35-27b": qwen35,
    "gemma3-1b": partial(
        gemma3,
        embedding=1152,
        layers=26,
        heads=4,
        kv_heads=1,
        feed_forward=6912,
        vocabulary=262144,
        window=512,
    ),
    "gemma3-4b": partial(gemma3, embedding=2560, layers=34, heads=8, kv_heads=4, feed_forward=10240),
    "gemma3-12b": gemma3,
    "gemma3-27b": partial(
        gemma3, embedding=5376, layers=62, heads=32, kv_heads=16, head_dim=128, feed_forward=21504
    ),
    "gptoss-20b": gpt_oss,
    "gptoss-120b": partial(gpt_oss, layers=36, experts=128),
    "dsv2-lite": deepseek2,
    "deepseek-v3-671b": partial(
        deepseek2,
        embedding=7168,
        layers=61,
        heads=128,
        query_latent=1536,
        feed_forward=18432,
        dense_layers=3,
        expert_width=2048,
        experts=256,
        used=8,
        shared=1,
        vocabulary=129280,
    ),
    "mamba2-2.7b": mamba2,
    "qwen35-35b-a3b": qwen35moe,
    "gemma4-26b-a4b": gemma4,
    "gemma4-31b": partial(
        gemma4,
        embedding=5376,
        layers=60,
        heads=32,
        window_kv_heads=16,
        full_kv_heads=4,
        feed_forward=21504,
        experts=0,
    ),
    "gemma4-e4b": partial(
        gemma4,
        embedding=2560,
        layers=42,
        heads=8,
        window_kv_heads=2,
        full_kv_heads=2,
        feed_forward=10240,
        experts=0,
        per_layer=256,
        shared=18,
        separate_values=True,
        context=131072,
        window=512,
    ),
    "phi4-14b": phi3,
    "glm4-32b": glm4,
    "glm45-air": glm4moe,
    "olmo2-13b": olmo2,
    "command-r-35b": command_r,
    "command-r7b": partial(
        command_r,
        architecture="cohere2",
        embedding=4096,
        layers=32,
        heads=32,
        feed_forward=14336,
        window=4096,
    ),
    "granite33-8b": granite,
    "qwen25vl-7b": qwen2vl,
    "lfm2-1.2b": lfm2,
    "bge-large": bert,
    "nomic-embed": nomic_bert,
}

REAL_PROJECTORS: Final[Mapping[str, Callable[..., Model]]] = {
    "gemma3-4b-projector": gemma3_projector,
    "gemma3-12b-projector": partial(gemma3_projector, embedding=3840),
    "gemma3-27b-projector": partial(gemma3_projector, embedding=5376),
}
"""Not models by themselves: each goes with the model of its name."""
