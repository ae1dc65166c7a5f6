"""A model as llama.cpp sees it: everything that its memory follows from.

From llama.cpp's `llama_model_base::load_hparams` (`src/llama-model.cpp`) and `src/llama-hparams.cpp`; the
names of its fields are given where ours differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray
from gpumod.estimate.llama import architectures as known
from gpumod.estimate.llama.metadata import Metadata
from gpumod.estimate.llama.tensors import LlamaTensor, model_tensors

_MOST_LAYERS: Final = 1024
"""llama.cpp itself takes 512 (`LLAMA_MAX_LAYERS`)."""


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


@dataclass(frozen=True, eq=False)
class LlamaModel:
    """A model's dimensions; one is equal to itself only, so that what follows from it can be cached.

    Args:
        header: the file's header; its tensors are the weights.
        architecture: `general.architecture`.
        layers: all blocks, those for multi-token prediction (`nextn` of them) last.
        tensors: the weights.
        embedding: values per token between the layers (`n_embd`).
        embedding_in: the same of a picture's tokens, which may bring more for the first layers (deepstack).
        embedding_out: the same of what embeddings are returned in.
        vocabulary: tokens.
        trained_context: tokens it was trained on.
        rope: rotated values per head.
        positions: positions per token: 1, or 4 for models that see pictures so.
        experts: how many experts a layer with experts has; 0 for dense models.
        shared_feed_forward: width of the shared experts together.
        window: tokens that sliding layers see.
        mla: None where keys and values are cached as they are.
        recurrence: None where no layer recurs.
        indexer: width of a sparse attention's index per token.
        causal: a token sees only those before it.
        memory: whether anything is kept between batches; encoders keep nothing.
        nextn_loadable: whether llama.cpp can load the blocks for multi-token prediction at all.
        tied: the output is the input's embedding matrix.
        unknown: why the formulas may not hold, as a sentence; empty where they do.
    """

    header: GgufHeader = field(repr=False)
    architecture: str
    layers: tuple[LlamaLayer, ...]
    tensors: tuple[LlamaTensor, ...]
    embedding: int
    embedding_in: int
    embedding_out: int
    vocabulary: int
    trained_context: int
    nextn: int = 0
    rope: int = 0
    positions: int = 1
    experts: int = 0
    shared_feed_forward: int = 0
    window: int = 0
    mla: Mla | None = None
    recurrence: Recurrence | None = None
    indexer: int = 0
    causal: bool = True
    memory: bool = True
    nextn_loadable: bool = True
    tied: bool = False
    unknown: str = ""

    @property
    def trunk(self) -> tuple[LlamaLayer, ...]:
        """The layers without those for multi-token prediction."""
        return self.layers[: len(self.layers) - self.nextn]

    @property
    def sliding(self) -> bool:
        """Whether it has sliding layers, and so two caches."""
        return any(layer.sliding for layer in self.layers)


def llama_model(header: GgufHeader) -> LlamaModel:
    """The model in a file.

    Raises:
        ModelFileError: the header has not what llama.cpp needs to load it.
    """
    architecture = header.architecture
    if not architecture:
        raise ModelFileError(f"{header.path}: the header names no architecture: it is no model for llama.cpp")
    if architecture == "clip":
        raise ModelFileError(
            f"{header.path} is a projector: set it as `mmproj`, and the language model as `model`"
        )
    data = Metadata(header)
    count = data.number("block_count")
    if not 0 < count <= _MOST_LAYERS:
        raise data.broken("block_count", f"is {count}")
    nextn = data.number("nextn_predict_layers", 0)
    if nextn > count:
        raise data.broken("nextn_predict_layers", f"is {nextn} of {count} layers")
    layers = _layers(data, count, nextn)
    embedding = data.number("embedding_length")
    return LlamaModel(
        header=header,
        architecture=architecture,
        layers=layers,
        tensors=model_tensors(header, count),
        embedding=embedding,
        embedding_in=embedding * (1 + _deepstack(data)),
        embedding_out=data.number("embedding_length_out", 0) or embedding,
        vocabulary=_vocabulary(header),
        trained_context=data.number("context_length"),
        nextn=nextn,
        rope=data.number("rope.dimension_count", layers[0].key),
        positions=_positions(data),
        experts=data.number("expert_count", 0),
        shared_feed_forward=_shared(data, layers),
        window=_window(data, layers),
        mla=_mla(data),
        recurrence=_recurrence(data, layers, embedding),
        indexer=data.number("attention.indexer.key_length", 0) if architecture in known.SPARSE else 0,
        causal=data.flag("attention.causal", default=True),
        memory=architecture not in known.WITHOUT_MEMORY,
        nextn_loadable=architecture not in known.NEXTN_SKIPPED,
        tied="output.weight" not in header.by_name and architecture not in known.WITHOUT_OUTPUT,
        unknown=known.unknown_reason(architecture),
    )


def _layers(data: Metadata, count: int, nextn: int) -> tuple[LlamaLayer, ...]:
    heads = data.numbers("attention.head_count", count, 0)
    kv_heads = heads
    if data.header.value("attention.head_count_kv") is not None:
        kv_heads = data.numbers("attention.head_count_kv", count)
    feed_forward = data.numbers("feed_forward_length", count, 0)
    expert = data.numbers("expert_feed_forward_length", count, 0)
    used = data.numbers("expert_used_count", count, 0)
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


def _window(data: Metadata, layers: Sequence[LlamaLayer]) -> int:
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


def _mla(data: Metadata) -> Mla | None:
    key = data.number("attention.key_length_mla", 0)
    value = data.number("attention.value_length_mla", 0)
    if not key or not value:
        return None
    rank = data.number("attention.kv_lora_rank", 0)
    return Mla(key, value, rank, data.number("rope.dimension_count", 0))


def _recurrence(data: Metadata, layers: Sequence[LlamaLayer], embedding: int) -> Recurrence | None:
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


def _shared(data: Metadata, layers: Sequence[LlamaLayer]) -> int:
    width = data.number("expert_shared_feed_forward_length", 0)
    expert = max(layer.expert_feed_forward for layer in layers)
    return width or data.number("expert_shared_count", 0) * expert


def _positions(data: Metadata) -> int:
    if data.header.architecture in known.FOUR_POSITIONS:
        return 4
    sections = data.header.value("rope.dimension_sections")
    if data.header.architecture in {"glm4", "glm4moe", "hunyuan_vl", "bailingmoe3"}:
        return 4 if isinstance(sections, tuple) and len(sections) > 1 and all(sections[:2]) else 1
    return 1


def _deepstack(data: Metadata) -> int:
    """How many layers take something of a picture besides its embedding."""
    mapping = data.header.value("deepstack_mapping")
    if isinstance(mapping, tuple):
        return len({one for one in mapping if isinstance(one, int) and one >= 0})
    return data.number("n_deepstack_layers", 0)


def _vocabulary(header: GgufHeader) -> int:
    """Tokens: the tokenizer's list, else the rows of the embedding matrix."""
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, SkippedArray):
        return tokens.length
    if isinstance(tokens, tuple):
        return len(tokens)
    matrix = header.by_name.get("token_embd.weight")
    if matrix is not None and len(matrix.shape) > 1:
        return matrix.shape[1]
    value = header.value("vocab_size")
    return value if isinstance(value, int) else 0
