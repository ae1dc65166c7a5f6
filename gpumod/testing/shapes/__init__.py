"""Writes GGUFs with the shapes of real models: true headers, the tensors' data a hole in the file.

A 48 GB model takes a few megabytes of disk. Zero weights load, run and take memory as real ones do; what
such a model says means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gpumod.testing.shapes.builder import Model
from gpumod.testing.shapes.real import REAL, REAL_PROJECTORS
from gpumod.testing.shapes.tiny import TINY, TINY_PROJECTORS

__all__ = ["PROJECTORS", "REAL", "SHAPES", "TINY", "Model", "shape", "write_shape"]

PROJECTORS: Final[Mapping[str, Callable[..., Model]]] = {**REAL_PROJECTORS, **TINY_PROJECTORS}
SHAPES: Final[Mapping[str, Callable[..., Model]]] = {**REAL, **TINY, **PROJECTORS}
"""By name; a tiny one is called `tiny-` and its architecture."""


def shape(name: str, **overrides: Any) -> Model:
    """The model of that name.

    Args:
        name: of `SHAPES`.
        overrides: other dimensions than its own; each architecture's function names those that it has.
    """
    return SHAPES[name](**overrides)


def write_shape(name: str, path: Path, *, parts: int = 1, **overrides: Any) -> Path:
    """Write the model of that name as a sparse file, or as so many parts, and return the (first) path."""
    return shape(name, **overrides).write(path, parts=parts)
