"""Sorts files by their names: parts of one GGUF together, checkpoints as folders. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from gpumod.discovery.values import Candidates, Folder, FoundFile, GgufFiles, Skipped
from gpumod.discovery.walk import is_partial

_PART: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_SNAPSHOT: Final = re.compile(r"/models--(?P<repo>[^/]+)/snapshots/[^/]+")
_PIPELINE: Final = "model_index.json"


def sort(files: Iterable[FoundFile]) -> Candidates:
    """What may be models among the files, and what surely is none."""
    ggufs: list[FoundFile] = []
    folders: dict[str, list[FoundFile]] = defaultdict(list)
    skipped: list[Skipped] = []
    unfinished: dict[str, int] = defaultdict(int)
    for file in files:
        if not _is_text(file.path):
            skipped.append(Skipped(ascii(file.path)[1:-1], "its name is not UTF-8: rename it"))
        elif is_partial(file.name):
            if file.name.endswith(".incomplete"):
                unfinished[file.folder] += 1
            else:
                skipped.append(Skipped(file.path, "a download that is not complete"))
        elif file.name.endswith((".safetensors", ".json")):
            folders[file.folder].append(file)
        elif file.name.endswith(".gguf"):
            ggufs.append(file)
    skipped += [
        Skipped(
            folder,
            f"{count} downloads that are not complete" if count > 1 else "a download that is not complete",
        )
        for folder, count in unfinished.items()
    ]
    broken = {one.path.removesuffix(".aria2") for one in skipped if one.path.endswith(".aria2")}
    models, lost = _gguf_groups([file for file in ggufs if file.path not in broken])
    checkpoints, others = _checkpoints(folders)
    return Candidates(tuple(models), tuple(checkpoints), (*skipped, *lost, *others))


def repository(path: str) -> str:
    """The name on the hub of what a cached path belongs to (`org/name`); empty outside of a hub's cache."""
    match = _SNAPSHOT.search(path + "/")
    return match["repo"].replace("--", "/", 1) if match else ""


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.isprintable()


def _gguf_groups(files: Iterable[FoundFile]) -> tuple[list[GgufFiles], list[Skipped]]:
    whole: list[GgufFiles] = []
    parts: dict[tuple[str, int], dict[int, FoundFile]] = defaultdict(dict)
    for file in files:
        if match := _PART.fullmatch(file.path):
            parts[match["stem"], int(match["count"])][int(match["number"])] = file
        else:
            whole.append(GgufFiles(file.path, file.size, file.name.removesuffix(".gguf")))
    skipped: list[Skipped] = []
    for (stem, count), found in parts.items():
        missing = [number for number in range(1, min(count, 1000) + 1) if number not in found]
        if missing or len(found) != count:
            listed = ", ".join(map(str, missing[:8])) + (" ..." if len(missing) > 8 else "")
            first = found[min(found)].path
            skipped.append(Skipped(first, f"of its {count} parts these are missing: {listed}"))
            continue
        size = sum(file.size for file in found.values())
        whole.append(GgufFiles(found[1].path, size, stem.rpartition("/")[2]))
    return sorted(whole, key=lambda one: one.path), skipped


def _checkpoints(folders: Mapping[str, Sequence[FoundFile]]) -> tuple[list[Folder], list[Skipped]]:
    found: list[Folder] = []
    skipped: list[Skipped] = []
    seen: set[frozenset[tuple[int, int]]] = set()
    for path, files in sorted(folders.items()):
        names = {file.name for file in files}
        weights = [file for file in files if file.name.endswith(".safetensors")]
        if not weights:
            continue
        identities = frozenset(file.identity for file in weights)
        if reason := "".join(_no_checkpoint(path, names, folders)):
            skipped.append(Skipped(path, reason))
        elif identities not in seen:
            seen.add(identities)
            size = sum(file.size for file in weights)
            name = repository(path).rpartition("/")[2] or path.rpartition("/")[2]
            found.append(Folder(path, size, name, tuple(sorted(names))))
    return found, skipped


def _no_checkpoint(path: str, names: set[str], folders: Mapping[str, Sequence[FoundFile]]) -> Iterator[str]:
    """Why a folder with safetensors is nothing that vLLM serves; nothing where it may be."""
    count = sum(1 for name in names if name.endswith(".safetensors"))
    above = {file.name for file in folders.get(path.rpartition("/")[0], ())}
    if _PIPELINE in names or _PIPELINE in above:
        yield "a diffusion pipeline, no language model"
    elif "adapter_config.json" in names and "config.json" not in names:
        yield "a LoRA adapter, no model of its own"
    elif "config.json" not in names:
        files = "safetensors file" if count == 1 else f"{count} safetensors files"
        yield f"{files} without config.json: nothing that vLLM could serve"
