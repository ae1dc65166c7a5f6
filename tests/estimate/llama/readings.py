"""Launches of llama.cpp on a real card, as they were recorded: what was launched and what it logged."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpumod.core.ports import EngineBuild
from gpumod.core.spec import Draft, KvCache, LlamaOptions, ServiceSpec, Task
from gpumod.estimate.gguf.header import GgufHeader, SkippedArray, Tensor
from gpumod.estimate.gguf.types import TYPE_NUMBERS
from gpumod.estimate.llama.model import LlamaModel, llama_model
from tests.engines.processes import spec_of

FOLDER = Path(__file__).parent.parent / "data"
SEEN = "h200_llama"
"""The launches that constants of the formulas were read from."""
MIB = 1 << 20
ROUNDING = MIB // 200 + 1
"""The log has two digits after the point."""
BUILD = EngineBuild("llama-server", "11500")
"""About the one that was launched: its commit is of 2026-10-01."""
_KNOWN = {
    "batch", "context_per_slot", "cpu_moe_layers", "draft_model", "draft_n_max", "draft_type_k",
    "draft_type_v", "embeddings", "flash_attention", "gpu_layers", "no_kv_offload", "no_projector_offload",
    "projector", "slots", "spec_type", "swa_full", "threads", "type_k", "type_v", "ubatch",
}  # fmt: skip
_PARTS = {"model": "weights", "KV": "KV cache", "RS": "recurrent state", "compute": "compute buffer"}


@functools.cache
def data(file: str = SEEN) -> dict[str, Any]:
    """A whole file."""
    found: dict[str, Any] = json.loads((FOLDER / f"{file}.json").read_text())
    return found


@dataclass(frozen=True)
class Reading:
    """One launch."""

    row: dict[str, Any]
    file: str = SEEN

    @property
    def name(self) -> str:
        """For a test's id."""
        chosen = self.row["parameters"].items()
        words = [f"{key}-{value}" for key, value in chosen if value not in {"f16", "on", 512}]
        return " ".join((str(self.row["id"]), self.row["shape"], *words))

    @property
    def model(self) -> LlamaModel:
        """What was launched."""
        return model_of(self.row["shape"], self.file)

    @property
    def spec(self) -> ServiceSpec:
        """How it was launched."""
        given = self.row["parameters"]
        assert given.keys() <= _KNOWN, f"{self.name}: {given.keys() - _KNOWN} would be left out"
        kind, drafter = given.get("spec_type"), given.get("draft_model")
        switches = {"no_kv_offload": "--no-kv-offload", "swa_full": "--swa-full"}
        switches["no_projector_offload"] = "--no-mmproj-offload"
        args = [flag for key, flag in switches.items() if given.get(key)]
        if "draft_type_k" in given:
            args += ["-ctkd", given["draft_type_k"], "-ctvd", given["draft_type_v"]]
        return spec_of(
            model="/models/m.gguf",
            context=given["context_per_slot"],
            slots=given["slots"],
            kv_cache=KvCache(given["type_k"], given["type_v"]),
            draft=Draft(kind, drafter, given.get("draft_n_max")) if kind else None,
            task=Task.EMBEDDING if given.get("embeddings") else Task.CHAT,
            args=tuple(args),
            llama=LlamaOptions(
                batch=given.get("batch"),
                ubatch=given["ubatch"],
                flash_attention={"on": True, "off": False, "auto": None}[given["flash_attention"]],
                gpu_layers=given.get("gpu_layers"),
                cpu_moe_layers=given.get("cpu_moe_layers"),
            ),
        )

    def logged(self) -> dict[tuple[str, bool], int]:
        """Bytes of the model's own buffers, by part and whether they are the host's."""
        found: dict[tuple[str, bool], int] = {}
        contexts = 0
        for who, device, kind, mebibytes in self.row["buffers"]:
            contexts += kind == "output"
            # A draft's model comes after the first compute buffer, its context begins with an output buffer.
            if contexts > 1 or kind not in _PARTS or "meta" in who:
                continue
            if kind == "model" and ("compute buffer", False) in found:
                break
            key = (_PARTS[kind], device != "CUDA0")
            found[key] = found.get(key, 0) + round(mebibytes * MIB)
        return found


def readings(file: str = SEEN) -> Iterator[Reading]:
    """All launches of a file."""
    for row in data(file)["rows"]:
        yield Reading(row, file)


@functools.cache
def model_of(shape: str, file: str = SEEN) -> LlamaModel:
    """A model of a file, by its shape's name."""
    entry = data(file)["shapes"][shape]
    metadata = {
        key: tuple(value) if isinstance(value, list) else value
        for key, (_, value) in entry["metadata"].items()
    }
    metadata["tokenizer.ggml.tokens"] = SkippedArray(entry["vocabulary"])
    tensors = tuple(Tensor(name, TYPE_NUMBERS[kind], dims) for name, dims, kind in tensors_of(entry))
    return llama_model(GgufHeader(f"/models/{shape}.gguf", metadata, tensors))


def tensors_of(entry: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of each tensor of a file's shape."""
    for name, dims, kind, *layers in entry["tensors"]:
        for layer in _numbers(layers[0]) if layers else (0,):
            yield name.replace("blk.N.", f"blk.{layer}."), tuple(dims), kind.lower()


def _numbers(text: str) -> Iterator[int]:
    for run in str(text).split(","):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)
