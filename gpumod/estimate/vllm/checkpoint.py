"""A model's folder: its configuration, and the sizes of its tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.vllm.config import read_model
from gpumod.estimate.vllm.hub import find_model
from gpumod.estimate.vllm.jsonfile import load
from gpumod.estimate.vllm.model import Model
from gpumod.estimate.vllm.safetensors import DTYPE_BITS, LARGEST_HEADER, Entry, read_header

UNREAD: Final = "weights that were not read"
"""The name of weights whose tensors cannot be told apart: pickled files, and shards that are missing."""
DRAFTER: Final = "mtp."
"""What the names of a draft module's tensors begin with here, whatever they are called in the file."""

_MISTRAL: Final = "params.json"
"""The configuration of models in Mistral's format, in the place of config.json."""
_INDEX: Final = "model.safetensors.index.json"
_LARGEST_INDEX: Final = LARGEST_HEADER
_MOST_FILES: Final = 2000
_PICKLED: Final = (".bin", ".pt", ".pth")
_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.|$)")
_LAYER: Final = re.compile(r"(?:^|\.)layers\.(\d{1,6})\.")
_DRAFTING: Final = re.compile(r"(?:^|\.)mtp(?:_\w+)?\.")
"""`mtp.`, and of MiMo and Ernie `mtp_layers.`, `mtp_block.`, `mtp_emb_norm.` ... (vLLM's models/*_mtp.py)."""
_TOWER: Final = re.compile(r"vis(?:ion|ual)|audio|image|mm_|encoder")


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors that differ in nothing but the numbers in their names.

    Args:
        name: of all of them, `#` in the place of numbers: `model.layers.#.mlp.up_proj.weight`.
        dtype: safetensors' name of the type.
        shape: of one of them.
        count: how many there are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    count: int = 1

    @property
    def values(self) -> int:
        """Values of all of them together."""
        product = self.count
        for one in self.shape:
            product *= one
        return product

    @property
    def size(self) -> int:
        """Bytes of all of them together."""
        return (self.values * DTYPE_BITS[self.dtype] + 7) // 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a model's folder says.

    Args:
        path: the folder.
        model: from its configuration.
        tensors: of the weight files; empty where there is only a configuration.
        files: paths of weight files and their bytes.
        missing: weight files that the index names and that are not there.
    """

    path: str
    model: Model
    tensors: tuple[TensorGroup, ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(group.size for group in self.tensors)

    @property
    def has_drafter(self) -> bool:
        """Whether a draft module (MTP) can be loaded: it is in the files, or there are no files to say."""
        if not self.tensors:
            return self.model.drafter_layers > 0
        return any(group.name.startswith(DRAFTER) or group.name == UNREAD for group in self.tensors)


def read_checkpoint(path: str, caches: Iterable[Path] = ()) -> Checkpoint:
    """Read a model's folder: config.json, the index and the headers of its safetensors files.

    Args:
        path: the folder, or a name on the hub.
        caches: where models of the hub may lie on this box, as for `find_model`.

    Raises:
        ModelFileError: there is no such folder, or a file of it is missing, cut off or hostile.
    """
    folder = find_model(path, caches)
    if folder is None:
        raise _no_folder(path)
    if (folder / _MISTRAL).is_file() and not (folder / "config.json").is_file():
        raise ModelFileError(
            f"{folder / _MISTRAL}: Mistral's own format is not known here: its memory cannot be told",
            broken=False,
        )
    model = read_model(load(folder / "config.json"))
    names, total = _named(folder)
    present = [folder / name for name in names if (folder / name).is_file()]
    missing = tuple(name for name in names if not (folder / name).is_file())
    groups = list(_groups((entry for file in present for entry in read_header(file)), model.layers))
    known = sum(group.size for group in groups)
    if missing and total > known:
        groups.append(TensorGroup(UNREAD, "U8", (total - known,)))
    pickled = () if names else tuple(_with_suffix(folder, _PICKLED))
    groups.extend(TensorGroup(UNREAD, "U8", (_size(file),)) for file in pickled)
    files = tuple((str(file), _size(file)) for file in (*present, *pickled))
    return Checkpoint(str(folder), model, tuple(groups), files, missing)


def checkpoint_files(path: str, caches: Iterable[Path] = ()) -> tuple[str, ...]:
    """The files that `read_checkpoint` would read, by whose identity its answer can be kept.

    Raises:
        ModelFileError: there is no such folder, or its index is broken.
    """
    folder = find_model(path, caches)
    if folder is None:
        raise _no_folder(path)
    names, _ = _named(folder)
    weights = [folder / name for name in names] or list(_with_suffix(folder, _PICKLED))
    index = [folder / _INDEX] if (folder / _INDEX).is_file() else []
    return tuple(map(str, (folder / "config.json", folder / _MISTRAL, *index, *weights)))


def _no_folder(path: str) -> ModelFileError:
    """VLLM also takes a single GGUF, whose memory in vLLM is not known here."""
    if path.endswith(".gguf"):
        return ModelFileError(f"{path}: what vLLM takes for a GGUF is not known here", broken=False)
    return ModelFileError(f"{path}: no folder on this box has this model: check the preset's `model`")


def _named(folder: Path) -> tuple[list[str], int]:
    """Names of the weight files, and their bytes together where an index says them."""
    index = folder / _INDEX
    if not index.is_file():
        return [file.name for file in _with_suffix(folder, (".safetensors",))], 0
    values = load(index, _LARGEST_INDEX)
    places = values.inner("weight_map")
    if places is None:
        raise values.wrong("weight_map", None, "an object")
    names = {name for name in places.data.values() if isinstance(name, str)}
    if len(names) > _MOST_FILES or any("/" in name or name.startswith(".") for name in names):
        raise values.wrong("weight_map", names, f"an object of at most {_MOST_FILES} names of files")
    metadata = values.inner("metadata")
    total = metadata.whole("total_size", most=2**50) if metadata is not None else None
    return sorted(names), total or 0


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix in suffixes and one.is_file())
    except OSError:
        return
    yield from found[:_MOST_FILES]


def _groups(entries: Iterable[Entry], layers: int) -> Iterator[TensorGroup]:
    """Entries that differ only in numbers, together. A layer beyond the model's own is its draft module."""
    counted: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    for entry in entries:
        name = _NUMBER.sub("#", entry.name)
        layer = _LAYER.search(entry.name)
        if layer is not None and int(layer[1]) >= layers and not _TOWER.search(entry.name):
            name = DRAFTER + name
        elif own := _DRAFTING.search(name):
            name = DRAFTER + name[own.end() :]
        counted[name, entry.dtype, entry.shape] += 1
    for (name, dtype, shape), count in counted.items():
        yield TensorGroup(name, dtype, shape, count)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
