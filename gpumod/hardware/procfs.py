"""Processes as /proc tells them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

_LONGEST_COMMAND = 200


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/PID/stat says, see proc(5). A zombie whose other threads live is still alive."""

    start_ticks: int
    alive: bool


@dataclass(frozen=True, slots=True)
class ProcessName:
    """Who a process is, for people; empty where it may not be seen."""

    command: str = ""
    user: str = ""


def read_text(path: str) -> str | None:
    """A file's text, None where it is not there or may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def read_stat(root: str, pid: int) -> ProcessStat | None:
    """A process's state, None where there is none of that pid."""
    line = read_text(f"{root}/proc/{pid}/stat")
    if not line:
        return None
    # The name in parentheses may itself hold blanks and parentheses.
    fields = line[line.rfind(")") + 2 :].split()
    state, threads = fields[0], int(fields[17])
    return ProcessStat(start_ticks=int(fields[19]), alive=state not in {"Z", "X"} or threads > 1)


class ProcessNames:
    """Commands and users of processes, asked once for each (pid, start time)."""

    def __init__(self, root: str = "") -> None:
        self._root = root
        self._known: dict[int, tuple[int, ProcessName]] = {}

    def of(self, pids: Collection[int]) -> dict[int, ProcessName]:
        """Names of those that can be seen."""
        names: dict[int, ProcessName] = {}
        for pid in pids:
            stat = read_stat(self._root, pid)
            if stat is None:
                continue
            known = self._known.get(pid)
            if known is None or known[0] != stat.start_ticks:
                known = (stat.start_ticks, self._ask(pid))
            names[pid] = known[1]
            self._known[pid] = known
        if len(self._known) > 4 * len(pids) + 64:
            self._known = {pid: self._known[pid] for pid in names}
        return names

    def _ask(self, pid: int) -> ProcessName:
        folder = f"{self._root}/proc/{pid}"
        line = (read_text(f"{folder}/cmdline") or "").replace("\0", " ").strip()
        command = line or (read_text(f"{folder}/comm") or "").strip()
        try:
            user = user_name(os.stat(folder).st_uid)
        except OSError:
            user = ""
        return ProcessName(command[:_LONGEST_COMMAND], user)


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """A user's name, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
