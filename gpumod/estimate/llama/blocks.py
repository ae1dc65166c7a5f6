"""A model's blocks: heads, widths and kinds, layer by layer.

From llama.cpp's `llama_model_base::load_hparams` (`src/llama-model.cpp`), `src/llama-hparams.cpp` and
`load_arch_hparams` of each architecture; its names are given where ours differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gpumod.estimate.llama import architectures as known
from gpumod.estimate.llama.metadata import Metadata

_MOST_EXPERTS: Final = 1024
"""Per token; llama.cpp itself takes 512 in all (`LLAMA_MAX_EXPERTS`)."""


@dataclass(frozen=True, slots=True)
class LlamaLayer:
    """One block.

    Args:
        heads: query heads (`n_head`).
        kv_heads: key and value heads (`n_head_kv`).
        key: width of one head's key (`n_embd_head_k`).
        value: width of one head's value (`n_embd_head_v`).
        feed_forward: width of the dense feed-forward part (`n_ff`).
        expert_feed_forward: width of one expert (`n_ff_exp`).
        experts_used: experts per token.
        sliding: it sees a window only.
        attends: it has attention.
        recurrent: it has a recurrent state.
        own_kv: it attends and keeps its keys and values itself; those of shared layers are another layer's.
        nextn: it is a block for multi-token prediction, which only a draft uses.
    """

    heads: int = 0
    kv_heads: int = 0
    key: int = 0
    value: int = 0
    feed_forward: int = 0
    expert_feed_forward: int = 0
    experts_used: int = 0
    sliding: bool = False
    attends: bool = True
    recurrent: bool = False
    own_kv: bool = True
    nextn: bool = False

    @property
    def key_width(self) -> int:
        """Values per cell of the key cache (`n_embd_k_gqa`)."""
        return self.key * self.kv_heads

    @property
    def value_width(self) -> int:
        """Values per cell of the value cache (`n_embd_v_gqa`)."""
        return self.value * self.kv_heads


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention: what is cached is one compressed vector per token, and no values.

    Args:
        key: width of one head's key once decompressed (`n_embd_head_k_mla`).
        value: the same of its value.
        rank: width of the compressed vector (`n_lora_kv`).
        rope: rotated values beside it.
    """

    key: int
    value: int
    rank: int
    rope: int


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Dimensions of recurrent layers.

    Args:
        convolution_row: values per layer and row of the first state (`n_embd_r`).
        state_row: values per layer and row of the second one (`n_embd_s`).
        kernel: width of the convolution (`ssm_d_conv`).
        inner: `ssm_d_inner`.
        state: `ssm_d_state`.
        groups: `ssm_n_group`.
        rank: `ssm_dt_rank`, the number of value heads.
        head: width of a head of KDA, linear attention or RWKV; 0 elsewhere.
        rollback: one row more is kept per drafted token.
    """

    convolution_row: int
    state_row: int
    kernel: int = 0
    inner: int = 0
    state: int = 0
    groups: int = 0
    rank: int = 0
    head: int = 0
    rollback: bool = False


def model_layers(data: Metadata, count: int, nextn: int) -> tuple[LlamaLayer, ...]:
    """All blocks; the last `nextn` of them are for multi-token prediction.

    Raises:
        ModelFileError: a list is too short, or a number absurd.
    """
    heads = data.numbers("attention.head_count", count, 0)
    kv_heads = heads
    if data.header.value("attention.head_count_kv") is not None:
        kv_heads = data.numbers("attention.head_count_kv", count)
    feed_forward = data.numbers("feed_forward_length", count, 0)
    expert = data.numbers("expert_feed_forward_length", count, 0)
    used = data.numbers("expert_used_count", count, 0)
    experts = data.number("expert_count", 0)
    if max(used) > min(experts or _MOST_EXPERTS, _MOST_EXPERTS):
        raise data.broken("expert_used_count", f"is {max(used)} of {experts} experts")
    recurrent = _recurrent(data, count - nextn, kv_heads, feed_forward)
    sliding = _sliding(data, count, nextn, recurrent)
    full, windowed = _head_sizes(data, heads)
    first_shared = _first_shared(data, count)
    both = data.header.architecture in known.RECURRENT_AND_ATTENDING
    alone = data.header.architecture in known.FEED_FORWARD_ALONE
    made = []
    for index in range(count):
        key, value = windowed if sliding[index] else full
        recurs = index < len(recurrent) and recurrent[index]
        attends = (both or not recurs) and not (alone and feed_forward[index])
        made.append(LlamaLayer(
            heads=heads[index],
            kv_heads=kv_heads[index],
            key=key,
            value=value,
            feed_forward=feed_forward[index],
            expert_feed_forward=expert[index],
            experts_used=used[index],
            sliding=sliding[index],
            attends=attends,
            recurrent=recurs,
            own_kv=attends and index < first_shared,
            nextn=index >= count - nextn,
        ))  # fmt: skip
    return tuple(made)


def _head_sizes(data: Metadata, heads: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Widths of a key and a value: of full layers, and of sliding ones."""
    if not heads[0]:
        # The default and the file's own number count only where the first layer has heads.
        return (0, 0), (0, 0)
    width = data.number("embedding_length") // heads[0]
    key = data.number("attention.key_length", width)
    value = data.number("attention.value_length", width)
    if data.header.architecture == "kimi-k3":
        value = data.number("attention.kv_lora_rank")
    windowed = (
        data.number("attention.key_length_swa", key),
        data.number("attention.value_length_swa", value),
    )
    return (key, value), windowed


