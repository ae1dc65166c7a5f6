"""A model as llama.cpp sees it: everything that its memory follows from.

From llama.cpp's `llama_model_base::load_hparams` (`src/llama-model.cpp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray
from gpumod.estimate.llama import architectures as known
from gpumod.estimate.llama.blocks import (
    LlamaLayer,
    Mla,
    Recurrence,
    model_layers,
    model_mla,
    model_recurrence,
    model_window,
)
from gpumod.estimate.llama.metadata import Metadata
from gpumod.estimate.llama.tensors import LlamaTensor, model_tensors

__all__ = ["MOST_LAYERS", "LlamaLayer", "LlamaModel", "Mla", "Recurrence", "llama_model"]

MOST_LAYERS: Final = 1024
"""llama.cpp itself takes 512 (`LLAMA_MAX_LAYERS`)."""


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
    if not 0 < count <= MOST_LAYERS:
        raise data.broken("block_count", f"is {count}")
    nextn = data.number("nextn_predict_layers", 0)
    if nextn > count:
        raise data.broken("nextn_predict_layers", f"is {nextn} of {count} layers")
    layers = model_layers(data, count, nextn)
    embedding = data.number("embedding_length")
    if not embedding:
        raise data.broken("embedding_length", "is 0")
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
        window=model_window(data, layers),
        mla=model_mla(data),
        recurrence=model_recurrence(data, layers, embedding),
        indexer=data.number("attention.indexer.key_length", 0) if architecture in known.SPARSE else 0,
        causal=data.flag("attention.causal", default=True),
        memory=architecture not in known.WITHOUT_MEMORY,
        nextn_loadable=architecture not in known.NEXTN_SKIPPED,
        tied="output.weight" not in header.by_name and architecture not in known.WITHOUT_OUTPUT,
        unknown=known.unknown_reason(architecture),
    )


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
