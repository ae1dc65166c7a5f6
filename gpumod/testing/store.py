"""A store in memory that keeps to the contract of the real one, and fails on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from gpumod.core.errors import GpumodError, StoreError
from gpumod.core.events import Event, EventKind
from gpumod.core.footprint import Measurement
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId, SwitchId
from gpumod.core.ports import Clock
from gpumod.core.retention import DEFAULT_RETENTION, Retention
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.switch import Phase, StepRecord, SwitchRecord, SwitchState


class MemoryStore:
    """Implements the `Store` port.

    Each call lets the event loop turn once before it acts, as a real one would. What is kept survives
    `close`: `reopen` gives the store that the next daemon would find.
    """

    def __init__(self, clock: Clock, retention: Retention = DEFAULT_RETENTION) -> None:
        self._clock = clock
        self._retention = retention
        self._services: dict[ServiceId, ServiceRecord] = {}
        self._generations: dict[ServiceId, int] = {}
        self._ports: dict[ServiceId, int] = {}
        self._desired: Desired | None = None
        self._switches: dict[SwitchId, SwitchRecord] = {}
        self._steps: dict[SwitchId, dict[tuple[Phase, int], StepRecord]] = {}
        self._leases: dict[LeaseId, Lease] = {}
        self._measurements: list[Measurement] = []
        self._events: list[Event] = []
        self._last_event = 0
        self._answers: dict[str, tuple[str, str, float]] = {}
        self._failures: dict[str, GpumodError] = {}
        self._closed = False

    def fail(self, error: GpumodError, *methods: str) -> None:
        """Let these methods (by name; none: all) raise from now on, and keep nothing."""
        self._failures.update(dict.fromkeys(methods or ("*",), error))

    def heal(self) -> None:
        """Let every method work again."""
        self._failures.clear()

    def reopen(self) -> Self:
        """What a restarted daemon opens: the same content, neither closed nor failing."""
        self._closed = False
        self.heal()
        return self

    async def save_service(self, record: ServiceRecord) -> None:
        """Keep a service's record, in place of the former one."""
        await self._turn("save_service")
        self._services[record.id] = record

    async def services(self) -> tuple[ServiceRecord, ...]:
        """All records."""
        await self._turn("services")
        return tuple(self._services[service] for service in sorted(self._services))

    async def delete_service(self, service: ServiceId) -> None:
        """Forget a service; its generation counter and sticky port stay."""
        await self._turn("delete_service")
        self._services.pop(service, None)

    async def next_generation(self, service: ServiceId) -> int:
        """A number never given before for this service."""
        await self._turn("next_generation")
        self._generations[service] = self._generations.get(service, 0) + 1
        return self._generations[service]

    async def sticky_ports(self) -> dict[ServiceId, int]:
        """The ports that services had."""
        await self._turn("sticky_ports")
        return dict(self._ports)

    async def save_port(self, service: ServiceId, port: int) -> None:
        """Remember a service's port."""
        await self._turn("save_port")
        self._ports[service] = port

    async def desired(self) -> Desired | None:
        """What the box should be."""
        await self._turn("desired")
        return self._desired

    async def save_desired(self, desired: Desired) -> None:
        """Set what the box should be."""
        await self._turn("save_desired")
        self._desired = desired

    async def begin_switch(self, record: SwitchRecord) -> None:
        """Open a switch with its planned steps; one that was never ended before is failed."""
        await self._turn("begin_switch")
        for stale in self._open():
            if stale.id != record.id:
                reason = stale.reason or f"its end was never recorded; {record.id} came after it"
                self._put(replace(stale, state=SwitchState.FAILED, ended=record.started, reason=reason))
        self._put(record)
        self._steps[record.id] = {(step.phase, step.index): step for step in record.steps}
        for old in list(self._switches)[: -self._retention.switches]:
            del self._switches[old]
            self._steps.pop(old, None)

    async def update_switch(self, record: SwitchRecord) -> None:
        """Change the switch's own fields; its steps are left."""
        await self._turn("update_switch")
        self._put(record)

    async def commit_switch(self, record: SwitchRecord, desired: Desired) -> None:
        """End a switch and set the desired state in one transaction."""
        await self._turn("commit_switch")
        self._put(record)
        self._desired = desired

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        """Write a step's state before or after its act."""
        await self._turn("write_step")
        if switch not in self._switches:
            raise StoreError(f"switch {switch} was never begun", {"switch": switch})
        self._steps.setdefault(switch, {})[step.phase, step.index] = step

    async def open_switch(self) -> SwitchRecord | None:
        """The switch that had not ended, with its steps."""
        await self._turn("open_switch")
        found = self._open()
        return self._with_steps(found[-1]) if found else None

    async def switch(self, switch: SwitchId) -> SwitchRecord | None:
        """One switch with its steps."""
        await self._turn("switch")
        record = self._switches.get(switch)
        return None if record is None else self._with_steps(record)

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first, without steps."""
        await self._turn("switches")
        return tuple(reversed(self._switches.values()))[:limit]

    async def save_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        await self._turn("save_lease")
        self._leases[lease.id] = lease

    async def delete_lease(self, lease: LeaseId) -> None:
        """Forget a lease."""
        await self._turn("delete_lease")
        self._leases.pop(lease, None)

    async def leases(self) -> tuple[Lease, ...]:
        """All leases, the one that ends first coming first."""
        await self._turn("leases")
        return tuple(sorted(self._leases.values(), key=lambda lease: (lease.until, lease.id)))

    async def add_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        await self._turn("add_measurement")
        self._measurements.append(measurement)
        alike = [other for other in self._measurements if _kind(other) == _kind(measurement)]
        for old in alike[: -self._retention.measurements]:
            self._measurements.remove(old)

    async def measurements(self) -> tuple[Measurement, ...]:
        """All measurements, oldest first."""
        await self._turn("measurements")
        return tuple(self._measurements)

    async def append_event(
        self, at: float, kind: EventKind, subject: str, message: str, data: Mapping[str, object]
    ) -> Event:
        """Keep an event and give it its number. The answer's `data` is as JSON keeps it."""
        await self._turn("append_event")
        try:
            plain = json.loads(json.dumps(data, default=str))
        except ValueError as error:
            raise StoreError(f"a record cannot be written as JSON: {error}") from error
        self._last_event += 1
        event = Event(self._last_event, at, kind, subject, message, plain)
        self._events = [*self._events, event][-self._retention.events :]
        return event

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        await self._turn("events")
        return tuple(event for event in self._events if event.seq > after)[:limit]

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint of the request, JSON of the answer) kept under an idempotency key."""
        await self._turn("idempotent")
        fingerprint, answer, at = self._answers.get(key, ("", "", float("-inf")))
        return (fingerprint, answer) if at >= self._clock.now() - self._retention.idempotency else None

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:
        """Keep an answer under an idempotency key; old ones are dropped after a day."""
        await self._turn("save_idempotent")
        self._answers[key] = (fingerprint, answer, at)

    async def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    async def _turn(self, method: str) -> None:
        if self._closed:
            raise StoreError("the store has been closed")
        await asyncio.sleep(0)
        failure = self._failures.get(method) or self._failures.get("*")
        if failure is not None:
            raise failure

    def _put(self, record: SwitchRecord) -> None:
        self._switches[record.id] = replace(record, steps=())

    def _open(self) -> list[SwitchRecord]:
        return [record for record in self._switches.values() if not record.state.ended]

    def _with_steps(self, record: SwitchRecord) -> SwitchRecord:
        phases = list(Phase)
        steps = self._steps.get(record.id, {})
        order = sorted(steps, key=lambda key: (phases.index(key[0]), key[1]))
        return replace(record, steps=tuple(steps[key] for key in order))


def _kind(measurement: Measurement) -> tuple[str, str, int, str]:
    return (measurement.fingerprint, measurement.card_name, measurement.count, measurement.stage)
