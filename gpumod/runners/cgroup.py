"""Processes of a cgroup, read from the kernel: true also while systemd or its bus is away."""

from __future__ import annotations

import os

from gpumod.core.service import ProcessIdentity
from gpumod.runners.procfs import read_stat
from gpumod.runners.tree import hidden, identities

_ROOT = "/sys/fs/cgroup"
# Version 2, version 2 beside version 1, version 1 alone: where systemd tracks its units.
_MOUNTS = (
    (_ROOT, "cgroup.controllers"),
    (f"{_ROOT}/unified", "cgroup.procs"),
    (f"{_ROOT}/systemd", "cgroup.procs"),
)


def mounted() -> str:
    """The hierarchy that systemd tracks processes in."""
    return next((root for root, mark in _MOUNTS if os.path.exists(os.path.join(root, mark))), _ROOT)


def cgroup_pids(path: str) -> list[int]:
    """Everything in a cgroup and below it; nothing when there is no such cgroup."""
    pids: list[int] = []
    for folder, _, _ in os.walk(path):
        try:
            with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
                pids += map(int, file.read().split())
        except (FileNotFoundError, OSError):
            continue  # removed meanwhile, which only an empty one can be
    return pids


def cgroup_processes(path: str) -> tuple[ProcessIdentity, ...]:
    """The living among them. None only if there are none.

    One that is listed can have handed over to a child and ended before it is looked at, so that all
    being dead proves nothing until they are listed again, and nobody else is.
    """
    before: list[int] | None = None
    while (pids := cgroup_pids(path)) and pids != before:
        if living := identities(map(read_stat, pids)) or hidden(pids):
            return living
        before = pids
    return ()


def own_unit(text: str) -> str:
    """The unit of a process by its /proc/PID/cgroup; empty when it is in none."""
    for line in text.splitlines():
        _, kind, path = line.split(":", 2)
        if kind in {"", "name=systemd"}:
            units = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
            if units:
                return units[-1]
    return ""
