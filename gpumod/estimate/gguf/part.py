"""One file of a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import SkippedArray, Tensor, Value
from gpumod.estimate.gguf.magic import check_magic
from gpumod.estimate.gguf.metadata import read_metadata
from gpumod.estimate.gguf.source import Allowance, Source
from gpumod.estimate.gguf.tensors import check_data, read_tensors
from gpumod.estimate.regular import open_regular

_SMALLEST_ENTRY: Final = 13
"""Bytes of a metadata entry with a key of no letters and a value of one byte."""
_SMALLEST_TENSOR: Final = 24
"""Bytes of a tensor without a name and without dimensions."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one file's header says.

    Args:
        size: of the file, in bytes.
    """

    path: str
    size: int
    metadata: Mapping[str, Value | SkippedArray]
    tensors: tuple[Tensor, ...]


def read_part(path: str, number: int, allowance: Allowance) -> Part:
    """Read one file's header, and check that the file is complete.

    Args:
        path: a regular file.
        number: of the part, from 0; its tensors carry it.
        allowance: what reading all parts may still take.

    Raises:
        ModelFileError: the file cannot be read, is no GGUF, is cut off or corrupt.
    """
    with _opened(path) as (descriptor, size):
        source = Source(descriptor, path, size, allowance)
        check_magic(source)
        if size - source.position < 16:
            source.fail("ends after its first bytes: the download was cut off; fetch it again")
        tensor_count, entry_count = source.u64(), source.u64()
        if tensor_count * _SMALLEST_TENSOR + entry_count * _SMALLEST_ENTRY > source.left:
            source.fail(
                f"says that it has {tensor_count} tensors and {entry_count} metadata entries, which "
                f"{size} bytes cannot hold: the download was cut off or the file is corrupt; fetch it again"
            )
        metadata = read_metadata(source, entry_count)
        tensors, offsets = read_tensors(source, tensor_count, number)
        check_data(source, tensors, offsets, metadata)
    return Part(path, size, metadata, tuple(tensors))


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    """A descriptor of a regular file with the file's size."""
    try:
        file = open_regular(Path(path))
    except OSError as problem:
        raise ModelFileError(f"{path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise ModelFileError(f"{path!r} is no name that a file can have") from problem
    with file:
        yield file.fileno(), os.fstat(file.fileno()).st_size
