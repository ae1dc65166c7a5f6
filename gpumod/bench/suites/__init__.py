"""The suites: each is a package in this folder with a function `suite()`; names with `_` are none."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from gpumod.core.job_ports import Suite


class _Lazy(Mapping[str, "Callable[[], Suite]"]):
    """Finds suites by their folders; a suite's code is read when it is first asked for."""

    def __init__(self) -> None:
        found = pkgutil.iter_modules(__path__)
        self._names = tuple(one.name for one in found if one.ispkg and not one.name.startswith("_"))

    def __getitem__(self, name: str) -> Callable[[], Suite]:
        if name not in self._names:
            raise KeyError(name)
        return cast("Callable[[], Suite]", importlib.import_module(f"{__name__}.{name}").suite)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SUITES: Mapping[str, Callable[[], Suite]] = _Lazy()
"""What makes a suite, by its name."""
