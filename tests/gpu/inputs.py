"""What whoever has a card gives to these tests, in environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVER = "GPUMOD_GPU_LLAMA_SERVER"
MODELS = ("GPUMOD_GPU_MODEL_A", "GPUMOD_GPU_MODEL_B")
CONTEXTS = ("GPUMOD_GPU_CONTEXT_A", "GPUMOD_GPU_CONTEXT_B")
REPORT = "GPUMOD_GPU_REPORT"
"""Where the measurements go: PATH.md and PATH.json."""
LOGS = "GPUMOD_GPU_LOGS"
"""A folder in which the logs of daemons and engines are kept."""

_CONTEXT = 8192


class MissingInputError(Exception):
    """A variable that is not set, or names a file that is not there."""


@dataclass(frozen=True, slots=True)
class Model:
    """A GGUF file, and the context that it is loaded with."""

    path: Path
    context: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """A CUDA llama-server and two models that each fit on the first card."""

    server: Path
    a: Model
    b: Model


def read_inputs(environment: Mapping[str, str] = os.environ) -> Inputs:
    """The inputs.

    Raises:
        MissingInputError: something is not there.
    """
    paths = [Path(environment.get(name, "")) for name in (SERVER, *MODELS)]
    for name, path in zip((SERVER, *MODELS), paths, strict=True):
        if not path.is_file():
            raise MissingInputError(
                f"set {name} to a file: a CUDA llama-server and two GGUF models are needed"
            )
    models = [
        Model(path.resolve(), int(environment.get(name, _CONTEXT)))
        for path, name in zip(paths[1:], CONTEXTS, strict=True)
    ]
    return Inputs(paths[0].resolve(), *models)
