"""Tiny models, one of each architecture: they load on the CPU in a fraction of a second.

Their dimensions are unlike each other where the real ones are, so that a formula that takes one for another
fails; rows that no k-quant divides are q8_0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.dense import gemma3, llama
from gpumod.testing.shapes.embedders import bert, nomic_bert
from gpumod.testing.shapes.experts import deepseek2, gpt_oss, qwen3moe
from gpumod.testing.shapes.gemma4 import gemma4
from gpumod.testing.shapes.hybrid import mamba2, qwen3next, qwen35, qwen35moe
from gpumod.testing.shapes.mixtures import glm4moe, lfm2
from gpumod.testing.shapes.projectors import gemma3_projector
from gpumod.testing.shapes.relatives import command_r, glm4, granite, olmo2, phi3, qwen2vl

_ENDS: Final[dict[str, Any]] = {"vocabulary": 512, "context": 8192}
_DENSE: Final[dict[str, Any]] = {
    **_ENDS,
    "embedding": 256,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 64,
    "feed_forward": 768,
}
_EXPERTS: Final[dict[str, Any]] = {
    **_ENDS,
    "embedding": 256,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 64,
    "expert_width": 128,
    "experts": 8,
    "used": 2,
}
_DELTA: Final[dict[str, Any]] = {"key_heads": 2, "value_heads": 4, "state": 64, "rope": 16}
_GEMMA4: Final[dict[str, Any]] = {
    **_ENDS,
    "embedding": 256,
    "layers": 12,
    "heads": 4,
    "window_kv_heads": 2,
    "full_kv_heads": 1,
    "window_head_dim": 64,
    "full_head_dim": 128,
    "feed_forward": 768,
    "window": 512,
}
_ENCODER: Final[dict[str, Any]] = {**_ENDS, "embedding": 256, "layers": 3, "heads": 4, "feed_forward": 768}

TINY: Final[Mapping[str, Callable[..., Model]]] = {
    "tiny-llama": partial(llama, **_DENSE),
    "tiny-qwen2": partial(llama, **_DENSE, architecture="qwen2", qkv_bias=True, tied=True),
    "tiny-qwen3": partial(llama, **_DENSE, architecture="qwen3", qk_norm=True),
    "tiny-gemma3": partial(gemma3, **(_DENSE | {"layers": 8}), window=512),
    "tiny-qwen3moe": partial(qwen3moe, **_EXPERTS),
    "tiny-gpt-oss": partial(gpt_oss, **_EXPERTS),
    "tiny-deepseek2": partial(
        deepseek2,
        **_ENDS,
        embedding=256,
        layers=4,
        heads=4,
        latent=128,
        query_latent=64,
        rope=32,
        key_length=96,
        value_length=64,
        feed_forward=768,
        expert_width=128,
        experts=8,
        used=2,
    ),
    "tiny-qwen3next": partial(qwen3next, **(_EXPERTS | _DELTA | {"layers": 8}), shared_width=128),
    "tiny-qwen35moe": partial(qwen35moe, **(_EXPERTS | _DELTA | {"layers": 8}), shared_width=128),
    "tiny-qwen35": partial(qwen35, **(_DENSE | _DELTA | {"layers": 8})),
    "tiny-phi3": partial(phi3, **_DENSE),
    "tiny-glm4": partial(glm4, **_DENSE),
    "tiny-olmo2": partial(olmo2, **_DENSE),
    "tiny-command-r": partial(command_r, **_DENSE),
    "tiny-cohere2": partial(command_r, **_DENSE, architecture="cohere2", window=512),
    "tiny-granite": partial(granite, **(_DENSE | {"vocabulary": 515})),
    "tiny-qwen2vl": partial(qwen2vl, **_DENSE),
    "tiny-glm4moe": partial(glm4moe, **_EXPERTS, feed_forward=768),
    "tiny-lfm2": partial(lfm2, **_DENSE, attention_at=(1, 3)),
    "tiny-gemma4": partial(gemma4, **_GEMMA4, experts=8, used=2, expert_width=128),
    "tiny-gemma4-shared": partial(
        gemma4, **_GEMMA4, experts=0, per_layer=32, shared=6, separate_values=True, matrices="q8_0"
    ),
    "tiny-bert": partial(bert, **_ENCODER),
    "tiny-nomic-bert": partial(nomic_bert, **_ENCODER),
    "tiny-mamba2": partial(mamba2, **_ENDS, embedding=256, layers=4, state=32),
}

TINY_PROJECTORS: Final[Mapping[str, Callable[..., Model]]] = {
    "tiny-gemma3-projector": partial(
        gemma3_projector, width=128, layers=3, heads=4, feed_forward=512, image=112, embedding=256
    ),
}
"""Not models by themselves: each goes with the tiny model of its name."""
