"""Reads a model's config.json into a `Model`.

Which key means what follows vLLM 0.20.2: `transformers_utils/model_arch_config_convertor.py` for heads, head
sizes and the trained context, `config/model.py` for its scaling, `models/*.py` for experts and towers.
"""

from __future__ import annotations

from typing import Final

from gpumod.estimate.vllm.config_layers import read_layers
from gpumod.estimate.vllm.jsonfile import Values
from gpumod.estimate.vllm.model import DTYPE_BYTES, Experts, Latent, Model, Vision
from gpumod.estimate.vllm.quantization import read_quantization

_TEXT: Final = ("text_config", "llm_config", "language_config", "language_model_config")
_TOWERS: Final = ("vision_config", "visual", "vision_tower", "audio_config", "vit_config", "encoder_config")
_CONTEXTS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_SCALED_ALREADY: Final = frozenset({"su", "longrope", "llama3", "default", "mrope", "proportional"})
_BIASED: Final = frozenset({"qwen2", "qwen2_vl", "qwen2_5_vl", "qwen2_moe", "gpt_oss", "qwen2_5_vl_text"})
_HEAD_NORMS: Final = ("qwen3", "gemma3", "gemma4", "olmo2", "glm4_moe")
_FOUR_NORMS: Final = ("gemma2", "gemma3", "gemma4")
_NOT_LATENT: Final = frozenset({"minicpm3"})
"""Has a compressed width as well, and is computed with whole keys and values."""
_TIED: Final = ("gemma", "gemma2", "gemma3", "gemma4")
"""transformers' default for these models is a head that is the embedding."""


