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

    def __init__(self, config_dir: Path | None = None, user: str | None = None) -> None:
        self._own: Mapping[str, tuple[object, ...]] = {}
        if config_dir is not None:
            self._own = {"quality": (config_dir / "quality",), "exec": (config_dir / "recipes", user)}
        found = pkgutil.iter_modules(__path__)
        self._names = tuple(one.name for one in found if one.ispkg and not one.name.startswith("_"))

    def __getitem__(self, name: str) -> Callable[[], Suite]:
        if name not in self._names:
            raise KeyError(name)
        made = cast("Callable[..., Suite]", importlib.import_module(f"{__name__}.{name}").suite)
        return functools.partial(made, *self._own.get(name, ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


SUITES: Mapping[str, Callable[[], Suite]] = _Lazy()
"""What makes a suite, by its name."""


def suites_with(config_dir: Path, user: str | None = None) -> Mapping[str, Callable[[], Suite]]:
    """The suites, with what is the user's own: packs of `quality` and recipes of `exec`.

    Args:
        config_dir: the folder of config.yaml; of `quality/` and `recipes/` in it, none need be there.
        user: whom the programs of `exec` run as; None is the daemon's own user.
    """
    return _Lazy(config_dir, user)
