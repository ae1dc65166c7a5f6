"""Bytes of weights on each rank: which tensors vLLM divides, which every rank holds whole.

From vLLM 0.20.2: `layers/linear.py` (column and row parallel layers), `layers/vocab_parallel_embedding.py`,
`models/*.py` for what is replicated. Checkpoints' bytes are kept as they are: AWQ, GPTQ, AutoRound and
compressed-tensors weights are repacked in place, not converted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gpumod.core.cards import CardModel
from gpumod.estimate.vllm.checkpoint import DRAFTER, UNREAD, Checkpoint, TensorGroup
from gpumod.estimate.vllm.model import Model
from gpumod.estimate.vllm.setting import VllmSetting
from gpumod.estimate.vllm.shapes import dummy_tensors

VOCABULARY_PADDING: Final = 64
"""vLLM pads the vocabulary to a multiple of it (DEFAULT_VOCAB_PADDING_SIZE)."""

_TOWER: Final = re.compile(
    r"(?:^|\.)(?:vis(?:ion|ual)|audio|multi_modal|mm_|embed_vision|embed_audio|aligner|merger)"
)
_VOCABULARY: Final = re.compile(
    r"(?:embed_tokens|embed_tokens_per_layer|wte|word_embeddings|lm_head|shared_head\.head)\."
)
_HEAD: Final = re.compile(r"(?:lm_head|shared_head\.head)\.")
_EMBEDDING: Final = re.compile(r"(?:embed_tokens|lm_head|shared_head\.head)\.")
_KEYS_VALUES: Final = re.compile(r"\.(?:k_proj|v_proj)\.")
_WHOLE: Final = re.compile(
    r"norm|\bln_|\.gate\.|router|shared_expert_gate|q_a_proj|kv_a_proj|kv_a_layernorm|indexer\.|correction_bias"
    r"|inv_freq|patch_embed|pos_embed|position_embedding|layer_scalar|per_layer_(?:input_gate|projection|model)"
    r"|(?:o_proj|down_proj|out_proj|fc2|dense_4h_to_h)\.bias$|(?:input|output|k|v|q)_scale$"
)
"""Every rank has all of these."""
_KEPT_WIDE: Final = re.compile(r"A_log$|correction_bias$|scale|inv_freq")
"""Numbers that stay in 32 bits whatever the model's type."""
_FLOATS: Final = frozenset({"F32", "F16", "BF16", "F64"})
_ONLINE: Final = {"fp8": 1.0, "bitsandbytes": 0.5 + 4 / 64}
"""Bytes per value of linear layers that are converted while loading."""
_HOPPER: Final = 9


def weights_per_rank(checkpoint: Checkpoint, setting: VllmSetting, card: CardModel) -> int:
    """Bytes of weights that each rank keeps, with the tables of angles.

    Args:
        checkpoint: its tensors decide; with none of them, those that its configuration describes.
        setting: the launch.
        card: its generation decides how some 4-bit weights are padded.
    """
    model = checkpoint.model
    tensors = checkpoint.tensors or dummy_tensors(model)
    total = sum(_size(group, model, setting, card) for group in _loaded(tensors, model, setting))
    return total + rotary_table(model, setting) + _absorbed(model, setting)


def rotary_table(model: Model, setting: VllmSetting) -> int:
    """The sines and cosines of every position, per kind of attention (layers/rotary_embedding/base.py)."""
    stretch = 4 if model.sections else 1
    share = model.rotary / model.head_size if model.head_size else 0.0
    tables: dict[bool, int] = {}
    for one in model.attention:
        everywhere = one.window is None
        rotated = model.rotary if one.latent else int(one.key * share)
        positions = model.positions if everywhere else model.context or 0
        tables[everywhere] = max(rotated * positions * stretch, tables.get(everywhere, 0))
    return sum(tables.values()) * setting.dtype_bytes


def _loaded(tensors: Iterable[TensorGroup], model: Model, setting: VllmSetting) -> Iterable[TensorGroup]:
    """What is not left out: a draft module that does not draft, towers of a text model, a tied head."""
    for group in tensors:
        name = group.name
        if name.startswith(DRAFTER):
            # It shares embedding and head with the model it drafts for.
            if not setting.own_drafter or _EMBEDDING.search(name):
                continue
        elif _is_tower(name) and not setting.vision:
            continue
        if model.tied and _HEAD.search(name):
            continue
        yield group


def _size(group: TensorGroup, model: Model, setting: VllmSetting, card: CardModel) -> int:
    """Bytes of a group on one rank."""
    ranks, name = setting.ranks, group.name
    size = group.values * _bytes_per_value(group, setting)
    if name == UNREAD:
        return int(size / ranks)
    if _VOCABULARY.search(name) and len(group.shape) == 2 and group.shape[0]:
        rows = group.shape[0]
        padded = -(-rows // VOCABULARY_PADDING) * VOCABULARY_PADDING
        return int(size / rows * padded / ranks)
    if _WHOLE.search(name) or max(group.shape, default=1) == 1:
        return int(size)
    if _is_tower(name) and len(group.shape) < 2:
        return int(size)
    if _KEYS_VALUES.search(name) and not _is_tower(name) and model.latent is None:
        # A head that is not divided is held by several ranks.
        heads = model.kv_heads or 1
        return int(size * max(1, heads // ranks) / heads) if heads < ranks else int(size / ranks)
    return int(size * _padding(name, model, setting, card) / ranks)


def _is_tower(name: str) -> bool:
    return _TOWER.search(name) is not None


def _bytes_per_value(group: TensorGroup, setting: VllmSetting) -> float:
    """Bytes per value once loaded: floats take the model's type, everything else stays."""
    stored = group.size / group.values if group.values else 0.0
    if group.dtype not in _FLOATS or _KEPT_WIDE.search(group.name):
        return stored
    linear = len(group.shape) >= 2 and not _VOCABULARY.search(group.name) and not _WHOLE.search(group.name)
    if linear and setting.quantization in _ONLINE and "conv" not in group.name:
        return _ONLINE[setting.quantization]
    return float(setting.dtype_bytes)


def _padding(name: str, model: Model, setting: VllmSetting, card: CardModel) -> float:
    """How much larger 4-bit experts become: Marlin needs widths of 128 and 256.

    `mxfp4_round_up_hidden_size_and_intermediate_size` (fused_moe/oracle/mxfp4.py); Hopper's kernels need 64.
    """
    experts, quantization = model.experts, model.quantization
    if experts is None or quantization is None or quantization.method != "mxfp4" or "experts" not in name:
        return 1.0
    width = max(experts.width // setting.ranks, 1)
    capability = card.compute_capability
    if capability is not None and capability[0] == _HOPPER:
        return (-(-width // 64) * 64) / width
    return (-(-width // 128) * 128) / width * (-(-model.hidden // 256) * 256) / model.hidden


def _absorbed(model: Model, setting: VllmSetting) -> int:
    """Latent attention with quantised weights keeps an unquantised copy of one projection.

    `process_weights_after_loading` (layers/attention/mla_attention.py); of unquantised weights it is a view.
    """
    latent, quantization = model.latent, model.quantization
    if latent is None or quantization is None:
        return 0
    layers = sum(one.latent and not one.raw for one in model.attention)
    wide = model.heads // setting.ranks * (latent.plain + latent.value)
    return layers * wide * latent.rank * setting.dtype_bytes
