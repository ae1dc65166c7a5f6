"""What else the fake box offers: events, the part of the store that the API uses, leases, and faults."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from gpumod.core.errors import NotFoundError
from gpumod.core.events import Event, EventKind
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId


@dataclass
class Faults:
    """What goes wrong. Names are those of the port's methods, such as `status`."""

    hang: set[str] = field(default_factory=set)
    errors: dict[str, Exception] = field(default_factory=dict)
    will_not_start: set[str] = field(default_factory=lambda: {"broken"})

    async def meet(self, call: str) -> None:
        """Misbehave if so told; else do nothing."""
        if call in self.hang:
            await asyncio.Event().wait()
        if call in self.errors:
            raise self.errors[call]


class FakeEvents:
    """Implements the `Events` port. A reader that falls `backlog` behind is cut off."""

    def __init__(self, backlog: int = 1000) -> None:
        self.kept: list[Event] = []
        self._backlog = backlog
        self._readers: set[asyncio.Queue[Event | None]] = set()

    def publish(self, kind: EventKind, subject: str, message: str, **data: object) -> None:
        """Tell everyone."""
        event = Event(len(self.kept) + 1, time.time(), kind, subject, message, data)
        self.kept.append(event)
        for reader in tuple(self._readers):
            if reader.qsize() >= self._backlog:
                self._readers.discard(reader)
                reader.put_nowait(None)
            else:
                reader.put_nowait(event)

    async def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after a number (None: only new ones), then those to come."""
        reader: asyncio.Queue[Event | None] = asyncio.Queue()
        past = [] if after is None else [event for event in self.kept if event.seq > after]
        self._readers.add(reader)
        try:
            for event in past:
                yield event
            while (item := await reader.get()) is not None:
                yield item
        finally:
            self._readers.discard(reader)

    @property
    def readers(self) -> int:
        """How many follow at this moment."""
        return len(self._readers)


class FakeHistory:
    """The part of the store that the API uses: kept events and answers."""

    def __init__(self, events: FakeEvents, faults: Faults) -> None:
        self._events = events
        self._faults = faults
        self.answers: dict[str, tuple[str, str]] = {}

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        await self._faults.meet("events")
        return tuple(event for event in self._events.kept if event.seq > after)[:limit]

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint, answer) kept under a key."""
        await self._faults.meet("idempotent")
        return self.answers.get(key)

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:  # noqa: ARG002
        """Keep an answer."""
        await self._faults.meet("save_idempotent")
        self.answers[key] = (fingerprint, answer)


class FakeLeases:
    """Implements the `Leases` port."""

    def __init__(self, running: Callable[[], set[ServiceId]], events: FakeEvents, faults: Faults) -> None:
        self._running = running
        self._events = events
        self._faults = faults
        self._leases: dict[LeaseId, Lease] = {}
        self._numbers = itertools.count(1)

    async def take(
        self, holder: str, seconds: float, *, services: Sequence[ServiceId] | None = None, purpose: str = ""
    ) -> Lease:
        """Claim services; by default all that run."""
        await self._faults.meet("take")
        running = self._running()
        for service in services or ():
            if service not in running:
                raise NotFoundError(f"no service {service} runs", {"service": service})
        claimed = tuple(sorted(running)) if services is None else tuple(services)
        now = time.time()
        lease = Lease(LeaseId(f"L{next(self._numbers)}"), holder, claimed, now + seconds, now, purpose)
        self._leases[lease.id] = lease
        self._events.publish(EventKind.LEASE, lease.id, f"{holder} holds {', '.join(claimed) or 'nothing'}")
        return lease

    async def renew(self, lease: LeaseId, seconds: float) -> Lease:
        """Move a lease's end."""
        self._leases[lease] = replace(self._known(lease), until=time.time() + seconds)
        return self._leases[lease]

    async def release(self, lease: LeaseId) -> Lease:
        """Give a lease back."""
        self._known(lease)
        return self._leases.pop(lease)

    async def active(self) -> tuple[Lease, ...]:
        """Leases that hold now."""
        await self._faults.meet("active")
        return self.holding()

    def holding(self) -> tuple[Lease, ...]:
        """Leases that hold now, at once."""
        return tuple(lease for lease in self._leases.values() if lease.active(time.time()))

    def _known(self, lease: LeaseId) -> Lease:
        if lease not in self._leases:
            raise NotFoundError(f"no lease {lease}", {"lease": lease})
        return self._leases[lease]
