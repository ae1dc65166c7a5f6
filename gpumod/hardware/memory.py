"""The host's memory as a budget: the tighter of the machine's and of every cgroup above this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gpumod.core.cards import HostMemory
from gpumod.core.units import KIB
from gpumod.hardware.procfs import read_text

_V2_MOUNT: Final = "cgroup2"
_V1_MOUNT: Final = "cgroup"


@dataclass(frozen=True, slots=True)
class Limit:
    """What one place allows: bytes in all, bytes that can still be taken, and its name."""

    total: int
    available: int
    name: str = ""


class HostMemoryReader:
    """Reads /proc/meminfo and the cgroup files, versions 1 and 2 and both at once.

    In a cgroup, available = limit - usage + page cache of files, which the kernel gives up before it
    kills anything. `memory.high` is a limit as well: above it every process of the group is slowed down.
    """

    def __init__(self, root: str = "", headroom: int = 0) -> None:
        self._root = root
        self._headroom = headroom
        self._mounts: tuple[_Mount, ...] | None = None

    def read(self) -> HostMemory:
        """The budget now; all zeros where /proc cannot be read."""
        machine = machine_limit(read_text(f"{self._root}/proc/meminfo") or "")
        return tightest(machine, tuple(self._cgroup_limits()), self._headroom)

    def _cgroup_limits(self) -> Iterator[Limit]:
        if self._mounts is None:
            self._mounts = tuple(parse_mounts(read_text(f"{self._root}/proc/self/mountinfo") or ""))
        for version, path in parse_cgroups(read_text(f"{self._root}/proc/self/cgroup") or ""):
            for mount in self._mounts:
                if mount.version == version:
                    read = _limit_v2 if version == 2 else _limit_v1
                    yield from (
                        limit
                        for folder in ancestors(mount, path)
                        if (limit := read(self._root + folder, folder)) is not None
                    )


def tightest(machine: Limit, groups: tuple[Limit, ...], headroom: int) -> HostMemory:
    """The budget that respects all limits; it names the one that leaves least."""
    least = min(groups, key=lambda group: group.available, default=machine)
    smallest = min(groups, key=lambda group: group.total, default=machine)
    if least.available < machine.available:
        limited_by = least.name
    else:
        limited_by = smallest.name if smallest.total < machine.total else ""
    total = min(machine.total, smallest.total)
    available = max(0, min(machine.available, least.available, total))
    return HostMemory(total=total, available=available, headroom=headroom, limited_by=limited_by)


def machine_limit(meminfo: str) -> Limit:
    """MemTotal and MemAvailable; kernels before 3.14 have only what is free and what is cached."""
    fields = parse_fields(meminfo.replace(":", ""))
    available = fields.get("MemAvailable")
    if available is None:
        available = fields.get("MemFree", 0) + fields.get("Cached", 0)
    return Limit(fields.get("MemTotal", 0) * KIB, available * KIB)


def parse_fields(text: str) -> dict[str, int]:
    """`name number` lines; other lines are left out."""
    lines = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) >= 2 and words[1].isdigit()}


# --- cgroups ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a hierarchy with the memory controller is mounted, and which of its directories that is."""

    version: int
    folder: str
    shows: str


def parse_mounts(mountinfo: str) -> Iterator[_Mount]:
    """The cgroup hierarchies that may account memory, from /proc/self/mountinfo."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2) if after.count(" ") >= 2 else ("", "", "")
        words = before.split()
        if kind == _V2_MOUNT:
            yield _Mount(2, words[4], words[3])
        elif kind == _V1_MOUNT and "memory" in options.split(","):
            yield _Mount(1, words[4], words[3])


def parse_cgroups(cgroup: str) -> Iterator[tuple[int, str]]:
    """(version, path) of this process in each hierarchy that may account memory."""
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield 2, path
        elif "memory" in controllers.split(","):
            yield 1, path


def ancestors(mount: _Mount, path: str) -> Iterator[str]:
    """The group's directory and every one above it, as far as they are mounted here."""
    relative = os.path.relpath(path, mount.shows)
    # In a container the path may lie outside of what is mounted; then only the mounted top is ours to see.
    parts = [] if relative.startswith("..") or relative == "." else relative.split("/")
    for length in range(len(parts), -1, -1):
        yield "/".join([mount.folder, *parts[:length]])


def _limit_v2(folder: str, name: str) -> Limit | None:
    limits = [_number(f"{folder}/{file}") for file in ("memory.max", "memory.high")]
    limit = min((one for one in limits if one is not None), default=None)
    used = _number(f"{folder}/memory.current")
    return _group_limit(limit, used, _stat(folder), ("active_file", "inactive_file"), name)


def _limit_v1(folder: str, name: str) -> Limit | None:
    limit = _number(f"{folder}/memory.limit_in_bytes")
    used = _number(f"{folder}/memory.usage_in_bytes")
    return _group_limit(limit, used, _stat(folder), ("total_active_file", "total_inactive_file"), name)


def _group_limit(
    limit: int | None, used: int | None, stat: Mapping[str, int], cache: tuple[str, ...], name: str
) -> Limit | None:
    if limit is None or used is None:
        return None
    reclaimable = sum(stat.get(key, 0) for key in cache)
    return Limit(limit, limit - max(0, used - reclaimable), name)


def _stat(folder: str) -> dict[str, int]:
    return parse_fields(read_text(f"{folder}/memory.stat") or "")


def _number(path: str) -> int | None:
    """A file's number; None where it says `max` or is not there."""
    text = (read_text(path) or "").strip()
    return int(text) if text.isdigit() else None
