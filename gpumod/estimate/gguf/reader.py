"""Reads the header of a model in GGUF: one file, or all parts of a split one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, Tensor
from gpumod.estimate.gguf.part import Part, read_part
from gpumod.estimate.gguf.source import Allowance, shown

_PART_NAME: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
"""`llama_split_path` in llama.cpp."""
_MOST_PARTS: Final = 1000
_NAMED_MISSING: Final = 3


def read_gguf(path: str | os.PathLike[str]) -> GgufHeader:
    """Read a model's header, without its tensors' data, and check that its files are complete.

    The format: docs/gguf.md of ggml; what is refused is what gguf.cpp and llama-model-loader.cpp refuse.
    Number arrays of more than 4096 values, string arrays of more than 64 and strings of more than 1 MiB are
    stepped over. Memory is bounded by 64 MiB and a window of 1 MiB; a real header takes about 2 MiB.

    Args:
        path: the file; of a split model any part.

    Raises:
        ModelFileError: a file is missing, unreadable, cut off, corrupt, or no little-endian GGUF of version 2
            or 3.
    """
    name = os.fspath(path)
    paths = gguf_files(name)
    allowance = Allowance()
    first = read_part(paths[0], 0, allowance)
    count = _number(first, "split.count")
    if count <= 1 and name == first.path:
        return _header([first])
    if count != len(paths):
        raise ModelFileError(_wrong_count(first.path, count, name))
    _must_be_first(first)
    _must_exist(paths)
    parts = [first, *(read_part(one, number, allowance) for number, one in enumerate(paths) if number)]
    _check_parts(parts)
    return _header(parts)


def gguf_files(path: str) -> tuple[str, ...]:
    """The files of the model that a file belongs to, by its name: all parts of a split one, else itself."""
    match = _PART_NAME.search(path)
    if match is None or not 0 < int(match[1]) <= int(match[2]) <= _MOST_PARTS:
        return (path,)
    stem, count = path[: match.start()], int(match[2])
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _must_be_first(first: Part) -> None:
    number = _number(first, "split.no")
    if number:
        raise ModelFileError(
            f"{first.path} says that it is part {number + 1}, not part 1: rename the files as they were"
        )


def _wrong_count(first: str, count: int, name: str) -> str:
    if count <= 1:
        return f"{first} says that it is a whole model, so {name} is no part of it"
    return (
        f"{first} says that it is the first of {count} parts, but its name does not: llama.cpp finds the "
        f"others by names that end in -00001-of-{count:05d}.gguf; rename the files as they were"
    )


def _must_exist(paths: tuple[str, ...]) -> None:
    missing = [path for path in paths if not os.path.lexists(path)]
    if missing:
        names = ", ".join(Path(path).name for path in missing[:_NAMED_MISSING])
        more = f" and {len(missing) - _NAMED_MISSING} more" if len(missing) > _NAMED_MISSING else ""
        raise ModelFileError(
            f"{paths[0]} is the first of {len(paths)} parts, of which {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing beside it: fetch {names}{more}"
        )


def _check_parts(parts: list[Part]) -> None:
    """What llama.cpp checks (`llama_model_loader`): the parts belong together and have all tensors."""
    for number, part in enumerate(parts):
        if _number(part, "split.no") != number or _number(part, "split.count") != len(parts):
            raise ModelFileError(
                f"{part.path} does not call itself part {number + 1} of {len(parts)}: it is another model's"
            )
    total = sum(len(part.tensors) for part in parts)
    claimed = _number(parts[0], "split.tensors.count", total)
    if total != claimed:
        raise ModelFileError(
            f"{parts[0].path} says that all parts have {claimed} tensors, but they have {total}: "
            "they do not belong together; fetch them again"
        )


def _header(parts: list[Part]) -> GgufHeader:
    first = parts[0]
    tensors: list[Tensor] = []
    seen: set[str] = set()
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in seen:
                raise ModelFileError(f"{part.path} has the tensor {shown(tensor.name)} twice; fetch it again")
            seen.add(tensor.name)
            tensors.append(tensor)
    files = tuple((part.path, part.size) for part in parts)
    return GgufHeader(first.path, first.metadata, tuple(tensors), files)


def _number(part: Part, key: str, default: int = 0) -> int:
    """A whole number of the metadata.

    Raises:
        ModelFileError: it is something else.
    """
    value = part.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelFileError(f"{part.path} is corrupt: its {key} is not a whole number; fetch it again")
    return value
