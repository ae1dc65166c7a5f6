"""The suites: each is a package in this folder with a function `suite()`; names with `_` are none."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

    from gpumod.core.job_ports import Suite


class _Lazy(Mapping[str, "Callable[[], Suite]"]):
    """Finds suites by their folders; a suite's code is read when it is first asked for."""

    def __init__(self, own_packs: Path | None = None) -> None:
        self._own_packs = own_packs
        found = pkgutil.iter_modules(__path__)
        self._names = tuple(one.name for one in found if one.ispkg and not one.name.startswith("_"))

    def __getitem__(self, name: str) -> Callable[[], Suite]:
        if name not in self._names:
            raise KeyError(name)
        if name == "quality":
            return functools.partial(importlib.import_module(f"{__name__}.quality").suite, self._own_packs)
        return cast("Callable[[], Suite]", importlib.import_module(f"{__name__}.{name}").suite)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SUITES: Mapping[str, Callable[[], Suite]] = _Lazy()
"""What makes a suite, by its name."""


def suites_with(own_packs: Path) -> Mapping[str, Callable[[], Suite]]:
    """The suites, and in `quality` also the packs of a folder; it need not be there."""
    return _Lazy(own_packs)
