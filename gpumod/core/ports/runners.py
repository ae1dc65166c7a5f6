"""The port to processes of services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gpumod.core.service import (
    ExitReport,
    ProcessIdentity,
    RunKey,
)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a runner starts. Output of the tree goes to `log`, appended."""

    key: RunKey
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    log: str
    cwd: str | None = None
    memory_max: int | None = None
    user: str | None = None


class Liveness(StrEnum):
    """What a runner finds of an attempt."""

    RUNNING = "running"
    EXITED = "exited"
    """It ran and has ended; an exit report can be had."""
    ABSENT = "absent"
    """There is no trace of it."""


@dataclass(frozen=True, slots=True)
class RunFound:
    """An attempt as the runner finds it, now or after a restart of the daemon."""

    key: RunKey
    liveness: Liveness
    leader: ProcessIdentity | None = None
    exit: ExitReport | None = None


class Runner(Protocol):
    """How a service's processes live. They outlive the daemon.

    All methods may be called for a key that is gone; they then do nothing.
    """

    @property
    def name(self) -> str:
        """`process`, `systemd` or `fake`; recorded with each service."""
        ...

    async def start(self, request: RunRequest) -> RunFound:
        """Start an attempt; returns once its first process exists.

        Raises:
            StartFailedError: the program cannot be executed.
        """
        ...

    async def find(self, key: RunKey) -> RunFound:
        """Look for an attempt, also one that a former daemon started."""
        ...

    async def runs(self) -> tuple[RunFound, ...]:
        """Every attempt of this state directory that has left any trace."""
        ...

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """All living processes of the attempt's tree, zombies left out.

        Children that called setsid, changed their title or outlived their leader are included.
        """
        ...

    async def signal(self, key: RunKey, number: int) -> None:
        """Send a signal to the attempt's leader."""
        ...

    async def kill(self, key: RunKey) -> None:
        """Send SIGKILL to every process of the tree, again until none is left or the bound."""
        ...

    async def forget(self, key: RunKey) -> None:
        """Remove what is kept of an attempt that has ended."""
        ...

    def subscribe(self, on_exit: Callable[[ExitReport], None]) -> Callable[[], None]:
        """Call `on_exit` in the event loop when an attempt's leader has ended."""
        ...

    async def close(self) -> None:
        """Stop watching; running attempts are left alone."""
        ...
