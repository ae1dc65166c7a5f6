"""The port to what survives the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gpumod.core.events import Event, EventKind
from gpumod.core.footprint import Measurement
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ServiceId, SwitchId
from gpumod.core.service import (
    Desired,
    ServiceRecord,
)
from gpumod.core.switch import StepRecord, SwitchRecord


class Store(Protocol):
    """What survives the daemon. Every method returns once the data does.

    What must be known before an act (a switch, a step that begins, the desired state) survives a loss of
    power as well. What records an act that was done may be lost with the power, the latest first: services'
    states, the end of a step, and events.

    Raises (all methods):
        StoreError: disk full, locked, corrupt or not writable; the sentence says which.
    """

    async def save_service(self, record: ServiceRecord) -> None:
        """Keep a service's record, in place of the former one."""
        ...

    async def services(self) -> tuple[ServiceRecord, ...]:
        """All records."""
        ...

    async def delete_service(self, service: ServiceId) -> None:
        """Forget a service; its generation counter and sticky port stay."""
        ...

    async def next_generation(self, service: ServiceId) -> int:
        """A number never given before for this service."""
        ...

    async def sticky_ports(self) -> dict[ServiceId, int]:
        """The ports that services had."""
        ...

    async def save_port(self, service: ServiceId, port: int) -> None:
        """Remember a service's port."""
        ...

    async def desired(self) -> Desired | None:
        """What the box should be; None in a new state directory."""
        ...

    async def save_desired(self, desired: Desired) -> None:
        """Set what the box should be."""
        ...

    async def begin_switch(self, record: SwitchRecord) -> None:
        """Open a switch with its planned steps."""
        ...

    async def update_switch(self, record: SwitchRecord) -> None:
        """Change the switch's own fields (state, reason, left, ended); its steps are left."""
        ...

    async def commit_switch(self, record: SwitchRecord, desired: Desired) -> None:
        """End a switch and set the desired state in one transaction."""
        ...

    async def write_step(self, switch: SwitchId, step: StepRecord) -> None:
        """Write a step's state before or after its act."""
        ...

    async def open_switch(self) -> SwitchRecord | None:
        """The switch that had not ended, with its steps."""
        ...

    async def switch(self, switch: SwitchId) -> SwitchRecord | None:
        """One switch with its steps."""
        ...

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first, without steps."""
        ...

    async def save_lease(self, lease: Lease) -> None:
        """Keep a lease."""
        ...

    async def delete_lease(self, lease: LeaseId) -> None:
        """Forget a lease."""
        ...

    async def leases(self) -> tuple[Lease, ...]:
        """All leases, expired ones included."""
        ...

    async def add_measurement(self, measurement: Measurement) -> None:
        """Keep a measurement."""
        ...

    async def measurements(self) -> tuple[Measurement, ...]:
        """All measurements."""
        ...

    async def append_event(
        self, at: float, kind: EventKind, subject: str, message: str, data: Mapping[str, object]
    ) -> Event:
        """Keep an event and give it its number."""
        ...

    async def events(self, after: int = 0, limit: int = 1000) -> tuple[Event, ...]:
        """Events with a larger number, oldest first."""
        ...

    async def idempotent(self, key: str) -> tuple[str, str] | None:
        """(fingerprint of the request, JSON of the answer) kept under an idempotency key."""
        ...

    async def save_idempotent(self, key: str, fingerprint: str, answer: str, at: float) -> None:
        """Keep an answer under an idempotency key; old ones are dropped after a day."""
        ...

    async def close(self) -> None:
        """Close the file."""
        ...
