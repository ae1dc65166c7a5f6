"""Launches of vLLM on a real card, as they were recorded: what was launched, logged and read by NVML."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpumod.core.cards import CardModel
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ServiceSpec
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm import Pool, predict_vllm, vllm_plan, vllm_pool
from gpumod.estimate.vllm.checkpoint import Checkpoint
from gpumod.estimate.vllm.predict import VllmPlan
from tests.estimate.vllm.models import build, checkpoint, service

FOLDER: Final = Path(__file__).parent.parent / "data"
SEEN: Final = "h200_vllm"
"""The launches that constants of the formulas were read from."""
_NUMBERS: Final[dict[str, type]] = {
    "--gpu-memory-utilization": float,
    "--max-num-batched-tokens": int,
    "--max-num-seqs": int,
    "--max-model-len": int,
    "--kv-cache-memory-bytes": int,
    "--kv-cache-dtype": str,
}
_EAGER: Final = "--enforce-eager"


@functools.cache
def data(file: str = SEEN) -> dict[str, Any]:
    """A whole file."""
    found: dict[str, Any] = json.loads((FOLDER / f"{file}.json").read_text())
    return found


def card_of(found: dict[str, Any]) -> CardModel:
    """The card that a file was recorded on; all of it can be allocated."""
    card = found["card"]
    total = card["cuda_mem_get_info"]["total"]
    return CardModel(card["name"], total, tuple(card["compute_capability"]), card["multiprocessors"])


@dataclass(frozen=True)
class Reading:
    """One launch."""

    row: dict[str, Any]
    file: str = SEEN

    @property
    def name(self) -> str:
        """As the file calls it."""
        return str(self.row["name"])

    @property
    def complete(self) -> bool:
        """Whether it became ready and was measured."""
        return "readings" in self.row

    @property
    def config(self) -> dict[str, Any]:
        """The model's configuration."""
        found: dict[str, Any] = data(self.file)["configs"][self.row["shape"]]
        return found

    @property
    def model(self) -> Checkpoint:
        """What was launched: there were no weight files."""
        return checkpoint(self.config)

    @property
    def card(self) -> CardModel:
        """Where."""
        return card_of(data(self.file))

    @property
    def build(self) -> EngineBuild:
        """What launched it."""
        return build(data(self.file)["engine"]["version"])

    @property
    def spec(self) -> ServiceSpec:
        """How it was launched."""
        words, given = list(self.row["args"]), {}
        for name, kind in _NUMBERS.items():
            if name in words:
                place = words.index(name)
                given[name] = kind(words[place + 1])
                del words[place : place + 2]
        return service(
            context=given.get("--max-model-len"),
            slots=given.get("--max-num-seqs"),
            args=tuple(word for word in words if word != _EAGER),
            vllm={
                "gpu_memory_utilization": given.get("--gpu-memory-utilization"),
                "kv_cache_memory": given.get("--kv-cache-memory-bytes"),
                "kv_cache_dtype": given.get("--kv-cache-dtype"),
                "max_num_batched_tokens": given.get("--max-num-batched-tokens"),
                "enforce_eager": _EAGER in words,
            },
        )

    @property
    def log(self) -> dict[str, Any]:
        """What it logged."""
        found: dict[str, Any] = self.row["log"]
        return found

    @property
    def blocks(self) -> int:
        """Of its KV cache, as it logged."""
        return int(self.row["cache_config"]["num_gpu_blocks"])

    @property
    def plan(self) -> VllmPlan:
        """What the formulas say of it."""
        return vllm_plan(self.model, self.spec, 1, self.card, build=self.build)

    @property
    def prediction(self) -> Prediction:
        """The same as parts."""
        return predict_vllm(self.model, self.spec, 1, self.card, build=self.build)

    def pool(self, available: int | None = None, *, non_kv: int | None = None) -> Pool:
        """The cache by the formulas, given the bytes that it has, or the bytes that are no cache."""
        return vllm_pool(self.model, self.spec, 1, self.card, available, non_kv=non_kv, build=self.build)


def readings(file: str = SEEN) -> Iterator[Reading]:
    """All launches of a file, those that failed included."""
    for row in data(file)["rows"]:
        yield Reading(row, file)


def every() -> Iterator[Reading]:
    """All launches of all files that are there."""
    for path in sorted(FOLDER.glob(f"{SEEN}*.json")):
        yield from readings(path.stem)
