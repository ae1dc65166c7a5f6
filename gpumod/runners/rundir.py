"""The run directory: what a keeper and the daemons after each other know of one attempt.

`STATE/runs/SERVICE@GENERATION/` holds
    lock     locked by the keeper for as long as it lives, from before it was started
    keeper   the keeper's identity, written before it starts anything
    leader   the leader's identity, written before the program is executed
    exit     how the leader ended, written before its pid is given back
    empty    written when no descendant is left: the keeper went because its work was done
    tree     processes that a daemon saw below the keeper, should somebody kill the keeper itself
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from typing import TYPE_CHECKING

from gpumod.core.names import ServiceId
from gpumod.core.service import ExitReport, ProcessIdentity, RunKey

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

KEEPER_LOCK_FD = 3
"""The lock's descriptor in a keeper."""
_NAME = re.compile(r"(?P<service>[a-z0-9._-]+)@(?P<generation>[0-9]+)")


def run_path(state_dir: Path, key: RunKey) -> str:
    """Where an attempt's run directory is.

    Raises:
        ValueError: the service's id cannot be part of a path.
    """
    name = f"{key.service}@{key.generation}"
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{key.service!r} is no service id: use lower-case letters, digits, '.', '_' and '-'"
        )
    return os.path.join(state_dir, "runs", name)


def run_keys(state_dir: Path) -> list[RunKey]:
    """Every attempt that has a run directory, in order."""
    try:
        names = os.listdir(os.path.join(state_dir, "runs"))
    except FileNotFoundError:
        return []
    found = (_NAME.fullmatch(name) for name in names)
    return sorted(RunKey(ServiceId(one["service"]), int(one["generation"])) for one in found if one)


class RunDir:
    """One attempt's run directory, read afresh at every call."""

    def __init__(self, state_dir: Path, key: RunKey) -> None:
        self.key = key
        self.path = run_path(state_dir, key)

    def exists(self) -> bool:
        """Whether the attempt has left any trace."""
        return os.path.isdir(self.path)

    def create(self) -> int:
        """Make the directory and lock it; the locked descriptor is what the keeper inherits.

        Raises:
            FileExistsError: this attempt was made before.
        """
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        os.mkdir(self.path, mode=0o700)
        lock = os.open(self._file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    def remove(self) -> None:
        """Remove all traces of the attempt."""
        shutil.rmtree(self.path, ignore_errors=True)

    def locked(self) -> bool:
        """Whether a keeper lives, or is about to: it inherits the lock.

        Must not be asked while this daemon itself starts the attempt: asking takes the lock for a
        moment.
        """
        try:
            fd = os.open(self._file("lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def holder(self) -> int | None:
        """The process that holds the lock: a keeper that has not written its name."""
        lock = os.path.realpath(self._file("lock"))
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/fd/{KEEPER_LOCK_FD}") == lock:
                        return int(name)
        return None

    def keeper(self) -> ProcessIdentity | None:
        """The keeper, alive or not."""
        return _identity(self._read("keeper"))

    def leader(self) -> ProcessIdentity | None:
        """The leader, alive or not."""
        return _identity(self._read("leader"))

    def emptied(self) -> bool:
        """Whether the keeper saw the last descendant go."""
        return os.path.exists(self._file("empty"))

    def exit(self) -> ExitReport | None:
        """How the leader ended, where its keeper has written it."""
        try:
            kind, number, at, oom = self._read("exit").split()
            code, signal = (int(number), None) if kind == "code" else (None, int(number))
            return ExitReport(self.key, code, signal, float(at), out_of_memory=oom == "1")
        except ValueError:
            return None

    def unseen_exit(self) -> ExitReport:
        """The report of an end that no keeper lived to write down, dated by the last trace."""
        try:
            at = os.stat(self.path).st_mtime
        except FileNotFoundError:
            at = 0.0
        return ExitReport(self.key, None, None, at)

    def tree(self) -> frozenset[ProcessIdentity]:
        """What was last remembered of the tree."""
        found = (_identity(line) for line in self._read("tree").splitlines())
        return frozenset(one for one in found if one is not None)

    def remember_tree(self, tree: Collection[ProcessIdentity]) -> None:
        """Note processes of the tree. A hint only: failing to is no error."""
        lines = "".join(f"{one.pid} {one.start_ticks} {one.boot_id}\n" for one in sorted(tree))
        with contextlib.suppress(OSError):
            with open(self._file("tree.new"), "w", encoding="ascii") as file:
                file.write(lines)
            os.rename(self._file("tree.new"), self._file("tree"))

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _read(self, name: str) -> str:
        try:
            with open(self._file(name), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""


def _identity(text: str) -> ProcessIdentity | None:
    try:
        pid, ticks, boot = text.split()
        return ProcessIdentity(int(pid), int(ticks), boot)
    except ValueError:
        return None
