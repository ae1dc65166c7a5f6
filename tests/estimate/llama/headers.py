"""Headers made by hand, for formulas that need no file."""

from dataclasses import replace

from gpumod.core.spec import ServiceSpec
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray, Tensor
from gpumod.estimate.gguf.types import TYPE_NUMBERS
from gpumod.estimate.llama.model import LlamaModel, llama_model
from gpumod.estimate.llama.setting import LlamaSetting, llama_setting
from tests.engines.processes import spec_of

LLAMA_8B = {
    "block_count": 32,
    "context_length": 131072,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
    "rope.dimension_count": 128,
}


def header(architecture="llama", tensors=(), **keys) -> GgufHeader:
    """A header of the 8B shape; `__` in a key stands for a dot, None takes a key away."""
    values = LLAMA_8B | {key.replace("__", "."): value for key, value in keys.items()}
    metadata = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    metadata |= {"general.architecture": architecture, "tokenizer.ggml.tokens": SkippedArray(128256)}
    made = tuple(Tensor(name, TYPE_NUMBERS[kind], tuple(shape)) for name, kind, shape in tensors)
    return GgufHeader("/models/m.gguf", metadata, made)


def model(architecture="llama", tensors=(), **keys) -> LlamaModel:
    """The model of such a header."""
    return llama_model(header(architecture, tensors, **keys))


def setting(
    of: LlamaModel, count=1, *, on_host=False, spec: ServiceSpec | None = None, **keys
) -> LlamaSetting:
    """A launch; `keys` are the spec's."""
    chosen = replace(spec, **keys) if spec is not None else spec_of(**keys)
    return llama_setting(chosen, of, count, on_host=on_host)
