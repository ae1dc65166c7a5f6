"""Small llama models with random weights, written with the standard library alone.

A model made here loads in llama.cpp like any other and answers on every endpoint. The output matrix's rows of
control and byte tokens are zero and the others are large: the end-of-text token is never chosen, so a request
runs to its `max_tokens`, and what it says is printable ASCII.
"""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from gpumod.testing.gguf_format import Entry, TensorInfo, aligned, gguf_header

_BLOCK: Final = 16381
"""Values in the random block that all matrices are cut from: a prime, so that no two rows are alike."""

_FILE_TYPES: Final = {"f32": 0, "f16": 1}

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_TEMPLATE: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model; they decide its size, its load time and its speed.

    Args:
        context: tokens that it says it was trained on.
        dtype: `f16` or `f32`, of the matrices.
    """

    layers: int = 2
    embedding: int = 64
    feed_forward: int = 256
    heads: int = 4
    context: int = 4096
    vocabulary: int = 512
    dtype: str = "f32"

    @property
    def layer_bytes(self) -> int:
        """Bytes of one layer's tensors, without padding."""
        width = 4 if self.dtype == "f32" else 2
        matrices = 4 * self.embedding**2 + 3 * self.embedding * self.feed_forward
        return matrices * width + 2 * self.embedding * 4


TINY: Final = Shape()
"""0.7 MB; loads in milliseconds and is too fast to keep a request in flight."""

MEDIUM: Final = Shape(layers=8, embedding=1024, feed_forward=4096, heads=16, dtype="f16")
"""270 MB; some 50 tokens per second on one core: for drains."""


def of_size(size: int, shape: Shape = replace(MEDIUM, embedding=512, feed_forward=2048, heads=8)) -> Shape:  # noqa: B008 - a frozen value
    """The shape with as many layers as make a file of about `size` bytes."""
    return replace(shape, layers=max(1, round(size / shape.layer_bytes)))


def write_gguf(path: Path, shape: Shape = TINY, *, name: str = "random", seed: int = 0) -> Path:
    """Write a model and return its path.

    Args:
        path: the file to write; an existing one is replaced as a whole.
        shape: its dimensions.
        name: `general.name` in its metadata.
        seed: equal seeds give equal files.
    """
    tokens = tuple(_vocabulary(shape.vocabulary))
    tensors = tuple(_tensors(shape, tokens))
    infos = [TensorInfo(tensor.name, tensor.dimensions, tensor.dtype) for tensor in tensors]
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as out:
        out.write(gguf_header(_metadata(shape, tokens, name), infos))
        blocks = _Blocks(seed)
        for tensor in tensors:
            blocks.write(out, tensor)
            _pad(out)
    return partial.rename(path)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor. `spread` is the standard deviation of its values; 0 means that all are one."""

    name: str
    dimensions: tuple[int, ...]
    dtype: str
    spread: float = 0.0
    zero_rows: int = 0

    @property
    def values(self) -> int:
        return self.dimensions[0] * (self.dimensions[1] if len(self.dimensions) > 1 else 1)

    @property
    def size(self) -> int:
        return self.values * (4 if self.dtype == "f32" else 2)


class _Blocks:
    """Random blocks by type and spread; a matrix is a block repeated, begun somewhere else each time."""

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)
        self._unit = [source.gauss(0.0, 1.0) for _ in range(_BLOCK)]
        self._made: dict[tuple[str, float], bytes] = {}
        self._begin = 0

    def write(self, out: BinaryIO, tensor: _Tensor) -> None:
        """Write the tensor's data."""
        if not tensor.spread:
            out.write(array("f", [1.0] * tensor.values).tobytes())
            return
        width = tensor.size // tensor.values
        zeros = tensor.zero_rows * tensor.dimensions[0] * width
        out.write(bytes(zeros))
        left = tensor.size - zeros
        self._begin = (self._begin + 4099) % _BLOCK
        block = self._block(tensor.dtype, tensor.spread)
        view = memoryview(block)[self._begin * width :]
        while left:
            left -= out.write(view[:left])
            view = memoryview(block)

    def _block(self, dtype: str, spread: float) -> bytes:
        key = (dtype, spread)
        if key not in self._made:
            code = "f" if dtype == "f32" else "e"
            one = struct.pack(f"<{_BLOCK}{code}", *(value * spread for value in self._unit))
            self._made[key] = one * 64
        return self._made[key]


def _vocabulary(size: int) -> Iterator[_Token]:
    """A SentencePiece vocabulary with byte fallback, and two control tokens for the chat template."""
    yield _Token("<unk>", 0, _UNKNOWN)
    yield _Token("<s>", 0, _CONTROL)
    yield _Token("</s>", 0, _CONTROL)
    for byte in range(256):
        yield _Token(f"<0x{byte:02X}>", 0, _BYTE)
    yield _Token("<|im_start|>", 0, _CONTROL)
    yield _Token("<|im_end|>", 0, _CONTROL)
    yield _Token("\u2581", -1, _NORMAL)
    for code in range(0x21, 0x7F):
        yield _Token(chr(code), -2 - code / 1000, _NORMAL)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for number in range(size - 356):
        last = letters[number // 676 % 26] if number >= 676 else ""
        yield _Token(letters[number % 26] + letters[number // 26 % 26] + last, -10 - number / 100, _NORMAL)


def _tensors(shape: Shape, tokens: tuple[_Token, ...]) -> Iterator[_Tensor]:
    width, inner, dtype = shape.embedding, shape.feed_forward, shape.dtype
    narrow, wide = width**-0.5, inner**-0.5
    special = next(index for index, token in enumerate(tokens) if token.kind == _NORMAL)
    yield _Tensor("token_embd.weight", (width, len(tokens)), dtype, 1.0)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        yield _Tensor(f"{prefix}attn_norm.weight", (width,), "f32")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield _Tensor(f"{prefix}{part}.weight", (width, width), dtype, narrow)
        yield _Tensor(f"{prefix}ffn_norm.weight", (width,), "f32")
        yield _Tensor(f"{prefix}ffn_gate.weight", (width, inner), dtype, narrow)
        yield _Tensor(f"{prefix}ffn_up.weight", (width, inner), dtype, narrow)
        yield _Tensor(f"{prefix}ffn_down.weight", (inner, width), dtype, wide)
    yield _Tensor("output_norm.weight", (width,), "f32")
    yield _Tensor("output.weight", (width, len(tokens)), dtype, 10 * narrow, zero_rows=special)


def _metadata(shape: Shape, tokens: tuple[_Token, ...], name: str) -> dict[str, Entry]:
    return {
        "general.architecture": "llama",
        "general.name": name,
        "general.file_type": _FILE_TYPES[shape.dtype],
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.embedding,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.embedding // shape.heads,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [token.text for token in tokens],
        "tokenizer.ggml.scores": [float(token.score) for token in tokens],
        "tokenizer.ggml.token_type": [token.kind for token in tokens],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": _TEMPLATE,
    }


def _pad(out: BinaryIO) -> None:
    here = out.tell()
    out.write(bytes(aligned(here) - here))
