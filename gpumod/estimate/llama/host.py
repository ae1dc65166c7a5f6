"""What a llama-server needs of the host's memory besides weights, caches and buffers.

Weights that stay on the host count in full, mapped or not: the processor reads their pages again and again.
Those of cards are read through the page cache, which the kernel takes back.
"""

from __future__ import annotations

from typing import Final

from gpumod.core.footprint import Part
from gpumod.core.units import MIB
from gpumod.estimate.gguf.types import tensor_bytes
from gpumod.estimate.llama.cache import layer_bytes
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.sizes import cache_bytes, type_named

_PROCESS: Final = 90 * MIB
"""Code, threads, HTTP: what a llama-server without a card keeps besides vocabulary and buffers."""
_LIBRARIES: Final = 310 * MIB
"""CUDA's libraries, their heap and the driver's mappings, cuBLAS among them (CUDA 13: 250 to 380 MiB)."""
_PER_TOKEN: Final = 300
"""Bytes per token of the vocabulary: its text and the maps to and from it."""
_STAGING: Final = 4 * 64 * MIB
"""Pinned buffers for weights where the file is not mapped (`llama_model_loader::load_all_data`)."""
_MAPPED: Final = 64 * MIB
_CHECKPOINT_STEP: Final = 8192
"""Tokens between two checkpoints of a prompt (`--checkpoint-min-step`)."""
_CHECKPOINTS_AT_LEAST: Final = 3
"""A prompt has them near its end and at the last message, however short it is."""


def host_parts(model: LlamaModel, setting: LlamaSetting) -> tuple[Part, ...]:
    """The process itself and what it keeps of earlier prompts; on the host card they are that card's."""
    process = _PROCESS + model.vocabulary * _PER_TOKEN + (0 if setting.on_host else _LIBRARIES)
    kept = setting.prompt_cache + checkpoints(model, setting)
    parts = [_part("process", process, setting)]
    if kept:
        parts.append(_part("prompt cache", kept, setting))
    return tuple(parts)


def loading(model: LlamaModel, setting: LlamaSetting) -> int:
    """Bytes that the host needs on top while the weights are read."""
    if setting.mapped:
        return _MAPPED
    if not setting.on_host:
        return _STAGING
    return max((tensor_bytes(tensor) for tensor in model.header.tensors), default=0)


def checkpoints(model: LlamaModel, setting: LlamaSetting) -> int:
    """States of each slot's prompt that cannot be had back otherwise: recurrent ones and sliding windows.

    As many as a full context leads to (`server_slot` and `create_checkpoint` in `server-context.cpp`).
    """
    count = min(setting.checkpoints, _CHECKPOINTS_AT_LEAST + setting.cells // _CHECKPOINT_STEP)
    size, float32 = 0, type_named("f32")
    for layer in model.trunk:
        if layer.recurrent and model.recurrence is not None:
            rows = (model.recurrence.convolution_row, model.recurrence.state_row)
            size += sum(cache_bytes(float32, row, 1, on_card=False) for row in rows)
        elif layer.sliding and layer.own_kv and not setting.full_window:
            size += layer_bytes(model, setting, layer, on_card=False) // setting.slots
    return count * size * setting.slots


def _part(name: str, size: int, setting: LlamaSetting) -> Part:
    if setting.on_host:
        return Part(name, (size,))
    return Part(name, (0,) * setting.cards, host=size)
