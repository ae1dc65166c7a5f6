"""Ollama's models: files named after their hashes, and manifests that say what they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from gpumod.discovery.values import FoundFile, GgufFiles

_MAGIC: Final = b"GGUF"
_LARGEST: Final = 1024 * 1024
_MOST: Final = 2000
_MODEL: Final = "application/vnd.ollama.image.model"
_PROJECTOR: Final = "application/vnd.ollama.image.projector"


def ollama_models(files: Iterable[FoundFile]) -> tuple[GgufFiles, ...]:
    """The GGUFs among Ollama's blobs, under their names in Ollama, with their projectors.

    A blob that no manifest names is called by its hash. What is no GGUF (licences, templates) is left out.
    """
    blobs = {
        file.path: file for file in files if file.folder.endswith("/blobs") and "-partial" not in file.name
    }
    ggufs = {path: file for path, file in blobs.items() if file.name.startswith("sha256-") and _is_gguf(path)}
    found: dict[str, GgufFiles] = {}
    projectors: set[str] = set()
    for store in sorted({file.folder.rpartition("/")[0] for file in ggufs.values()}):
        for name, layers in _manifests(Path(store, "manifests")):
            paths = {kind: f"{store}/blobs/{digest.replace(':', '-')}" for kind, digest in layers.items()}
            model, projector = paths.get(_MODEL), paths.get(_PROJECTOR)
            projectors |= {projector} if projector else set()
            if model in ggufs and model not in found:
                own = projector if projector in ggufs else None
                found[model] = GgufFiles(model, ggufs[model].size, name, own)
    for path, file in ggufs.items():
        if path not in found and path not in projectors:
            found[path] = GgufFiles(path, file.size, f"ollama-{file.name[7:19]}")
    return tuple(found[path] for path in sorted(found))


def _is_gguf(path: str) -> bool:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _manifests(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Every model's name, and its layers' digests by media type."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MOST:
                return
            layers = _layers(Path(place, name))
            if _MODEL in layers:
                # .../registry.ollama.ai/library/llama3/8b: the model's name and its tag.
                yield f"{Path(place).name}-{name}", layers


def _layers(manifest: Path) -> dict[str, str]:
    try:
        if manifest.stat().st_size > _LARGEST:
            return {}
        content: Any = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    layers = content.get("layers") if isinstance(content, dict) else None
    pairs = ((one.get("mediaType"), one.get("digest")) for one in layers or () if isinstance(one, dict))
    return {kind: digest for kind, digest in pairs if isinstance(kind, str) and isinstance(digest, str)}
