"""Which layers of a model keep keys and values, and which keep a recurrent state.

The rules are those of vLLM 0.20.2's model classes (`model_executor/models/*.py`), the states' shapes those of
`layers/mamba/mamba_utils.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gpumod.estimate.vllm.jsonfile import Values
from gpumod.estimate.vllm.model import Attention, Latent, State

_FULL: Final = frozenset({"full_attention", "attention", "global_attention", "hybrid", "global"})
_SLIDING: Final = frozenset({"sliding_attention", "local_attention", "sliding", "local"})
_CHUNKED: Final = "chunked_attention"
_RECURRENT: Final = frozenset({"linear_attention", "mamba", "mamba2", "mamba1", "conv", "recurrent", "kda"})
_ALTERNATING: Final = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "exaone4": 4}
"""One layer of so many is global where the configuration lists no kinds."""
_INDEX_GROUP: Final = 128
"""Values that share a scale in the cache of a sparse attention's indexer (models/deepseek_v2.py)."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Caches and states of a model's layers; `unknown` says why they cannot be told."""

    attention: tuple[Attention, ...] = ()
    states: tuple[State, ...] = ()
    unknown: str = ""


def read_layers(
    text: Values, kind: str, count: int, heads: int, kv_heads: int, head_size: int, latent: Latent | None
) -> Layers:
    """The caches of all layers.

    Args:
        text: the text model's configuration.
        kind: its `model_type`.
        count: its layers.
        heads: attention heads.
        kv_heads: key and value heads.
        head_size: values per head.
        latent: the dimensions of latent attention, where the model has it.
    """
    if text.has("compress_ratios"):
        return Layers(unknown="compressed attention (DeepSeek V4) has a cache that is not modelled")
    if text.has("block_configs"):
        return Layers(unknown="layers that each have dimensions of their own (Nemotron NAS) are not modelled")
    full = Attention(kv_heads, head_size, head_size)
    if latent is not None:
        full = Attention(1, latent.rank + latent.rotary, 0, latent=True)
    kinds = layer_kinds(text, kind, count)
    state = _state(text, kind, heads, head_size)
    if any(one in _RECURRENT for one in kinds) and state is None:
        return Layers(unknown=f"the recurrent state of `{kind[:40]}` is not modelled")
    attention: list[Attention] = []
    states: list[State] = []
    shared_from = count - (text.whole("num_kv_shared_layers", most=count) or 0)
    for index, one in enumerate(kinds):
        if one in _RECURRENT and state is not None:
            states.append(state)
        elif one in _SLIDING | _FULL | {_CHUNKED} and index < shared_from:
            attention.append(_attention(text, kind, one, full))
        if kind == "falcon_h1" and state is not None:
            states.append(state)
    indexer = text.whole("index_head_dim", most=2**12) if text.has("index_topk") else None
    if indexer and latent is not None:
        # A second cache per layer: 8-bit keys, and a 4-byte scale per group of them.
        scales = 4 * (indexer // _INDEX_GROUP)
        extra = Attention(1, 0, 0, latent=True, raw=indexer + scales)
        attention += [extra] * len(attention)
    return Layers(tuple(attention), tuple(states))


def layer_kinds(text: Values, kind: str, count: int) -> tuple[str, ...]:
    """The kind of every layer, in order, by whatever this family's configuration says it with."""
    listed = text.listed("layer_types") or text.listed("layers_block_type")
    if listed:
        return tuple(str(one) for one in listed[:count])
    pattern = text.word("hybrid_override_pattern")
    if pattern:
        return tuple({"M": "mamba", "*": "full_attention"}.get(one, "none") for one in pattern[:count])
    linear = text.inner("linear_attn_config")
    if linear is not None:
        recurrent = set(linear.wholes("kda_layers", most=2048))
        return tuple("kda" if index + 1 in recurrent else "full_attention" for index in range(count))
    interval = text.whole("full_attention_interval", most=2048)
    if text.has("linear_num_value_heads"):
        every = interval or 4
        return tuple("linear_attention" if (i + 1) % every else "full_attention" for i in range(count))
    if kind in {"mamba", "mamba2", "falcon_mamba"}:
        return ("mamba",) * count
    if text.has("attn_layer_period"):
        period, offset = text.whole("attn_layer_period", least=1) or 1, text.whole("attn_layer_offset") or 0
        return tuple("full_attention" if i % period == offset else "mamba" for i in range(count))
    if text.has("attn_layer_indices"):
        chosen = set(text.wholes("attn_layer_indices"))
        return tuple("full_attention" if i in chosen else "mamba" for i in range(count))
    if text.has("attention_chunk_size") and kind == "llama4_text":
        return tuple("full_attention" if (i + 1) % 4 == 0 else _CHUNKED for i in range(count))
    return _windowed(text, kind, count)


