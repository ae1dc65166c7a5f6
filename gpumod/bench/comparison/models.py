"""What a result says of the model: its name, its quantisation, its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

Files = tuple[tuple[str, int, int], ...]
"""Path, bytes, and when it was changed, in nanoseconds."""

_QUANT: Final = re.compile(
    r"(?:^|[-_.])("
    r"(?:UD[-_])?(?:I?Q[1-8](?:_[0-9A-Z]+)*|TQ[12]_0|BF16|F16|F32|FP16|MXFP4(?:_MOE)?|NVFP4)"
    r"|AWQ|GPTQ(?:[-_]INT[48])?|FP8|INT[48]|W[48]A(?:16|8)"
    r")(?=[-_.]|$)",
    re.IGNORECASE,
)
"""Names of quantisations as llama.cpp's file types and the checkpoints of Hugging Face have them."""
_SHARD: Final = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")


@dataclass(frozen=True, slots=True)
class Model:
    """What a service's files say of its model.

    Args:
        name: of the first file, without its quantisation; `-` where nothing is recorded.
        quantisation: `-` where neither the file nor its name says one.
        files: the model's own.
        further: a projector, a draft.
    """

    name: str
    quantisation: str
    files: Files
    further: Files


def split_name(path: str) -> tuple[str, str]:
    """(model, quantisation) by the name of a file or of a checkpoint's folder; empty where it says none."""
    stem = _SHARD.sub("", _stem(PurePosixPath(path)))
    found = list(_QUANT.finditer(stem))
    if not found:
        return stem, ""
    last = found[-1]
    return (stem[: last.start()] + stem[last.end() :]).strip("-_. "), last.group(1).upper()


def _stem(path: PurePosixPath) -> str:
    cached = [part for part in path.parts if part.startswith("models--")]
    if cached and path.suffix != ".gguf":
        return cached[-1].removeprefix("models--").replace("--", "/")
    if path.suffix in {".safetensors", ".json"}:
        return path.parent.name
    return path.name.removesuffix(".gguf")


def files_of(service: Mapping[str, object]) -> Files:
    """The recorded files of a service."""
    files = service.get("files")
    found = [one for one in files if isinstance(one, Mapping)] if isinstance(files, list | tuple) else []
    return tuple((str(one.get("path")), _int(one.get("size")), _int(one.get("modified_ns"))) for one in found)


def model_of(service: Mapping[str, object]) -> Model:
    """A service's model, by its first file."""
    files = files_of(service)
    if not files:
        return Model("-", "-", (), ())
    name = split_name(files[0][0])
    own = tuple(one for one in files if split_name(one[0]) == name)
    further = tuple(one for one in files if one not in own)
    return Model(name[0] or "-", _quantisation(service, name[1]) or "-", own, further)


def _quantisation(service: Mapping[str, object], named: str) -> str:
    """By the first file's header, as far as it was read; names add what headers do not know, such as `UD`."""
    files = service.get("files")
    first = files[0] if isinstance(files, list | tuple) and files else None
    read = str(first.get("quant") or "") if isinstance(first, Mapping) else ""
    if not read or read.upper() == named:
        return named
    return f"{read} (named {named})" if named else read


def shown_files(every: Sequence[Files]) -> tuple[str, ...]:
    """Files as short as still tells them apart."""
    for shown in (_by_name, _by_path):
        texts = tuple(shown(files) if files else "-" for files in every)
        if len(set(texts)) == len(set(every)):
            return texts
    return tuple(_by_change(files) if files else "-" for files in every)


def _by_name(files: Files) -> str:
    return _shown(PurePosixPath(files[0][0]).name, files)


def _by_path(files: Files) -> str:
    return _shown(files[0][0], files)


def _by_change(files: Files) -> str:
    return f"{_by_path(files)}, changed at {', '.join(str(changed) for _, _, changed in files)} ns"


def _shown(name: str, files: Files) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{name}{more} ({sum(size for _, size, _ in files)} bytes)"


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
