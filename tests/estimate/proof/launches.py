"""Launches that were measured, as services whose files are there: true headers, and holes for the data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.testing.gguf_format import Entry, TensorInfo, Typed, aligned, gguf_header
from tests.estimate.llama import readings as llama
from tests.estimate.vllm import readings as vllm

SEEN: Final = "seen"
"""Launches that constants of the formulas were read from."""
HELD_OUT: Final = "held-out"
"""Launches made after the formulas were frozen."""
_FILES: Final = {SEEN: "", HELD_OUT: "_heldout"}
_KINDS: Final = {"uint32": "u32", "float32": "f32", "uint64": "u64", "int32": "i32"}


@dataclass(frozen=True)
class Launch:
    """One launch.

    Args:
        sample: `SEEN` or `HELD_OUT`.
        name: for a table.
        spec: the service; its files are on disk.
        build: what launched it.
        card: where.
        stages: bytes that NVML told of the process, by the stage that they are learned as.
        parameters: what distinguishes launches of the same files.
    """

    sample: str
    name: str
    spec: ServiceSpec
    build: EngineBuild
    card: CardModel
    stages: dict[str, int]
    parameters: dict[str, Any]

    @property
    def peak(self) -> int:
        """The most bytes that it was seen to take."""
        return self.stages["peak"]

    @property
    def files(self) -> tuple[str | None, ...]:
        """What it was launched from: the model, the projector, the draft."""
        return (self.spec.model, self.spec.mmproj, self.spec.draft.model if self.spec.draft else None)

    def changed(self, other: Launch) -> int:
        """By how many parameters two launches differ."""
        keys = self.parameters.keys() | other.parameters.keys()
        return sum(self.parameters.get(key) != other.parameters.get(key) for key in keys)


def launches(engine: EngineKind, sample: str, folder: Path) -> tuple[Launch, ...]:
    """All complete launches of a sample; none where it was not recorded.

    Args:
        engine: llama.cpp or vLLM.
        sample: `SEEN` or `HELD_OUT`.
        folder: where the models' files are, or are written.
    """
    read = _llama if engine is EngineKind.LLAMA_CPP else _vllm
    module = llama if engine is EngineKind.LLAMA_CPP else vllm
    name = module.SEEN + _FILES[sample]
    return tuple(read(name, sample, folder)) if (module.FOLDER / f"{name}.json").is_file() else ()


def _llama(file: str, sample: str, folder: Path) -> Iterator[Launch]:
    card = vllm.card_of(llama.data(file))
    for reading in llama.readings(file):
        given, took = reading.row["parameters"], reading.row.get("readings", {})
        if "peak" not in took:
            continue
        spec = replace(reading.spec, model=_gguf(file, reading.row["shape"], folder))
        if "projector" in given:
            spec = replace(spec, mmproj=_gguf(file, given["projector"], folder))
        if spec.draft is not None and spec.draft.model is not None:
            spec = replace(spec, draft=replace(spec.draft, model=_gguf(file, spec.draft.model, folder)))
        stages = {"ready": took["ready"], "warm": took["short"], "peak": took["peak"]}
        yield Launch(sample, reading.name, spec, llama.BUILD, card, stages, given)


def _vllm(file: str, sample: str, folder: Path) -> Iterator[Launch]:
    for reading in filter(lambda one: one.complete, vllm.readings(file)):
        took = reading.row["readings"]
        stages = {stage: took[step]["engine_core"] for stage, step in (("ready", "ready"), ("warm", "short"))}
        stages["peak"] = max(one["peak"] for one in took.values())
        spec = replace(reading.spec, model=_checkpoint(reading, folder))
        words = reading.row["args"]
        flags = [place for place, word in enumerate(words) if word.startswith("--")]
        ends = [*flags[1:], len(words)]
        given = {words[place]: words[place + 1 : end] for place, end in zip(flags, ends, strict=True)}
        yield Launch(sample, reading.name, spec, reading.build, reading.card, stages, given)


def _gguf(file: str, shape: str, folder: Path) -> str:
    """The path of a sparse file of that shape; one that is there already is the same."""
    entry = llama.data(file)["shapes"][shape]
    path = folder / f"{shape}-{_mark(entry)}.gguf"
    if not path.exists():
        metadata: dict[str, Entry] = {key: _typed(*value) for key, value in entry["metadata"].items()}
        if "vocabulary" in entry:
            metadata["tokenizer.ggml.tokens"] = [""] * entry["vocabulary"]
        tensors = [TensorInfo(*tensor) for tensor in llama.tensors_of(entry)]
        header = gguf_header(metadata, tensors)
        with path.open("wb") as out:
            out.write(header)
            out.truncate(len(header) + sum(aligned(tensor.size) for tensor in tensors))
    return str(path)


def _typed(kind: str, value: Any) -> Entry:
    found: Entry = Typed(_KINDS[kind], value) if kind in _KINDS else value
    return found


def _checkpoint(reading: vllm.Reading, folder: Path) -> str:
    """A folder with the configuration alone: the launches had dummy weights, and no files of them."""
    place = folder / f"{reading.row['shape']}-{_mark(reading.config)}"
    if not place.exists():
        place.mkdir()
        (place / "config.json").write_text(json.dumps(reading.config))
    return str(place)


def _mark(content: dict[str, Any]) -> str:
    """Tells files of one name and different content apart."""
    return f"{crc32(json.dumps(content, sort_keys=True).encode()):08x}"
