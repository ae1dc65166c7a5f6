"""The files of a model's folder, as an index of its weights names them."""

from __future__ import annotations

import json
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

_INDEX: Final = "model.safetensors.index.json"
_LARGEST_INDEX: Final = 64 * 1024**2
"""Bytes. That of 61 layers with 384 experts each has twelve million."""
_MOST_FILES: Final = 2000


def checkpoint_files(folder: Path) -> tuple[str, ...]:
    """Paths of what has to be in a folder that vLLM loads; a missing folder shows as missing files.

    Reads the index, which a slow disk can hold up: not for the event loop.
    """
    config = str(folder / "config.json")
    try:
        found = (folder / _INDEX).stat()
        names = _named(str(folder / _INDEX), found.st_size, found.st_mtime_ns, found.st_ino)
    except (OSError, ValueError):
        names = ()
    if names:
        return (config, str(folder / _INDEX), *(str(folder / name) for name in names))
    weights = sorted(map(str, folder.glob("*.safetensors")))[:_MOST_FILES]
    return (config, *(weights or [str(folder / "model.safetensors")]))


@lru_cache(maxsize=64)
def _named(index: str, size: int, modified_ns: int, inode: int) -> tuple[str, ...]:
    """Names of an index, kept as long as the file is the same; none of one that no vLLM has written."""
    del size, modified_ns, inode  # they are the key
    try:
        places = json.loads(_content(index))["weight_map"]
        names = {name for name in places.values() if isinstance(name, str)}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return ()
    strange = any("/" in name or "\0" in name or name.startswith(".") for name in names)
    return () if strange or len(names) > _MOST_FILES else tuple(sorted(names))


def _content(path: str) -> bytes:
    """A regular file's bytes, or nothing: to open a pipe would wait for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        content = file.read(_LARGEST_INDEX + 1)
    return content if len(content) <= _LARGEST_INDEX else b""