def _windowed(text: Values, kind: str, count: int) -> tuple[str, ...]:
    """Models of sliding windows without a list of kinds."""
    if not text.whole("sliding_window", "sliding_window_size", most=2**30):
        return ("full_attention",) * count
    if text.has("use_sliding_window") and not text.flag("use_sliding_window"):
        return ("full_attention",) * count
    every = text.data.get("sliding_window_pattern")
    every = text.whole("sliding_window_pattern", least=1) if isinstance(every, int) else None
    every = every or _ALTERNATING.get(kind)
    if every is None:
        return ("sliding_attention",) * count
    return tuple("full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(count))


def _attention(text: Values, kind: str, one: str, full: Attention) -> Attention:
    if one == _CHUNKED:
        return replace(full, chunk=text.whole("attention_chunk_size", least=1))
    if one in _SLIDING and not full.latent:
        return replace(full, window=text.whole("sliding_window", "sliding_window_size", least=1))
    if kind.startswith("gemma4"):
        # Global layers have heads of their own size, and with equal keys and values their own number.
        size = text.whole("global_head_dim", most=2**16) or full.key
        heads = text.whole("num_global_key_value_heads", most=4096) or full.heads
        return replace(
            full, heads=heads if text.flag("attention_k_eq_v") else full.heads, key=size, value=size
        )
    return full


def _state(text: Values, kind: str, heads: int, head_size: int) -> State | None:
    delta = text.inner("linear_attn_config")
    if text.has("linear_num_value_heads"):
        return _gated_delta_net(text)
    if delta is not None:
        return _kimi_delta(delta)
    if text.has("conv_L_cache"):
        width = text.whole("conv_dim", "hidden_size", most=2**20) or 0
        return State(width, text.whole("conv_L_cache", least=1, most=4096) or 1, caches_all=True)
    if kind.startswith("minimax"):
        return State(temporal=heads * head_size * head_size)
    return _mamba2(text, kind) if _is_mamba2(text) else _mamba1(text)


def _gated_delta_net(text: Values) -> State:
    """`gated_delta_net_state_shape`; the type of the matrix is the configuration's, else the model's."""
    keys = (text.whole("linear_num_key_heads", most=4096) or 0) * (
        text.whole("linear_key_head_dim", most=2**14) or 0
    )
    value_heads = text.whole("linear_num_value_heads", most=4096) or 0
    value_size = text.whole("linear_value_head_dim", most=2**14) or 0
    return State(
        convolved=2 * keys + value_heads * value_size,
        kernel=text.whole("linear_conv_kernel_dim", least=1, most=4096) or 4,
        temporal=value_heads * value_size * (text.whole("linear_key_head_dim", most=2**14) or 0),
        temporal_dtype=text.word("mamba_ssm_dtype"),
        drafts=True,
    )


def _kimi_delta(delta: Values) -> State:
    """`kda_state_shape`: three convolutions, and a matrix in 32 bits."""
    heads = delta.whole("num_heads", most=4096) or 0
    size = delta.whole("head_dim", most=2**14) or 0
    return State(
        convolved=3 * heads * size,
        kernel=delta.whole("short_conv_kernel_size", least=1, most=4096) or 4,
        temporal=heads * size * size,
        temporal_dtype="float32",
    )


def _is_mamba2(text: Values) -> bool:
    return text.has("mamba_n_heads") or text.has("mamba_num_heads") or text.has("ssm_state_size")


def _mamba2(text: Values, kind: str) -> State:
    """`mamba2_state_shape`."""
    heads = text.whole("mamba_n_heads", "mamba_num_heads", "num_heads", most=2**14) or 0
    size = text.whole("mamba_d_head", "mamba_head_dim", "head_dim", most=2**14) or 0
    width = text.whole("mamba_d_ssm", most=2**22) or heads * size
    state = text.whole("mamba_d_state", "ssm_state_size", "state_size", most=2**14) or 0
    nemotron = kind.startswith("nemotron")
    return State(
        convolved=width,
        kernel=text.whole("mamba_d_conv", "conv_kernel", least=1, most=4096) or 4,
        groups=text.whole("mamba_n_groups", "n_groups", most=4096) or 1,
        group_width=2 * state,
        temporal=heads * size * state,
        # vLLM keeps it in 32 bits for these unless told otherwise (models/config.py).
        temporal_dtype=text.word("mamba_ssm_cache_dtype") or ("float32" if nemotron else None),
        drafts=True,
        chunk=text.whole("mamba_chunk_size", "chunk_size", least=1, most=2**20) or 2048,
        caches_all=True,
    )


def _mamba1(text: Values) -> State | None:
    """`mamba1_state_shape`."""
    state = text.whole("mamba_d_state", "state_size", most=2**14)
    width = text.whole("intermediate_size", most=2**22) if text.has("state_size") else None
    if width is None and text.has("mamba_expand"):
        width = (text.whole("mamba_expand", most=64) or 0) * (text.whole("hidden_size", most=2**20) or 0)
    if not state or not width:
        return None
    return State(
        convolved=width,
        kernel=text.whole("mamba_d_conv", "conv_kernel", least=1, most=4096) or 4,
        temporal=width * state,
    )
