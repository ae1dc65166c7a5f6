"""Processes as /proc shows them, and killing all of a set that resists.

Standard library only and few modules of it: the keeper, which has to be small and quick to start,
uses this too. (`typing` alone would add a third to the time that a keeper takes to start.)
"""

from __future__ import annotations

import functools
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_SWEEP_PAUSE = 0.001
_LONGEST_PAUSE = 0.05
_MAX_STOP_SWEEPS = 50
EMPTY_LISTS = 5
"""Lists in a row that have to be empty where nothing tells for certain that nobody is left."""


class ProcStat:
    """What /proc/PID/stat says; see proc_pid_stat(5).

    Attributes:
        start_ticks: when it started, in clock ticks since the machine's boot.
        dead: it has ended and only waits to be collected by its parent. A process whose first
            thread alone has ended looks like a zombie too, but has more threads.
    """

    __slots__ = ("dead", "parent", "pid", "session", "start_ticks")

    def __init__(self, pid: int, text: bytes) -> None:
        # The command's name stands in brackets and may hold blanks and brackets itself.
        state, *fields = text[text.rindex(b")") + 2 :].split()
        self.pid = pid
        self.dead = state in {b"Z", b"X", b"x"} and int(fields[16]) <= 1
        self.parent = int(fields[0])
        self.session = int(fields[2])
        self.start_ticks = int(fields[18])


@functools.cache
def boot_id() -> str:
    """Changes with every boot: pids and start times of another boot mean nothing now."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read_stat(pid: int) -> ProcStat | None:
    """A process, also a zombie; None when there is none of that pid, or it may not be looked at (hidepid)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return ProcStat(pid, file.read())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def all_stats() -> list[ProcStat]:
    """Every process that can be seen."""
    found = (read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in found if stat is not None]


def descendants(root: int) -> list[int]:
    """Pids of everything below a process, parents before their children, zombies included.

    Lists of children are exact only for processes that do not fork meanwhile, so whoever wants
    all of them has to look again until nothing changes.
    """
    found = list(children(root))
    seen = {root, *found}
    for pid in found:  # grows while it is walked
        new = [child for child in children(pid) if child not in seen]
        seen.update(new)
        found += new
    return found


def _children_by_list(pid: int) -> list[int]:
    """Children of all threads of a process, oldest first within a thread."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _children_by_scan(pid: int) -> list[int]:
    return [stat.pid for stat in all_stats() if stat.parent == pid]


# Kernels without CONFIG_PROC_CHILDREN have no such list.
children = _children_by_list if os.path.exists("/proc/thread-self/children") else _children_by_scan


def kill_all(
    remaining: Callable[[], Collection[int]], seconds: float, *, gone: Callable[[], bool] | None = None
) -> bool:
    """SIGKILL everything that `remaining` lists, again until nothing is left; whether it came to that.

    All are stopped before any is killed: what is stopped neither forks a replacement nor collects
    a child, so a fork bomb comes to rest and a listed pid stays what it was.

    Args:
        remaining: lists what is there. A process that hands over to a child and ends while the list
            is read can be missed: one empty list proves nothing.
        seconds: when to give up.
        gone: whether nothing is left, where that can be known for certain; else several lists in a
            row have to be empty.
    """
    deadline = time.monotonic() + seconds
    pause = _SWEEP_PAUSE
    while not (gone() if gone else _empty(remaining)):
        stopped: set[int] = set()
        for _ in range(_MAX_STOP_SWEEPS):
            new = set(remaining()) - stopped
            if not new:
                break
            _send_all(new, signal.SIGSTOP)
            stopped |= new
        _send_all(remaining(), signal.SIGKILL)
        if time.monotonic() > deadline:
            return gone() if gone else _empty(remaining)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True


def _empty(remaining: Callable[[], Collection[int]]) -> bool:
    return not any(remaining() for _ in range(EMPTY_LISTS))


def _send_all(pids: Collection[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # gone, or of another user: it is listed again and reported as left over
