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
from gpumod.testing.shapes.experts import deepseek2, gpt_oss, qwen3moe
from gpumod.testing.shapes.hybrid import mamba2, qwen3next, qwen35

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
    "tiny-qwen35": partial(qwen35, **(_DENSE | _DELTA | {"layers": 8})),
    "tiny-mamba2": partial(mamba2, **_ENDS, embedding=256, layers=4, state=32),
}
