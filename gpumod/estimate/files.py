"""Which files hold a service's weights, and how large they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gpumod.core.spec import ServiceSpec

_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})(\.gguf)$")
_MOST_SHARDS: Final = 1000
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".gguf")


def model_files(spec: ServiceSpec) -> tuple[str, ...]:
    """The model with all its shards, the projector and the draft model, as paths, folders or hub names."""
    named = (spec.model, spec.mmproj, spec.draft.model if spec.draft else None)
    return tuple(dict.fromkeys(part for name in named if name for part in _shards(name)))


def size_on_disk(path: str) -> int | None:
    """Bytes of a file, or of the weights directly in a folder; None where there are none to be seen.

    A model by its hub's name (`org/model`) is no path and has no size here.
    """
    if not path.startswith("/"):
        return None
    place = Path(path)
    try:
        if not place.is_dir():
            return place.stat().st_size
        weights = [one for one in place.iterdir() if one.suffix in _WEIGHTS]
        # A checkpoint in both formats is loaded from safetensors alone.
        preferred = [one for one in weights if one.suffix == ".safetensors"] or weights
        return sum(one.stat().st_size for one in preferred) or None
    except OSError:
        return None


def _shards(path: str) -> tuple[str, ...]:
    match = _SHARD.search(path)
    if match is None or not 0 < int(match[2]) <= _MOST_SHARDS:
        return (path,)
    stem, count = path[: match.start()], int(match[2])
    return tuple(f"{stem}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))
