"""The idle policies at work: since when each service is unused, and what is done about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from gpumod.core.errors import GpumodError
from gpumod.core.names import ServiceId, SwitchId
from gpumod.core.plan import Refused
from gpumod.core.ports import Admission, Clock, Leases, Switching
from gpumod.core.service import ServiceRecord
from gpumod.core.switch import SwitchRequest
from gpumod.gateway.demand.idle import LOOK_AGAIN, IdleService, IdleSight, idle_turn

_log = logging.getLogger(__name__)


class Idling:
    """Stops what nobody asks anything."""

    def __init__(
        self, switching: Switching, admission: Admission, leases: Leases, clock: Clock, residency: float
    ) -> None:
        self._switching = switching
        self._admission = admission
        self._leases = leases
        self._clock = clock
        self._residency = residency
        self._used: dict[ServiceId, float] = {}
        self._since: dict[ServiceId, float] = {}
        self._not_before = 0.0
        self._seen: object = None
        self.again: float | None = None
        """When something may be due."""

    def used(self, service: ServiceId, now: float) -> None:
        """A request of a service has ended."""
        self._used[service] = now

    def due(self) -> bool:
        """Whether to look, asked before each look: something has started or stopped, or a time has come."""
        catalog = self._switching.catalog()
        known = {spec.id for mode in catalog.modes for spec in mode.services}
        known.update(spec.id for spec in catalog.presets)
        mode = catalog.mode(self._admission.mode())
        seen = (
            mode and (mode.id, mode.idle),
            [(one, self._admission.generation(one), self._admission.spec(one)) for one in sorted(known)],
        )
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def expire(self, now: float) -> None:
        """Time has passed: what was to be looked at by now is due."""
        if self.again is not None and self.again <= now:
            self.again = self._seen = None

    def put_off(self, now: float) -> None:
        """Something was in the way: leave everything as it is for a while."""
        self.again = self._not_before = now + LOOK_AGAIN

    async def look(
        self, records: Iterable[ServiceRecord], settled: float | None, held: Callable[[], bool]
    ) -> SwitchId | None:
        """Stop what is due, if nothing forbids it; the switch that does.

        Args:
            records: all services.
            settled: since when the mode is what it is; None: that is not known yet.
            held: whether a switch or a waiting request forbids it; leases are asked for here.
        """
        known = tuple(records)
        mode = self._switching.catalog().mode(self._admission.mode())
        if settled is None or not (any(one.spec.idle for one in known) or (mode and mode.idle)):
            self.again = None
            return None
        leased = bool(await self._leases.active())
        now = self._clock.monotonic()
        if now < self._not_before:
            self.again = self._not_before
            return None
        turn = idle_turn(self._sight(known, settled, now, held=leased or held()), now)
        self.again = turn.again
        return await self._begin(turn.request, now) if turn.request is not None else None

    async def _begin(self, wish: SwitchRequest, now: float) -> SwitchId | None:
        try:
            answer = await self._switching.begin(wish)
        except GpumodError as error:
            reason = error.detail
        else:
            if not isinstance(answer, Refused):
                return answer.id
            reason = "; ".join(one.detail for one in answer.reasons)
        _log.info("%s, which is idle, has to wait: %s", wish.phrase, reason)
        self.put_off(now)
        return None

    def _sight(
        self, records: Iterable[ServiceRecord], settled: float, now: float, *, held: bool
    ) -> IdleSight:
        running = {record.id: record.spec for record in records if record.state.may_hold_memory}
        for known in (self._used, self._since):
            for service in known.keys() - running.keys():
                del known[service]
        for service in running:
            if service not in self._since or not self._admission.admits(service):
                self._used[service] = self._since[service] = now
            else:
                self._used.setdefault(service, now)
        mode_id = self._admission.mode()
        mode = self._switching.catalog().mode(mode_id)
        services = tuple(
            IdleService(
                id=service,
                idle=spec.idle,
                used=self._used[service],
                since=self._since[service],
                in_flight=self._admission.in_flight(service),
                needed_by=frozenset(one for one, other in running.items() if service in other.depends_on),
            )
            for service, spec in running.items()
        )
        return IdleSight(
            mode=mode_id,
            idle=mode.idle if mode else None,
            services=services,
            settled=settled,
            residency=self._residency,
            held=held,
        )
