"""Leases: kept in the store, held in memory, expiring by themselves."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import InvalidRequestError, NotFoundError, StoreError
from gpumod.core.events import EventKind
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId
from gpumod.core.states import ServiceState
from gpumod.core.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gpumod.core.ports import Clock, Events, Store
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_LONGEST = 7 * 86400.0
_LEASABLE = frozenset(
    state
    for state in ServiceState
    if state.may_hold_memory and state not in {ServiceState.DRAINING, ServiceState.STOPPING}
)


class LeaseBook:
    """Implements the `Leases` port."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        world: World,
        new_id: Callable[[], str],
        leaving: Callable[[], Collection[ServiceId]],
    ) -> None:
        """Args: `leaving` names the services that the running switch stops."""
        self._store = store
        self._clock = clock
        self._events = events
        self._world = world
        self._new_id = new_id
        self._leaving = leaving
        self._leases: dict[LeaseId, Lease] = {}

    async def load(self) -> None:
        """Take over the leases of a former daemon."""
        self._leases = {lease.id: lease for lease in await self._store.leases()}
        await self.expire()

    def held(self) -> tuple[Lease, ...]:
        """Leases that hold now, from memory."""
        now = self._clock.now()
        return tuple(lease for lease in self._leases.values() if lease.active(now))

    async def active(self) -> tuple[Lease, ...]:
        """Leases that hold now."""
        return self.held()

    async def take(
        self, holder: str, seconds: float, *, services: Sequence[ServiceId] | None = None, purpose: str = ""
    ) -> Lease:
        """Claim services (default: all that run now) for so long."""
        self._check_length(seconds)
        running = {record.id for record in self._world.all() if record.state in _LEASABLE}
        running -= set(self._leaving())
        wanted = tuple(sorted(running)) if services is None else tuple(dict.fromkeys(services))
        missing = [name for name in wanted if name not in running]
        if missing:
            raise NotFoundError(
                f"no lease on {', '.join(missing)}: not running, or being stopped; "
                "`gpumodctl service list` shows what runs",
                {"services": missing},
            )
        if not wanted:
            raise InvalidRequestError("there is nothing to lease: no service runs")
        now = self._clock.now()
        lease = Lease(LeaseId(self._new_id()), holder, wanted, now + seconds, now, purpose)
        await self._keep(lease)
        self._tell(lease, f"{holder} leases {', '.join(wanted)} for {format_duration(seconds)}")
        return lease

    async def renew(self, lease: LeaseId, seconds: float) -> Lease:
        """Move a lease's end to `seconds` from now."""
        self._check_length(seconds)
        renewed = replace(self._find(lease), until=self._clock.now() + seconds)
        await self._keep(renewed)
        self._tell(renewed, f"{renewed.holder} renews its lease for {format_duration(seconds)}")
        return renewed

    async def release(self, lease: LeaseId) -> Lease:
        """Give a lease back."""
        released = self._find(lease)
        await self._store.delete_lease(lease)
        self._leases.pop(lease, None)
        self._tell(released, f"{released.holder} releases its lease on {', '.join(released.services)}")
        return released

    async def expire(self) -> None:
        """Forget leases whose time is over, and say so."""
        now = self._clock.now()
        for lease in [one for one in self._leases.values() if not one.active(now)]:
            self._leases.pop(lease.id, None)
            try:
                await self._store.delete_lease(lease.id)
            except StoreError as error:
                _log.error("lease %s could not be dropped from the store: %s", lease.id, error.detail)
            self._tell(lease, f"the lease of {lease.holder} on {', '.join(lease.services)} has expired")

    async def _keep(self, lease: Lease) -> None:
        """In memory first: a switch that is planned while the disk writes has to see it."""
        former = self._leases.get(lease.id)
        self._leases[lease.id] = lease
        try:
            await self._store.save_lease(lease)
        except BaseException:
            self._leases.pop(lease.id)
            if former is not None:
                self._leases[lease.id] = former
            raise

    def _find(self, lease: LeaseId) -> Lease:
        found = self._leases.get(lease)
        if found is None or not found.active(self._clock.now()):
            raise NotFoundError(f"no lease {lease}: it was released or has expired", {"lease": lease})
        return found

    @staticmethod
    def _check_length(seconds: float) -> None:
        if not (math.isfinite(seconds) and 0 < seconds <= _LONGEST):
            raise InvalidRequestError(
                "a lease lasts more than 0 s and at most 7 days", {"seconds": str(seconds)}
            )

    def _tell(self, lease: Lease, message: str) -> None:
        self._events.publish(EventKind.LEASE, lease.id, message, holder=lease.holder, until=lease.until)
