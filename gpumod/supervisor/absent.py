"""Stands for a runner that a former daemon used and that this one does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.errors import StartFailedError
from gpumod.core.ports import Liveness, RunFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.ports import RunRequest
    from gpumod.core.service import ExitReport, ProcessIdentity, RunKey


class AbsentRunner:
    """Implements `Runner`: nothing can be seen of its attempts, and nothing be done to them.

    What may be left of them still counts: the driver shows their memory, as foreign.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self, request: RunRequest) -> RunFound:
        """Refuses."""
        raise StartFailedError(f"{request.key.service}: the runner {self.name} is not available")

    async def find(self, key: RunKey) -> RunFound:
        """Finds nothing."""
        return RunFound(key, Liveness.ABSENT)

    async def runs(self) -> tuple[RunFound, ...]:
        """Finds nothing."""
        return ()

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """Sees none."""
        del key
        return ()

    async def signal(self, key: RunKey, number: int) -> None:
        """Does nothing."""

    async def kill(self, key: RunKey) -> None:
        """Does nothing."""

    async def forget(self, key: RunKey) -> None:
        """Does nothing."""

    def subscribe(self, on_exit: Callable[[ExitReport], None]) -> Callable[[], None]:
        """Has no news."""
        del on_exit
        return lambda: None

    async def close(self) -> None:
        """Does nothing."""
