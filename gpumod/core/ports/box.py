"""What the supervisor offers to api, cli, gateway and bench."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from gpumod.core.events import Event, EventKind
from gpumod.core.lease import Lease
from gpumod.core.names import LeaseId, ModeId, ServiceId, SwitchId
from gpumod.core.plan import Plan, Refused
from gpumod.core.preflight import Preflight
from gpumod.core.spec import Catalog, ServiceSpec
from gpumod.core.switch import BoxStatus, SwitchRecord, SwitchRequest


class Events(Protocol):
    """What happened, and what happens."""

    def publish(self, kind: EventKind, subject: str, message: str, **data: object) -> None:
        """Tell everyone. Never blocks and never raises."""
        ...

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after a number (None: only new ones), then those to come."""
        ...


class Switching(Protocol):
    """Changing the box. Every caller goes through this one lock."""

    async def status(self) -> BoxStatus:
        """What the box is like. Answers from memory; never waits for a switch or a driver."""
        ...

    async def plan(self, request: SwitchRequest) -> Plan | Refused:
        """What a switch would do now.

        Raises:
            NotFoundError: no such mode, preset or service.
        """
        ...

    async def preflight(
        self, preset_or_mode: str, *, fit_context: bool = False, oracle: bool = False
    ) -> Preflight:
        """Whether a preset, on top of what runs, or a mode would start now, and what it would take.

        Args:
            preset_or_mode: its id.
            fit_context: find the largest context that fits now, for each service.
            oracle: ask the engines' own estimators for a second opinion.

        Raises:
            NotFoundError: neither a preset nor a mode.
        """
        ...

    async def begin(self, request: SwitchRequest) -> SwitchRecord | Refused:
        """Start a switch and return at once; an identical running one is joined.

        Raises:
            SwitchRunningError: a different switch is under way.
            NotFoundError: no such mode, preset or service.
        """
        ...

    async def wait(self, switch: SwitchId, timeout: float | None = None) -> SwitchRecord:
        """The record once the switch has ended, or as it is when the timeout passes."""
        ...

    async def cancel(self, switch: SwitchId, by: str = "") -> SwitchRecord:
        """Ask a running switch to stop and undo itself; returns at once."""
        ...

    async def switch(self, switch: SwitchId) -> SwitchRecord:
        """One switch with its steps.

        Raises:
            NotFoundError: no such switch.
        """
        ...

    async def switches(self, limit: int = 50) -> tuple[SwitchRecord, ...]:
        """The latest switches, newest first."""
        ...

    def catalog(self) -> Catalog:
        """The presets and modes in use."""
        ...

    async def reload(self) -> Catalog:
        """Read the files again; running services are not touched."""
        ...

    async def log(self, service: ServiceId, lines: int = 200) -> tuple[str, ...]:
        """The last lines of a service's log.

        Raises:
            NotFoundError: the service has never run.
        """
        ...

    def follow_log(self, service: ServiceId, after: int | None = None) -> AsyncIterator[tuple[int, str]]:
        """(offset after the line, line) from a byte offset (None: from the end), then those to come."""
        ...


class Leases(Protocol):
    """Claims on services."""

    async def take(
        self, holder: str, seconds: float, *, services: Sequence[ServiceId] | None = None, purpose: str = ""
    ) -> Lease:
        """Claim services (default: those of the present mode) for so long.

        Raises:
            NotFoundError: a named service does not run.
        """
        ...

    async def renew(self, lease: LeaseId, seconds: float) -> Lease:
        """Move a lease's end to `seconds` from now."""
        ...

    async def release(self, lease: LeaseId) -> Lease:
        """Give a lease back.

        Raises:
            NotFoundError: no such lease.
        """
        ...

    async def active(self) -> tuple[Lease, ...]:
        """Leases that hold now."""
        ...


class Admission(Protocol):
    """The gate in front of each service; the gateway asks it for every request."""

    def admits(self, service: ServiceId) -> bool:
        """Whether new requests may be sent to it."""
        ...

    def port(self, service: ServiceId) -> int | None:
        """Where it listens on loopback, None while it does not admit."""
        ...

    def resolve(self, model: str) -> ServiceId | None:
        """The service that answers to a model name: an id, a served name, an alias, or a route."""
        ...

    def entered(self, service: ServiceId) -> None:
        """A request was let in."""
        ...

    def left(self, service: ServiceId) -> None:
        """A request has ended."""
        ...

    def in_flight(self, service: ServiceId) -> int:
        """Requests that were let in and have not ended."""
        ...

    def mode(self) -> ModeId:
        """The mode that is committed."""
        ...

    def candidates(self, model: str) -> tuple[ServiceId, ...]:
        """Every service that answers to a model name: what `resolve` says first, then others by alias."""
        ...

    def generation(self, service: ServiceId) -> int | None:
        """Which attempt runs, None where there is none: connections to an earlier one are of no use."""
        ...

    def expected(self, service: ServiceId) -> bool:
        """Whether it will admit by itself: it starts, or is about to be started again."""
        ...

    def spec(self, service: ServiceId) -> ServiceSpec | None:
        """The service as it was asked for, None where there is none."""
        ...

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Be called, in the event loop, after an answer may have changed; what is returned ends it."""
        ...
