"""Reads what is on disk of a service's models, and keeps it as long as the files stay the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar, cast

from gpumod.core.spec import EngineKind, ServiceSpec
from gpumod.estimate.cache import HeaderCache
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.files import LookAt, model_files, shards
from gpumod.estimate.gguf.header import GgufHeader
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.vllm.checkpoint import Checkpoint, checkpoint_files, read_checkpoint

_T = TypeVar("_T")
_MOST: Final = 256


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the files of a service's models say; None where there is no such model, or it cannot be read.

    Args:
        gguf: the model, where it is a GGUF.
        projector: for images or sound.
        draft: the draft model, where it is a GGUF of its own.
        checkpoint: the model, where it is a folder that vLLM loads.
        draft_checkpoint: its draft model, where it has one of its own.
        trouble: why something that is there cannot be read.
        size: bytes of all files that are there; None where none is.
    """

    gguf: GgufHeader | None = None
    projector: GgufHeader | None = None
    draft: GgufHeader | None = None
    checkpoint: Checkpoint | None = None
    draft_checkpoint: Checkpoint | None = None
    trouble: ModelFileError | None = None
    size: int | None = None


class Kept:
    """The newest answers of something slow, by what they depend on."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._answers: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The answer for a key; made outside of the lock, so that a slow file delays nobody else."""
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return cast("_T", self._answers[key])
        made = make()
        with self._lock:
            self._answers[key] = made
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return made


class ModelReader:
    """Reads models.

    Args:
        look_at: what is at a path.
        caches: where models of the hub may lie.
    """

    def __init__(self, look_at: LookAt, caches: tuple[Path, ...] = ()) -> None:
        self._look_at = look_at
        self._headers = HeaderCache(read_gguf, shards)
        self._checkpoints = HeaderCache(
            partial(read_checkpoint, caches=caches), partial(checkpoint_files, caches=caches)
        )

    def read(self, spec: ServiceSpec) -> ModelFacts:
        """What the files of a service's models say."""
        seen = {path: self._look_at(path) for path in model_files(spec)}
        sizes = [one.size for one in seen.values() if one is not None]
        size = sum(sizes) or None
        if None in seen.values():
            # What is missing is refused elsewhere, or fetched by the engine.
            return ModelFacts(size=size)
        try:
            return self._facts(spec, size)
        except ModelFileError as error:
            return ModelFacts(trouble=error, size=size)

    def _facts(self, spec: ServiceSpec, size: int | None) -> ModelFacts:
        draft = spec.draft.model if spec.draft is not None else None
        if spec.engine is EngineKind.LLAMA_CPP:
            header = self._headers.get
            return ModelFacts(
                gguf=header(spec.model) if spec.model is not None else None,
                projector=header(spec.mmproj) if spec.mmproj is not None else None,
                draft=header(draft) if draft is not None else None,
                size=size,
            )
        if spec.engine is EngineKind.VLLM:
            checkpoint = self._checkpoints.get
            return ModelFacts(
                checkpoint=checkpoint(spec.model) if spec.model is not None else None,
                draft_checkpoint=checkpoint(draft) if draft is not None else None,
                size=size,
            )
        return ModelFacts(size=size)