def read_model(config: Values) -> Model:
    """The model that a config.json describes.

    Raises:
        ModelFileError: a number is missing that every formula needs, or one of a wrong type or size.
    """
    text = text_config(config)
    kind = text.word("model_type") or config.word("model_type") or ""
    names = config.listed("architectures")
    heads = text.whole("num_attention_heads", "n_head", "num_heads", most=4096) or 0
    hidden = _required(text, "hidden_size", "n_embd", "d_model", most=2**20)
    head_size = text.whole("head_dim", "hidden_size_per_head", "attention_head_dim", most=2**16)
    kv_heads = text.whole("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num",
                          "num_attention_groups", most=4096)  # fmt: skip
    latent = None if kind in _NOT_LATENT else _latent(text)
    layers = _required(text, "num_hidden_layers", "n_layer", most=2048)
    context = _context(text, kind)
    found = read_layers(text, kind, layers, heads, heads if kv_heads is None else kv_heads,
                        head_size or (hidden // heads if heads else 0), latent)  # fmt: skip
    return Model(
        architecture=str(names[0])[:100] if names else "",
        kind=kind,
        dtype=_dtype(config, text),
        hidden=hidden,
        layers=layers,
        vocabulary=text.whole("vocab_size", most=2**24) or 0,
        feed_forward=max(text.wholes("intermediate_size", most=2**22) or text.wholes("ffn_dim") or (0,)),
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        head_size=head_size or (hidden // heads if heads else 0),
        context=context,
        positions=_positions(text, context),
        attention=found.attention,
        states=found.states,
        tied=config.flag("tie_word_embeddings", default=_tied(text, kind)),
        biased=text.flag("attention_bias") or text.flag("qkv_bias") or kind in _BIASED,
        head_norms=kind.startswith(_HEAD_NORMS),
        gated_query=kind in {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe"},
        norms=4 if kind.startswith(_FOUR_NORMS) else 2,
        experts=_experts(text),
        latent=latent,
        quantization=read_quantization(config, text),
        vision=_vision(config),
        has_vision=any(isinstance(config.data.get(key), (dict, str)) for key in _TOWERS),
        drafter_layers=text.whole(
            "mtp_num_hidden_layers", "num_nextn_predict_layers", "mtp_num_layers", most=64
        )
        or 0,
        per_layer_inputs=text.whole("hidden_size_per_layer_input", most=2**16) or 0,
        encoder_only=kind in {"bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "new"},
        rotary=_rotary(text, latent, head_size or (hidden // heads if heads else 0)),
        sections="mrope_section" in (text.inner("rope_scaling", "rope_parameters") or Values("", {})).data,
        unknown=found.unknown,
    )


def text_config(config: Values) -> Values:
    """The configuration of the text model: its own object in models that see or hear."""
    thinker = config.inner("thinker_config")
    if thinker is not None:
        return text_config(thinker)
    inner = config.inner(*_TEXT)
    # An encoder-decoder's `text_config` without layers is not the one that runs.
    return inner if inner is not None and inner.has("hidden_size") else config


def _required(values: Values, *keys: str, most: int) -> int:
    number = values.whole(*keys, least=1, most=most)
    if number is None:
        raise values.wrong(keys[0], None, "a whole number")
    return number


def _dtype(config: Values, text: Values) -> str:
    name = config.word("dtype", "torch_dtype") or text.word("dtype", "torch_dtype") or "bfloat16"
    name = name.removeprefix("torch.")
    return name if name in DTYPE_BYTES else "bfloat16"


def _tied(text: Values, kind: str) -> bool:
    return text.flag("tie_word_embeddings", default=kind.startswith(_TIED))


def _context(text: Values, kind: str) -> int | None:
    """The largest context: the trained one with its scaling, as vLLM derives it (config/model.py)."""
    lengths = [length for key in _CONTEXTS if (length := text.whole(key, most=2**40)) is not None]
    longest = text.whole("model_max_length", most=2**40) or min(lengths, default=None)
    if longest is None:
        return None
    scaling = text.inner("rope_scaling", "rope_parameters")
    if scaling is None or kind.startswith("gemma3"):
        return longest
    method = scaling.word("rope_type", "type") or "default"
    if method in _SCALED_ALREADY:
        return longest
    if method == "yarn":
        longest = scaling.whole("original_max_position_embeddings", most=2**40) or longest
    factor = scaling.number("factor", most=1e6) or 1.0
    return int(longest * factor)


def _positions(text: Values, context: int | None) -> int:
    """Positions that global layers have angles for: scaling by a factor lengthens the table by it.

    `LinearScalingRotaryEmbedding` and its likes (layers/rotary_embedding); Gemma 3 has scaling, and a context
    that is not scaled.
    """
    trained = text.whole("max_position_embeddings", most=2**40) or context or 0
    scaling = text.inner("rope_scaling", "rope_parameters")
    if scaling is None or (scaling.word("rope_type", "type") or "") not in {"linear", "dynamic"}:
        return context or 0
    return int(trained * (scaling.number("factor", most=1e6) or 1.0))


def _rotary(text: Values, latent: Latent | None, head_size: int) -> int:
    """Values per head that are rotated by position."""
    if latent is not None:
        return latent.rotary
    inner = text.inner("rope_parameters", "rope_scaling")
    factor = text.number("partial_rotary_factor", most=1.0)
    if factor is None and inner is not None:
        factor = inner.number("partial_rotary_factor", most=1.0)
    return int(head_size * (1.0 if factor is None else factor))


def _experts(text: Values) -> Experts | None:
    count = text.whole("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts", most=2**14)
    if not count:
        return None
    width = text.whole("moe_intermediate_size", "expert_ffn_hidden_size", most=2**22)
    width = width or max(text.wholes("intermediate_size", most=2**22) or (0,))
    used = text.whole("num_experts_per_tok", "top_k_experts", "moe_top_k", "num_selected_experts", most=count)
    shared = text.whole("shared_expert_intermediate_size", most=2**22) or 0
    return Experts(
        count=count,
        used=used or 1,
        width=width,
        shared_width=shared or width * (text.whole("n_shared_experts", most=64) or 0),
        dense_layers=text.whole("first_k_dense_replace", most=2048) or 0,
        every=text.whole("decoder_sparse_step", "moe_layer_freq", least=1, most=64) or 1,
    )


def _latent(text: Values) -> Latent | None:
    rank = text.whole("kv_lora_rank", most=2**16)
    if rank is None:
        return None
    return Latent(
        rank=rank,
        rotary=text.whole("qk_rope_head_dim", most=2**14) or 0,
        plain=text.whole("qk_nope_head_dim", most=2**14) or 0,
        value=text.whole("v_head_dim", most=2**14) or 0,
        query_rank=text.whole("q_lora_rank", most=2**16) or 0,
    )


def _vision(config: Values) -> Vision | None:
    """The tower's dimensions where its configuration names them; they matter only without weight files."""
    tower = config.inner("vision_config", "visual")
    if tower is None:
        return None
    layers = tower.whole("depth", "num_hidden_layers", "layers", most=512)
    hidden = tower.whole("hidden_size", "embed_dim", "width", most=2**16)
    if not layers or not hidden:
        return None
    patch = tower.whole("patch_size", most=512) or 14
    channels = tower.whole("in_channels", "num_channels", most=64) or 3
    frames = tower.whole("temporal_patch_size", most=64) or 1
    return Vision(
        layers=layers,
        hidden=hidden,
        feed_forward=tower.whole("intermediate_size", most=2**20) or 4 * hidden,
        patch_values=patch * patch * channels * frames,
        positions=tower.whole("num_position_embeddings", most=2**20) or 0,
        merge=tower.whole("spatial_merge_size", most=64) or 1,
        gated=tower.word("hidden_act") == "silu" or tower.word("model_type") == "gemma4_vision",
    )
