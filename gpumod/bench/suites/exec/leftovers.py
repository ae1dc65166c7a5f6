"""How what a harness started is told apart, and how it is ended: also what a daemon left that was killed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gpumod.hardware.procfs import read_stat

VARIABLE: Final = "GPUMOD_RUN"
FOLDER: Final = "gpumod-exec-"
_OWNER: Final = re.compile(r"(\d+)-(\d+)-(\d+)-")
_ROUNDS: Final = 100
_PAUSE: Final = 0.01


def owner() -> str:
    """This daemon, as no other process of this boot is called: namespace of processes, pid and start time."""
    stat = read_stat("", os.getpid())
    return f"{_namespace()}-{os.getpid()}-{stat.start_ticks if stat else 0}-"


def new_mark() -> str:
    """A value of the variable for one run, whose processes all inherit it."""
    return owner() + secrets.token_hex(16)


def kill_marked(mark: str) -> None:
    """Kill every process with this mark, until no round finds one. Blocking."""
    _kill(lambda found: found == mark)


def sweep() -> None:
    """End what daemons left that are no more, and remove their folders. Blocking.

    A daemon that is killed cannot end its harness, and that may hold a card.
    """
    _kill(_is_left)
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if _is_left(folder.name.removeprefix(FOLDER)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(mark: str) -> bool:
    """Whether the daemon of a mark has ended. Of other namespaces nothing can be said."""
    match = _OWNER.match(mark)
    if match is None or match[1] != _namespace():
        return False
    stat = read_stat("", int(match[2]))
    return stat is None or stat.start_ticks != int(match[3])


def _namespace() -> str:
    return "".join(re.findall(r"\d+", str(Path("/proc/self/ns/pid").readlink())))


def _kill(wanted: Callable[[str], bool]) -> None:
    for _ in range(_ROUNDS):
        pids = [one.name for one in Path("/proc").iterdir() if one.name.isdigit()]
        if not sum(_killed(pid, wanted) for pid in pids):
            return
        time.sleep(_PAUSE)  # what was killed is still listed


def _killed(pid: str, wanted: Callable[[str], bool]) -> bool:
    """Whether that process was to be killed. The descriptor stays it, whoever gets its number later."""
    try:
        descriptor = os.pidfd_open(int(pid))
    except OSError:
        return False
    try:
        if not wanted(_mark_of(pid)):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _mark_of(pid: str) -> str:
    """The mark in a process's environment, empty where there is none; a zombie has none any more."""
    prefix = f"{VARIABLE}=".encode()
    for one in Path("/proc", pid, "environ").read_bytes().split(b"\0"):
        if one.startswith(prefix):
            return one.removeprefix(prefix).decode(errors="replace")
    return ""
