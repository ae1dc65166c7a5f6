"""Ports to cards, to the host, and to time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from gpumod.core.cards import CardEvent, CardsReading, PortHolder
from gpumod.core.names import CardId, ServiceId
from gpumod.core.service import (
    FileIdentity,
)


class Clock(Protocol):
    """Time, passed in."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point that never go back; for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


class Hardware(Protocol):
    """The cards and the host of this box."""

    async def read(
        self, *, ours: Mapping[int, ServiceId] | None = None, only: Collection[CardId] | None = None
    ) -> CardsReading:
        """Look at the cards now.

        `ours` maps pids to services: processes found there get that `service`; on the host card
        these trees are charged by anonymous PSS. `only` limits the look to some cards (the memory
        barrier reads every 10 ms). Never raises and never takes longer than `Bounds.driver_call`:
        a card that does not answer is returned `unknown` with its last snapshot and its age.
        """
        ...

    def subscribe(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """Call `on_event` in the event loop for each card event; returns how to stop it."""
        ...

    async def close(self) -> None:
        """Give up threads and the driver's library."""
        ...


class HostProbe(Protocol):
    """What the operating system tells of processes, ports and files."""

    async def port_holder(self, port: int) -> PortHolder | None:
        """Who listens on a loopback or wildcard TCP port; None when nobody does."""
        ...

    async def listens(self, port: int, pids: Collection[int]) -> bool | None:
        """Whether one of the pids holds the listener; None where it may not be seen."""
        ...

    async def identify(self, path: str) -> FileIdentity | str:
        """The file's identity, or why it cannot be read."""
        ...

    async def anonymous_pss(self, pids: Collection[int]) -> int:
        """Bytes of anonymous memory (Pss_Anon) of these processes together; gone ones count 0."""
        ...
