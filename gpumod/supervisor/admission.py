"""The gate in front of each service."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gpumod.core.names import BLANK, ModeId, ServiceId

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpumod.core.spec import Mode
    from gpumod.supervisor.world import World


class Gate:
    """Implements the `Admission` port over the world's records; every answer is from memory."""

    def __init__(self, world: World, mode: Callable[[], Mode | None]) -> None:
        self._world = world
        self._mode = mode
        self._inside: Counter[ServiceId] = Counter()

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
        records = self._world.all()
        for record in records:
            if model in {record.id, record.spec.name}:
                return record.id
        mode = self._mode()
        routes = dict(mode.routes) if mode else {}
        if model in routes:
            return routes[model]
        return next((record.id for record in records if model in record.spec.aliases), None)

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
