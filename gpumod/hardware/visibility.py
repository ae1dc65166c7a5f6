"""Whether the pids that the driver lists are those that this process sees."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Final

from gpumod.core.units import MIB

_INITIAL_NAMESPACE: Final = 0xEFFFFFFC
"""The inode of /proc/self/ns/pid on the host itself (PID_NS_INIT_INO in linux/nsfs.h)."""

_UNACCOUNTED: Final = 256 * MIB
"""More use than a driver shows on a card that nobody uses."""


class PidView(Enum):
    """How this process's pids relate to the driver's."""

    SAME = auto()
    """On the host itself: the same pids. hidepid hides foreign ones from /proc; ours are seen."""
    OTHER = auto()
    """In WSL2: the driver is Windows', and lists its processes or none."""
    UNCERTAIN = auto()
    """In a container: some drivers list the host's pids, some translate them, some list none."""


def pid_view(root: str = "") -> PidView:
    """What can be known without looking at any card."""
    if os.path.exists(f"{root}/dev/dxg"):
        return PidView.OTHER
    try:
        same = os.stat(f"{root}/proc/self/ns/pid").st_ino == _INITIAL_NAMESPACE
    except OSError:
        same = False
    return PidView.SAME if same else PidView.UNCERTAIN


class PidVisibility:
    """Judges each card's list of processes.

    In a container, the pids are not visible once

    - a listed pid is not here, was never seen here, and is listed again when the driver is asked again
      (a process that ended between two calls is not; memory that lingers after one of ours is not either), or
    - memory is used, no process is listed, and no pid that is here has ever been.

    The first stays so for good, since a pid of the host may by chance be one of ours as well. The second
    stays so until a pid that is here is listed, also when the card is empty again: that a card without a
    list is free of processes is exactly what cannot be told then.
    """

    def __init__(self, view: PidView, is_here: Callable[[int], bool] | None = None) -> None:
        self._view = view
        self._is_here = is_here or _is_here
        self._seen: set[int] = set()
        self._unlisted = False

    def judge(self, listed: Collection[int], used: int, again: Callable[[], Collection[int]]) -> bool:
        """Whether the pids of one card's list can be relied on.

        Args:
            listed: the pids that the driver lists.
            used: bytes in use on the card, without the driver's reserve.
            again: asks the driver for the list once more.
        """
        if self._view is not PidView.UNCERTAIN:
            return self._view is PidView.SAME
        if not listed:
            self._unlisted = self._unlisted or used >= _UNACCOUNTED
            return bool(self._seen) or not self._unlisted
        here = {pid for pid in listed if self._is_here(pid)}
        self._seen |= here
        absent = set(listed) - self._seen
        if absent and absent & set(again()):
            self._view = PidView.OTHER
            return False
        return True


def _is_here(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is here and somebody else's
        return True
    return True
