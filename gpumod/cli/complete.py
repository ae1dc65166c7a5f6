"""Names for the shell's completion. It has to be quick and may never complain."""

from __future__ import annotations

from typing import Any

from gpumod.client import fast
from gpumod.client.address import find_address, find_key
from gpumod.core.errors import GpumodError


def _ids(path: str) -> list[str]:
    try:
        found: Any = fast.get(find_address(), path, find_key(), timeout=1.0)
        return [str(one["id"]) for one in found]
    except (GpumodError, KeyError, TypeError):
        return []


def mode_names(incomplete: str) -> list[str]:
    """Modes that begin with what was typed."""
    return [name for name in _ids("modes") if name.startswith(incomplete)]


def service_names(incomplete: str) -> list[str]:
    """Services that begin with what was typed."""
    return [name for name in _ids("services") if name.startswith(incomplete)]


def preset_and_mode_names(incomplete: str) -> list[str]:
    """Presets and modes that begin with what was typed."""
    return [name for name in (*_ids("presets"), *_ids("modes")) if name.startswith(incomplete)]


def job_names(incomplete: str) -> list[str]:
    """Jobs that begin with what was typed."""
    return [name for name in _ids("jobs") if name.startswith(incomplete)]


def schedule_names(incomplete: str) -> list[str]:
    """Schedules that begin with what was typed."""
    return [name for name in _ids("schedules") if name.startswith(incomplete)]
