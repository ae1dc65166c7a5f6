"""The processes of one attempt, found through its keeper or, where that was killed, without it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gpumod.core.service import ProcessIdentity
from gpumod.runners.procfs import (
    EMPTY_LISTS,
    all_stats,
    boot_id,
    children,
    descendants,
    kill_all,
    read_stat,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpumod.runners.procfs import ProcStat
    from gpumod.runners.rundir import RunDir

NAME_SECONDS = 5.0
"""How soon a keeper that exists has written down its name and its leader's."""
_PAUSE = 0.002


def identify(pid: int) -> ProcessIdentity | None:
    """The living process of that pid."""
    stat = read_stat(pid)
    return None if stat is None or stat.dead else ProcessIdentity(pid, stat.start_ticks, boot_id())


def exists(identity: ProcessIdentity, *, zombie: bool = False) -> bool:
    """Whether this very process lives; with `zombie`, whether its pid is still its own."""
    stat = read_stat(identity.pid)
    return (
        stat is not None
        and stat.start_ticks == identity.start_ticks
        and (zombie or not stat.dead)
        and identity.boot_id == boot_id()
    )


def living_keeper(run_dir: RunDir) -> ProcessIdentity | None:
    """The keeper, None when it is gone. Blocks until one that was just started has a name."""
    deadline = time.monotonic() + NAME_SECONDS
    while (keeper := run_dir.keeper()) is None and run_dir.locked():
        if time.monotonic() > deadline:
            holder = run_dir.holder()
            return None if holder is None else identify(holder)
        time.sleep(_PAUSE)
    return keeper if keeper is not None and exists(keeper) else None


def processes(run_dir: RunDir) -> tuple[ProcessIdentity, ...]:
    """Every living process of the attempt, its keeper left out."""
    while keeper := living_keeper(run_dir):
        living = living_below(keeper.pid)
        # Only what was below a keeper that still lives was looked at in the right place.
        if exists(keeper):
            return living
    if run_dir.emptied():
        return ()
    # One that is handed to another parent while the list is made can be missing in it.
    lists = (orphans(run_dir) for _ in range(EMPTY_LISTS))
    return next(filter(None, lists), ())


def living_below(subreaper: int) -> tuple[ProcessIdentity, ...]:
    """The living processes below a child subreaper with one thread. None only if there are none.

    Of a parent that ends while this looks, the children pass to the subreaper behind its back. So an
    empty list counts only if all of the subreaper's children had ended before they were listed (whoever
    has ended has no children any more), and were still uncollected after that: the kernel's list is
    exact as long as nothing that it names is taken out of it (proc_pid_children(5)).
    """
    ended: set[tuple[int, int]] = set()
    while direct := children(subreaper):
        before = {(stat.pid, stat.start_ticks) for stat in map(read_stat, direct) if stat and stat.dead}
        if len(before) == len(direct) and before <= ended:
            return ()
        if living := identities(map(read_stat, descendants(subreaper))) or hidden(direct):
            return living
        ended |= before
    return ()


def orphans(run_dir: RunDir) -> tuple[ProcessIdentity, ...]:
    """What is left of an attempt whose keeper was killed.

    The kernel kills the leader with the keeper, and hands the others to init. Found again are
    those in the leader's session, those that a daemon had seen in the tree, and everything below
    either. Not found is a process that moved to a session of its own after the last look of any
    daemon *and* whose parents are gone as well.
    """
    leader = run_dir.leader()
    seen = run_dir.tree() | ({leader} if leader else set())
    if not seen:
        return ()
    boot = boot_id()
    stats = {stat.pid: stat for stat in all_stats()}
    found = {
        one.pid
        for one in seen
        if one.boot_id == boot and one.pid in stats and stats[one.pid].start_ticks == one.start_ticks
    }
    if leader is not None and leader.boot_id == boot and (leader.pid in found or leader.pid not in stats):
        # A session's number is not given to a new process while the session has members.
        found |= {pid for pid, stat in stats.items() if _in_session(stat, leader)}
    while grown := {pid for pid, stat in stats.items() if stat.parent in found} - found:
        found |= grown
    return identities(stats[pid] for pid in found)


def kill_orphans(run_dir: RunDir, seconds: float) -> bool:
    """SIGKILL what is left of an attempt whose keeper is gone; whether nothing is left."""
    return run_dir.emptied() or kill_all(lambda: [one.pid for one in orphans(run_dir)], seconds)


def _in_session(stat: ProcStat, leader: ProcessIdentity) -> bool:
    return stat.session == leader.pid and stat.start_ticks >= leader.start_ticks


def hidden(pids: Iterable[int]) -> tuple[ProcessIdentity, ...]:
    """Those of these that live and may not be looked at: /proc can be mounted with hidepid.

    They count as living, under a start time that no process has, so that nobody takes them for gone.
    """
    return tuple(ProcessIdentity(pid, 0, boot_id()) for pid in pids if read_stat(pid) is None and _lives(pid))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def identities(stats: Iterable[ProcStat | None]) -> tuple[ProcessIdentity, ...]:
    """Those that live, in the order of their pids."""
    boot = boot_id()
    living = (stat for stat in stats if stat is not None and not stat.dead)
    return tuple(sorted(ProcessIdentity(stat.pid, stat.start_ticks, boot) for stat in living))
