"""Finds the models of this box: walks, reads headers, and says of everything else why it is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.discovery.checkpoints import read_checkpoint
from gpumod.discovery.header_facts import gguf_facts
from gpumod.discovery.ollama import ollama_models
from gpumod.discovery.pairing import pair
from gpumod.discovery.sort import sort
from gpumod.discovery.values import Checkpoint, Gguf, GgufFiles, LlamaFound, Place, Skipped
from gpumod.discovery.walk import Limits, walk
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.reader import read_gguf

READING: Final = 120.0
"""Seconds for the headers of all files together."""

Tell = Callable[[str], None]
"""Takes a line on what is being done."""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a box.

    Args:
        there: the places that exist.
        ggufs: for llama.cpp, each with its projector and draft.
        checkpoints: for vLLM.
        skipped: what is none, and why.
    """

    there: tuple[Place, ...]
    ggufs: tuple[LlamaFound, ...]
    checkpoints: tuple[Checkpoint, ...]
    skipped: tuple[Skipped, ...]


def find_models(places: Iterable[Place], tell: Tell, limits: Limits = Limits()) -> Models:  # noqa: B008 - a frozen value
    """Look for models. Never raises for what is in the places."""
    walked = walk(places, limits, time.monotonic)
    candidates = sort(walked.files)
    ggufs = (*candidates.ggufs, *ollama_models(walked.files))
    if ggufs:
        tell(f"reading the headers of {len(ggufs)} GGUF files")
    read, unread = _headers(_with_projectors(ggufs))
    paired, alone = pair(read)
    checkpoints: list[Checkpoint] = []
    others: list[Skipped] = []
    for folder in candidates.folders:
        found = read_checkpoint(folder)
        if isinstance(found, str):
            others.append(Skipped(folder.path, found))
        else:
            checkpoints.append(found)
    skipped = (*walked.skipped, *candidates.skipped, *unread, *alone, *others)
    return Models(
        tuple(walked.there), paired, tuple(checkpoints), tuple(sorted(skipped, key=lambda one: one.path))
    )


def _with_projectors(ggufs: Iterable[GgufFiles]) -> Iterator[GgufFiles]:
    """The files, and those that only a manifest names."""
    for one in ggufs:
        yield one
        if one.projector is not None:
            yield GgufFiles(one.projector, 0, f"{one.name}-mmproj")


def _headers(ggufs: Iterable[GgufFiles]) -> tuple[list[Gguf], list[Skipped]]:
    deadline = time.monotonic() + READING
    read: list[Gguf] = []
    skipped: list[Skipped] = []
    for files in ggufs:
        if time.monotonic() > deadline:
            skipped.append(Skipped(files.path, f"not read: reading the others had taken {READING:g} s"))
            continue
        try:
            facts = gguf_facts(read_gguf(files.path), files.name)
        except ModelFileError as error:
            skipped.append(Skipped(files.path, without_path(error.detail, files.path)))
            continue
        if isinstance(facts, str):
            skipped.append(Skipped(files.path, facts))
        else:
            read.append(Gguf(files, facts))
    return read, skipped


def without_path(detail: str, path: str) -> str:
    """A sentence on a file, to be shown beside its path."""
    return detail.removeprefix(path).lstrip(" :") or detail
