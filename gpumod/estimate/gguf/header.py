"""What a GGUF header says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that was too long to be worth keeping, such as a vocabulary; only its size is known."""

    length: int


Value = bool | int | float | str | tuple[bool, ...] | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
"""A metadata value; short arrays are tuples."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file.

    Args:
        name: for example `blk.0.attn_q.weight`.
        type: ggml's number of the type.
        shape: values per dimension, ggml's order: the row's length first.
        part: which file of a split model has it, from 0.
    """

    name: str
    type: int
    shape: tuple[int, ...]
    part: int = 0


@dataclass(frozen=True)
class GgufHeader:
    """The header of a model: of one file, or of all parts of a split one.

    Args:
        path: the first file.
        metadata: keys and values of the first file.
        tensors: of all files, in their order.
        files: every file's path with its size in bytes.
    """

    path: str
    metadata: Mapping[str, Value | SkippedArray]
    tensors: tuple[Tensor, ...]
    files: tuple[tuple[str, int], ...] = field(default=())

    @property
    def architecture(self) -> str:
        """`general.architecture`; empty where there is none."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @cached_property
    def by_name(self) -> Mapping[str, Tensor]:
        """The tensors by their names."""
        return {tensor.name: tensor for tensor in self.tensors}

    def value(self, key: str) -> Value | SkippedArray | None:
        """A value of this architecture: `block_count` is `llama.block_count`."""
        return self.metadata.get(f"{self.architecture}.{key}")
