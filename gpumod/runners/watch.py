"""Noticing in the event loop, without polling, that a process has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from gpumod.runners.tree import exists

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.service import ProcessIdentity


class EndWatch:
    """Sets `ended` once a process is dead, collected or not."""

    def __init__(self, identity: ProcessIdentity, on_end: Callable[[], None] = lambda: None) -> None:
        self.ended = asyncio.Event()
        self._closed = False
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._fd = open_process(identity)
        if self._fd is None:
            self._loop.call_soon(self._end)
        else:
            self._loop.add_reader(self._fd, self._end)

    def _end(self) -> None:
        if not self._closed:
            self.close()
            self.ended.set()
            self._on_end()

    def close(self) -> None:
        """Stop watching; `ended` stays what it is."""
        self._closed = True
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None


async def ends(identity: ProcessIdentity, seconds: float) -> bool:
    """Whether a process is dead within so long, by a look after that at the latest."""
    watch = EndWatch(identity)
    try:
        async with asyncio.timeout(seconds):
            await watch.ended.wait()
    except TimeoutError:
        # After a standstill the timer may come before the news of an end that was in time.
        return not exists(identity)
    finally:
        watch.close()
    return True


def open_process(identity: ProcessIdentity) -> int | None:
    """A descriptor of this very process, alive or not yet collected; None when it is gone."""
    try:
        fd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    # Looked at after the descriptor is had, which keeps the pid from meaning anything else.
    if exists(identity, zombie=True):
        return fd
    os.close(fd)
    return None


def send(identity: ProcessIdentity, number: int) -> None:
    """Send a signal to this very process; nothing when it is gone."""
    fd = open_process(identity)
    if fd is not None:
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def collect(identity: ProcessIdentity) -> None:
    """Give back the pid of a dead child of ours; nothing when it is not our child."""
    if exists(identity, zombie=True):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(identity.pid, os.WNOHANG)
