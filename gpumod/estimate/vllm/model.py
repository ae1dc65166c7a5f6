"""What a model's config.json says, as values that the formulas work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DTYPE_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "float": 4, "half": 2, "float64": 8}
"""Bytes per value of the types that weights and states are computed in."""


@dataclass(frozen=True, slots=True)
class Attention:
    """The cache of one attention layer, before it is divided over ranks.

    Args:
        heads: key and value heads; 1 for latent attention.
        key: values of a key per head; for latent attention the compressed width with its rotary part.
        value: values of a value per head; 0 for latent attention, which stores none.
        window: tokens of a sliding window; None where every token is kept.
        chunk: tokens of a local chunk; None where there are none.
        latent: multi-head latent attention: every rank holds the whole.
        raw: bytes per token that the layer stores besides or instead, whatever the cache's type.
    """

    heads: int
    key: int
    value: int
    window: int | None = None
    chunk: int | None = None
    latent: bool = False
    raw: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """The recurrent state of one layer and sequence, before it is divided over ranks.

    Args:
        convolved: channels of the short convolution, without `groups`.
        kernel: its width; `kernel` - 1 earlier values are kept.
        groups: groups of further convolved channels; each rank needs a whole one at least.
        group_width: channels per group.
        temporal: values of the state matrix.
        temporal_dtype: its type; None is the model's own.
        drafts: whether the convolution keeps a column per drafted token as well.
        chunk: tokens that the kernels work on at once.
        caches_all: whether vLLM can keep a state per block for its prefix cache.
    """

    convolved: int = 0
    kernel: int = 1
    groups: int = 0
    group_width: int = 0
    temporal: int = 0
    temporal_dtype: str | None = None
    drafts: bool = False
    chunk: int = 2048
    caches_all: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: how many, how many of them per token, their inner width."""

    count: int
    used: int
    width: int
    shared_width: int = 0
    dense_layers: int = 0
    """Leading layers without experts."""
    every: int = 1
    """Each so many layers has experts."""


@dataclass(frozen=True, slots=True)
class Latent:
    """The dimensions of multi-head latent attention."""

    rank: int
    rotary: int
    plain: int
    value: int
    query_rank: int = 0


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the checkpoint's linear layers are stored.

    Args:
        method: vLLM's name of it: awq, gptq, auto-round, compressed-tensors, fp8, mxfp4, modelopt ...
        bits: per weight; 0 where the configuration does not say.
        group: weights that share a scale; 0 is one scale per row.
        block: rows and columns that share a scale (block-wise fp8).
        zeros: whether there is a zero point per group.
        skipped: names of modules that are not quantised; a name holds for all that contain it.
    """

    method: str
    bits: int = 0
    group: int = 0
    block: tuple[int, int] = (0, 0)
    zeros: bool = False
    skipped: tuple[str, ...] = ()

    @property
    def is_fp8(self) -> bool:
        """Whether weights are 8-bit floats, which need compute capability 8.9 to be computed with."""
        return self.bits == 8 and self.method not in {"awq", "gptq", "auto-round", "bitsandbytes"}


@dataclass(frozen=True, slots=True)
class Vision:
    """The vision tower: its layers and widths."""

    layers: int
    hidden: int
    feed_forward: int
    patch_values: int = 0
    positions: int = 0
    merge: int = 1
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its config.json describes it. All sizes are of the whole model, before any division.

    Args:
        architecture: vLLM's class for it, for example `Qwen3ForCausalLM`.
        kind: `model_type` of the text model.
        dtype: what the model is stored in and, unless told otherwise, run in.
        context: tokens it was trained for, with the scaling that its configuration asks for.
        tied: the head is the embedding.
        biased: queries, keys and values have biases.
        head_norms: queries and keys are normalised per head.
        gated_query: queries come with a gate of their size.
        norms: per layer.
        has_vision: whether it comes with a tower for images, audio or video.
        vision: that tower's dimensions, where they are known.
        per_layer_inputs: width of a second embedding for every layer.
        encoder_only: no cache at all.
        attention: one entry per layer that has a cache of its own; layers that share another's have none.
        states: one entry per recurrent layer.
        drafter_layers: layers of the built-in draft module (MTP).
        rotary: values per head that are rotated by position.
        positions: that there are angles for, in layers without a window.
        sections: positions have three parts (time, height, width): the table of angles is four times as long.
        unknown: why the cache cannot be computed; empty where it can.
    """

    architecture: str
    kind: str
    dtype: str
    hidden: int
    layers: int
    vocabulary: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    context: int | None
    attention: tuple[Attention, ...] = ()
    states: tuple[State, ...] = ()
    tied: bool = False
    biased: bool = False
    head_norms: bool = False
    gated_query: bool = False
    norms: int = 2
    experts: Experts | None = None
    latent: Latent | None = None
    quantization: Quantization | None = None
    vision: Vision | None = None
    has_vision: bool = False
    drafter_layers: int = 0
    per_layer_inputs: int = 0
    encoder_only: bool = False
    rotary: int = 0
    positions: int = 0
    sections: bool = False
    unknown: str = ""

    def divides_heads(self, ranks: int) -> bool:
        """Whether so many ranks can share the attention heads; vLLM refuses to start otherwise."""
        return self.heads % ranks == 0
