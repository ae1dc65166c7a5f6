"""Which TCP port each service listens on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection

    from gpumod.core.facts import RunningService
    from gpumod.core.names import ServiceId
    from gpumod.core.ports import Store
    from gpumod.core.spec import ServiceSpec


class PortBook:
    """Sticky ports: a service without `port:` keeps the one it once got."""

    def __init__(self, store: Store, first: int, last: int) -> None:
        self._store = store
        self._range = range(first, last + 1)
        self._sticky: dict[ServiceId, int] = {}

    async def load(self) -> None:
        """Take over the ports that services had."""
        self._sticky = await self._store.sticky_ports()

    @property
    def known(self) -> frozenset[ServiceId]:
        """Every service that has ever been given a port: that has run here."""
        return frozenset(self._sticky)

    def assign(
        self,
        specs: tuple[ServiceSpec, ...],
        running: tuple[RunningService, ...],
        avoid: Collection[int] = (),
    ) -> dict[ServiceId, int]:
        """A port for each service: its own, the one it runs on, the sticky one, or a new one.

        Ports in `avoid`, which strangers hold at present, are not given out.

        Raises:
            InvalidRequestError: the range has no port left.
        """
        present = {one.record.id: one.record.launch.port for one in running if one.record.launch}
        taken = set(avoid) | {spec.port for spec in specs if spec.port is not None}
        taken |= {port for service, port in present.items() if service not in {spec.id for spec in specs}}
        assigned: dict[ServiceId, int] = {}
        for spec in sorted(
            specs, key=lambda one: (one.id not in present, one.id not in self._sticky, one.id)
        ):
            port = spec.port
            if port is None:
                remembered = (present.get(spec.id), self._sticky.get(spec.id))
                port = next((one for one in remembered if one is not None and one not in taken), None)
            if port is None:
                port = self._free(taken | set(self._sticky.values()), taken)
            taken.add(port)
            assigned[spec.id] = port
        return assigned

    async def keep(self, service: ServiceId, port: int) -> None:
        """Remember the port that a service starts on."""
        if self._sticky.get(service) != port:
            await self._store.save_port(service, port)
            self._sticky[service] = port

    def _free(self, unwanted: set[int], taken: set[int]) -> int:
        for forbidden in (unwanted, taken):
            free = next((port for port in self._range if port not in forbidden), None)
            if free is not None:
                return free
        message = (
            f"no port is left in {self._range.start}-{self._range.stop - 1}: widen `ports:` in config.yaml"
        )
        raise InvalidRequestError(message)
