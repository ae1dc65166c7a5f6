"""A projector: the vision tower beside a language model, in a file of its own (`--mmproj`).

llama.cpp's `tools/mtmd/clip.cpp`: all its weights are on the first card, unless `--no-mmproj-offload` keeps
them on the host. Its compute buffer grows with the picture: reckoned is the largest that it takes.
"""

from __future__ import annotations

from typing import Final

from gpumod.core.cards import CardModel
from gpumod.core.footprint import Part
from gpumod.core.units import MIB
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.gguf.types import GGML_TYPES, tensor_bytes
from gpumod.estimate.llama.model import LlamaModel
from gpumod.estimate.llama.overhead import Overhead
from gpumod.estimate.llama.setting import LlamaSetting
from gpumod.estimate.llama.sizes import card_bytes, host_bytes

_SIDE: Final = {
    "gemma3": 0, "gemma3nv": 0, "idefics3": 0, "mlp": 0, "ldp": 0, "ldpv2": 0, "resampler": 0, "internvl": 0,
    "llama4": 0, "adapter": 0, "glm_edge": 0, "janus_pro": 0, "cogvlm": 0,
    "pixtral": 32, "lightonocr": 32, "kimivl": 32, "kimik25": 32, "lfm2": 32, "gemma4v": 32,
}  # fmt: skip
"""Tokens per side of the largest picture that each type takes; 0: the picture's size is the model's own."""
_UNKNOWN_SIDE: Final = 64
"""4,096 tokens, as for Qwen's; llama.cpp warms up with 46 x 46 and reserves more when a larger one comes."""
_USUAL_MERGE: Final = 2
_CONTEXT: Final = 4 * MIB
"""CUDA graphs of the projector's own context."""


def projector_part(
    projector: GgufHeader, model: LlamaModel, setting: LlamaSetting, card: CardModel, overhead: Overhead
) -> Part:
    """What a projector takes: weights, compute buffer, and scratch memory once it has seen a picture.

    Raises:
        ModelFileError: the file is no projector.
    """
    if projector.architecture != "clip":
        raise ModelFileError(
            f"{projector.path} is no projector: its architecture is {projector.architecture}"
        )
    weights = _weights(projector, on_card=setting.projector_offload and not setting.on_host)
    patches, side = patches_of(projector)
    picture = 4 * 3 * side * side
    buffer = compute_buffer(projector, patches) + picture
    if model.embedding_in > model.embedding:
        # The language model's own buffer then holds what its first layers see of the picture.
        buffer += 4 * setting.ubatch * model.embedding_in
    rest = (0,) * (setting.cards - 1)
    if setting.on_host:
        return Part("projector", (weights + buffer, *rest))
    if not setting.projector_offload:
        return Part("projector", (0, *rest), host=weights + buffer)
    scratch = _scratch(projector, patches, card, overhead)
    note = f"with a picture of {side} × {side}"
    return Part("projector", (weights + buffer + scratch, *rest), host=picture, note=note)


def patches_of(projector: GgufHeader) -> tuple[int, int]:
    """Patches of the largest picture that it takes, and that picture's side in pixels."""
    patch = _number(projector, "patch_size", 14)
    own = _number(projector, "image_size", 0)
    kind = projector.metadata.get("clip.projector_type") or projector.metadata.get(
        "clip.vision.projector_type"
    )
    tokens = _SIDE.get(kind, _UNKNOWN_SIDE) if isinstance(kind, str) else 0
    if not tokens and own:
        return (own // patch) ** 2, own
    merge = _number(projector, "spatial_merge_size", _USUAL_MERGE)
    per_side = (tokens or _UNKNOWN_SIDE) * merge
    return per_side * per_side, per_side * patch


def compute_buffer(projector: GgufHeader, patches: int) -> int:
    """The feed-forward part of a layer beside what goes around it, and what deep layers hand on."""
    width, wide = _number(projector, "embedding_length", 0), _number(projector, "feed_forward_length", 0)
    deep = projector.metadata.get("clip.vision.is_deepstack_layers")
    count = sum(map(bool, deep)) if isinstance(deep, tuple) else 0
    merge = _number(projector, "spatial_merge_size", _USUAL_MERGE)
    handed = count * patches // (merge * merge) * _number(projector, "projection_dim", 0)
    return 4 * (patches * (wide + 3 * width) + handed)


def _weights(projector: GgufHeader, *, on_card: bool) -> int:
    return sum(
        card_bytes(GGML_TYPES[one.type], one.shape[0] if one.shape else 1, tensor_bytes(one))
        if on_card
        else host_bytes(tensor_bytes(one))
        for one in projector.tensors
    )


def _scratch(projector: GgufHeader, patches: int, card: CardModel, overhead: Overhead) -> int:
    """CuBLAS for half-precision weights: it converts what it reads and what it gives."""
    newer = card.compute_capability is None or card.compute_capability >= (9, 0)
    width, wide = _number(projector, "embedding_length", 0), _number(projector, "feed_forward_length", 0)
    return _CONTEXT + overhead.cublas + (32 if newer else 4) * MIB + 2 * patches * (width + wide)


def _number(projector: GgufHeader, key: str, default: int) -> int:
    value = projector.metadata.get(f"clip.vision.{key}")
    return value if isinstance(value, int) and 0 < value < 1 << 24 else default