def _recurrent(
    data: Metadata, trunk: int, kv_heads: Sequence[int], feed_forward: Sequence[int]
) -> tuple[bool, ...]:
    architecture = data.header.architecture
    if architecture in known.RECURRENT | known.RECURRENT_AND_ATTENDING:
        return (True,) * trunk
    if architecture in known.RECURRENT_WITHOUT_KV_HEADS:
        alone = architecture in known.FEED_FORWARD_ALONE
        return tuple(not kv_heads[i] and not (alone and feed_forward[i]) for i in range(trunk))
    if architecture in known.ATTENTION_INTERVAL:
        listed = data.pattern("attention.recurrent_layers", trunk)
        if listed is not None:
            return listed
        default = known.ATTENTION_INTERVAL[architecture]
        interval = data.number("full_attention_interval", default)
        if not interval:
            raise data.broken("full_attention_interval", "is 0")
        return tuple((i + 1) % interval != 0 for i in range(trunk))
    return (False,) * trunk


def _sliding(data: Metadata, count: int, nextn: int, recurrent: Sequence[bool]) -> tuple[bool, ...]:
    architecture, trunk = data.header.architecture, count - nextn
    window = data.number("attention.sliding_window", 0)
    if architecture == "deepseek4":
        return (True,) * count
    if architecture in known.SLIDING_WHEN_ATTENDING and window:
        return (*(not recurs for recurs in recurrent), *(False,) * nextn)
    rule = known.SLIDING.get(architecture)
    said_none = data.header.value("attention.sliding_window") == 0
    if rule is None or said_none or not (window or rule.window) or (rule.layers and rule.layers != trunk):
        return (False,) * count
    listed = data.pattern("attention.sliding_window_pattern", trunk)
    if listed is not None:
        rest = data.pattern("attention.sliding_window_pattern", min(count, _length(data)))
        return (*(rest or listed), *(False,) * count)[:count]
    period = data.number("attention.sliding_window_pattern", rule.period)
    dense = 0 if rule.dense_first else period - 1
    return (*(not period or i % period != dense for i in range(trunk)), *(False,) * nextn)


def _length(data: Metadata) -> int:
    value = data.header.value("attention.sliding_window_pattern")
    return len(value) if isinstance(value, tuple) else 0


def model_window(data: Metadata, layers: Sequence[LlamaLayer]) -> int:
    """Tokens that sliding layers see; 0 where there are none."""
    if not any(layer.sliding for layer in layers):
        return 0
    rule = known.SLIDING.get(data.header.architecture)
    if data.header.architecture == "llama4" and rule is not None:
        return rule.window  # whatever the file says, unless it says 0
    return data.number("attention.sliding_window", rule.window if rule else 0)


def _first_shared(data: Metadata, count: int) -> int:
    """The first layer that uses another layer's keys and values."""
    if data.header.architecture == "gemma3n":
        return 20
    if data.header.architecture == "gemma4":
        return max(0, count - data.number("attention.shared_kv_layers", 0))
    return count


def model_mla(data: Metadata) -> Mla | None:
    """The widths of a latent attention; None where keys and values are cached as they are."""
    key = data.number("attention.key_length_mla", 0)
    value = data.number("attention.value_length_mla", 0)
    if not key or not value:
        return None
    rank = data.number("attention.kv_lora_rank", 0)
    return Mla(key, value, rank, data.number("rope.dimension_count", 0))


def model_recurrence(data: Metadata, layers: Sequence[LlamaLayer], embedding: int) -> Recurrence | None:
    """Rows of the two states: `llama_hparams::n_embd_r` and `n_embd_s`."""
    if not any(layer.recurrent for layer in layers):
        return None
    kernel, inner = data.number("ssm.conv_kernel", 0), data.number("ssm.inner_size", 0)
    state, groups = data.number("ssm.state_size", 0), data.number("ssm.group_count", 0)
    rank = data.number("ssm.time_step_rank", 0)
    wkv, short = data.number("wkv.head_size", 0), data.number("shortconv.l_cache", 0)
    kda = data.number("kda.head_dim", 0)
    linear = layers[0].key if data.header.architecture == "minimax-01" else 0
    heads = layers[0].heads
    if wkv:
        rows = (data.number("token_shift_count", 2) * embedding, embedding * wkv)
    elif short:
        rows = (embedding * (short - 1), state * inner)
    elif kda:
        rows = (3 * (kernel - 1 if kernel else 3) * heads * kda, kda * kda * heads)
    else:
        convolution = max(kernel - 1, 0) * (inner + 2 * groups * state)
        rows = (convolution, linear * linear * heads if linear else state * inner)
    rollback = data.header.architecture in known.ROLLBACK
    return Recurrence(*rows, kernel, inner, state, groups, rank, wkv or kda or linear, rollback)
