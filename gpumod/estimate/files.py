"""Which files hold a service's weights, how large they are, and whether they are still the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.core.spec import ServiceSpec
from gpumod.estimate.vllm.hub import find_model

_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})(\.gguf)$")
_MOST_SHARDS: Final = 1000
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".gguf")
_CONFIGURATION: Final = (".json",)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What is at a path.

    Args:
        size: bytes of the file, or of the weights directly in the folder.
        identity: (size, time of change in ns, inode) of each file, so that another file under the same
            path is another one, and the same file under another path is not.
    """

    size: int
    identity: tuple[tuple[int, int, int], ...] = ()


LookAt = Callable[[str], OnDisk | None]
"""What is at a path; None where nothing can be seen."""


def model_files(spec: ServiceSpec) -> tuple[str, ...]:
    """The model with all its shards, the projector and the draft model, as paths, folders or hub names."""
    named = (spec.model, spec.mmproj, spec.draft.model if spec.draft else None)
    return tuple(dict.fromkeys(part for name in named if name for part in shards(name)))


def on_disk(path: str, caches: tuple[Path, ...] = ()) -> OnDisk | None:
    """The file at a path, or the weights and their configuration directly in a folder.

    None where there is nothing to be seen.

    Args:
        path: an absolute path, or a model's name on the hub (`org/model`).
        caches: where models of the hub may lie.
    """
    place = Path(path) if path.startswith("/") else find_model(path, caches)
    if place is None:
        return None
    try:
        if not place.is_dir():
            return OnDisk(place.stat().st_size, (_identity(place),))
        files = list(place.iterdir())
        weights = [one for one in files if one.suffix in _WEIGHTS]
        # A checkpoint in both formats is loaded from safetensors alone.
        preferred = [one for one in weights if one.suffix == ".safetensors"] or weights
        size = sum(one.stat().st_size for one in preferred)
        configuration = [one for one in files if one.suffix in _CONFIGURATION]
        identity = tuple(sorted(map(_identity, (*preferred, *configuration))))
        return OnDisk(size, identity) if identity else None
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns, found.st_ino)


def shards(path: str) -> Iterator[str]:
    """All parts of a split GGUF by the name of any of them; other paths are their own only part."""
    match = _SHARD.search(path)
    if match is None or not 0 < int(match[2]) <= _MOST_SHARDS:
        yield path
        return
    stem, count = path[: match.start()], int(match[2])
    for number in range(1, count + 1):
        yield f"{stem}-{number:05d}-of-{count:05d}.gguf"
