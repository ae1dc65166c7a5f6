"""The gate in front of each service."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpumod.core.names import BLANK, ModeId, ServiceId
from gpumod.core.spec import RestartWhen
from gpumod.core.states import ServiceState
from gpumod.supervisor.restarts import gave_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.spec import Mode, ServiceSpec
    from gpumod.supervisor.world import World


class Gate:
    """Implements the `Admission` port over the world's records; every answer is from memory."""

    def __init__(self, world: World, mode: Callable[[], Mode | None]) -> None:
        self._world = world
        self._mode = mode
        self._inside: Counter[ServiceId] = Counter()
        self._listeners: list[Callable[[], None]] = []

    def admits(self, service: ServiceId) -> bool:
        """Whether new requests may be sent to it."""
        record = self._world.get(service)
        return record is not None and record.admitting

    def port(self, service: ServiceId) -> int | None:
        """Where it listens on loopback, None while it does not admit."""
        record = self._world.get(service)
        return record.launch.port if record and record.admitting and record.launch else None

    def resolve(self, model: str) -> ServiceId | None:
        """The service that answers to a model name: an id, a served name, an alias, or a route."""
        return next(iter(self.candidates(model)), None)

    def candidates(self, model: str) -> tuple[ServiceId, ...]:
        """Every service that answers to a model name: by id or served name, then by route, then by alias."""
        records = self._world.all()
        mode = self._mode()
        routed = dict(mode.routes).get(model) if mode else None
        found = [record.id for record in records if model in {record.id, record.spec.name}]
        found += [routed] if routed else []
        found += [record.id for record in records if model in record.spec.aliases]
        return tuple(dict.fromkeys(found))

    def generation(self, service: ServiceId) -> int | None:
        """Which attempt runs, None where there is none."""
        record = self._world.get(service)
        return record.generation if record is not None and record.state.may_hold_memory else None

    def expected(self, service: ServiceId) -> bool:
        """Whether it will admit by itself: it starts, or its restart policy will start it."""
        record = self._world.get(service)
        if record is None or record.admitting:
            return False
        if record.state is ServiceState.FAILED:
            return record.spec.restart.when is not RestartWhen.NEVER and not gave_up(record.reason)
        return record.state.is_starting

    def spec(self, service: ServiceId) -> ServiceSpec | None:
        """The service as it was asked for, None where there is none."""
        record = self._world.get(service)
        return record.spec if record is not None else None

    def subscribe(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Be called after any answer may have changed; the answer unsubscribes."""
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change)

    def changed(self) -> None:
        """Tell everybody who wants to know that answers may have changed."""
        for listener in tuple(self._listeners):
            listener()

    def entered(self, service: ServiceId) -> None:
        """A request was let in."""
        self._inside[service] += 1

    def left(self, service: ServiceId) -> None:
        """A request has ended."""
        self._inside[service] -= 1

    def in_flight(self, service: ServiceId) -> int:
        """Requests that were let in and have not ended."""
        return self._inside[service]

    def mode(self) -> ModeId:
        """The mode that is committed."""
        mode = self._mode()
        return mode.id if mode else BLANK
