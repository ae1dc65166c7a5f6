"""Which methods each path answers to: what the framework does not tell before a handler is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route, compile_path

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from fastapi import APIRouter


class RouteTable:
    """All routes of the API."""

    def __init__(self) -> None:
        self._rows: list[tuple[re.Pattern[str], str, frozenset[str]]] = []

    def add(self, router: APIRouter, prefix: str = "") -> None:
        """Add a router as it is included in the application."""
        for route in router.routes:
            if isinstance(route, Route):
                path = f"{prefix}{route.path}"
                self._rows.append((compile_path(path)[0], path, frozenset(route.methods or ())))

    def methods(self, path: str) -> frozenset[str]:
        """What a path answers to; empty where there is nothing."""
        found: Iterable[frozenset[str]] = (methods for regex, _, methods in self._rows if regex.match(path))
        return frozenset().union(*found)

    @property
    def operations(self) -> frozenset[str]:
        """Every operation, as `GET /health`."""
        return frozenset(f"{method} {path}" for _, path, methods in self._rows for method in methods)
