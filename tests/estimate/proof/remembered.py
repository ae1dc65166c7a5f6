"""Answers that are asked for again and again, worked out once: the same question has the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from gpumod.estimate import formulas, models
from gpumod.estimate.llama import draft, predict

_SLOW: Final = (
    (models, "read_gguf"),
    (formulas, "llama_model"),
    (predict, "compute_buffers"),
    (draft, "compute_buffers"),
    (predict, "graphs_and_pools"),
    (draft, "graphs_and_pools"),
)


@contextmanager
def remembered() -> Iterator[None]:
    """Meanwhile no file is read twice, and no graph is laid out twice. Files must not change."""
    with ExitStack() as patches:
        for module, name in _SLOW:
            patches.enter_context(patch.object(module, name, _once(getattr(module, name))))
        yield


class _Same:
    """An argument, by what it is; a model or a header by which one it is, for comparing them is slow."""

    def __init__(self, argument: Any) -> None:
        self.argument = argument
        big = hasattr(argument, "header") or hasattr(argument, "tensors")
        self._key = id(argument) if big else argument

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _once(work: Callable[..., Any]) -> Callable[..., Any]:
    @cache
    def answer(*arguments: _Same) -> Any:
        return work(*(one.argument for one in arguments))

    return lambda *arguments: answer(*map(_Same, arguments))
