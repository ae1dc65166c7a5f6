"""Collects the metadata and tensors of a model, and writes them with a hole for the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gpumod.estimate.gguf.types import GGML_TYPES, TYPE_NUMBERS
from gpumod.testing.gguf_format import Entry, TensorInfo, Typed, aligned, gguf_header

_BYTES: Final = 256
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


@dataclass
class Model:
    """A model that is being put together: `llama.cpp` names for tensors and keys.

    Args:
        architecture: `general.architecture`.
        matrices: ggml's type of most matrices, such as `q4_k`.
        better: the type of those matrices that a mix such as Q4_K_M keeps in more bits.
    """

    architecture: str
    matrices: str = "q4_k"
    better: str = "q6_k"
    metadata: dict[str, Entry] = field(default_factory=dict)
    tensors: list[TensorInfo] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metadata["general.architecture"] = self.architecture

    def set(self, **values: Entry) -> None:
        """Set keys of the architecture; `__` stands for a dot: `attention__head_count=8`."""
        for key, value in values.items():
            self.metadata[f"{self.architecture}.{key.replace('__', '.')}"] = value

    def add(self, name: str, *shape: int, type: str = "") -> None:  # noqa: A002 - ggml's word
        """Add `name.weight`, or `name` itself if it ends in `.bias` or has `!` behind it.

        One dimension is f32. A type whose blocks do not divide the row becomes q8_0, else f16.
        """
        whole = name.rstrip("!") if name.endswith((".bias", "!")) else f"{name}.weight"
        wanted = type or (self.matrices if len(shape) > 1 else "f32")
        fitting = (kind for kind in (wanted, "q8_0", "f16") if not shape[0] % _block(kind))
        self.tensors.append(TensorInfo(whole, shape, next(fitting)))

    def in_mix(self, layer: int, layers: int) -> str:
        """The type of a value or down matrix: better in the layers that a Q4_K_M mix prefers.

        Source: `use_more_bits` in llama-quant.cpp.
        """
        eighth = layers // 8
        more = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
        return self.better if more else self.matrices

    def add_vocabulary(self, size: int) -> None:
        """A SentencePiece vocabulary: three control tokens, the bytes, and made-up words."""
        fixed = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(_BYTES))]
        kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * _BYTES
        words = size - len(fixed)
        self.metadata |= {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [*fixed, *(f"tok{number}" for number in range(words))],
            "tokenizer.ggml.scores": [0.0] * size,
            "tokenizer.ggml.token_type": kinds + [_NORMAL] * words,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }

    def write(self, path: Path, *, parts: int = 1) -> Path:
        """Write the file, or so many parts of it, and return the first one's path.

        Args:
            path: the file; parts are named after it as `gguf-split` does.
            parts: into how many files the tensors are dealt out.
        """
        if parts == 1:
            return write_sparse(path, self.metadata, self.tensors)
        paths = [path.with_name(f"{path.stem}-{at + 1:05d}-of-{parts:05d}.gguf") for at in range(parts)]
        for at, (part, tensors) in enumerate(zip(paths, self._dealt(parts), strict=True)):
            split: dict[str, Entry] = {
                "split.no": Typed("u16", at),
                "split.count": Typed("u16", parts),
                "split.tensors.count": Typed("i32", len(self.tensors)),
            }
            write_sparse(part, (self.metadata if at == 0 else {}) | split, tensors)
        return paths[0]

    def _dealt(self, parts: int) -> Iterator[list[TensorInfo]]:
        total = len(self.tensors)
        for at in range(parts):
            yield self.tensors[total * at // parts : total * (at + 1) // parts]


def write_sparse(path: Path, metadata: dict[str, Entry], tensors: list[TensorInfo]) -> Path:
    """Write a GGUF whose tensors are a hole in the file: they read as zeros and take no disk."""
    header = gguf_header(metadata, tensors)
    with path.open("wb") as out:
        out.write(header)
        out.truncate(len(header) + sum(aligned(tensor.size) for tensor in tensors))
    return path


def _block(kind: str) -> int:
    return GGML_TYPES[TYPE_NUMBERS[kind]].block
