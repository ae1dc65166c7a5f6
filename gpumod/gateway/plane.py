"""The whole gateway: its parts put together, and its life."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from socket import socket

from gpumod.access import AccessRules
from gpumod.config.gateway import GatewaySettings, KeyLimits
from gpumod.core.metrics import Metric, Sample
from gpumod.core.ports import Admission, Clock, Leases, Switching
from gpumod.gateway.demand import Demand, Goal, rules_of
from gpumod.gateway.door import GatewayDoor
from gpumod.gateway.http.guest import ControlFactory
from gpumod.gateway.http.limits import Limits
from gpumod.gateway.http.listener import FrontDoor
from gpumod.gateway.seen import Ledger


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway is built from.

    Args:
        limits: of keys, by their names.
        recovering: whether the supervisor is still converging after a start.
    """

    switching: Switching
    admission: Admission
    leases: Leases
    clock: Clock
    access: AccessRules
    settings: GatewaySettings
    limits: Mapping[str, KeyLimits]
    recovering: Callable[[], bool]


class Gateway:
    """One OpenAI-compatible endpoint in front of all modes.

    Attributes:
        ledger: what was seen of requests.
    """

    def __init__(self, parts: GatewayParts) -> None:
        self._settings = parts.settings
        self._catalog = parts.switching.catalog
        self._monotonic = parts.clock.monotonic
        self.ledger = Ledger(parts.clock.now, parts.clock.monotonic)
        self._demand = Demand(
            parts.switching,
            parts.admission,
            parts.leases,
            parts.clock,
            rules_of(parts.settings),
            recovering=parts.recovering,
        )
        self._door = GatewayDoor(
            parts.switching,
            parts.admission,
            self._demand,
            parts.access,
            parts.settings,
            parts.limits,
            parts.clock,
            observe=self.ledger.observe,
            refused=self.ledger.refused,
        )
        self._front: FrontDoor | None = None

    async def start(self) -> None:
        """Begin to let requests wait; nobody is listened to yet."""
        await self._door.start()

    async def listen(self, listener: socket, control: ControlFactory) -> None:
        """Serve on a bound socket; what is not the gateway's goes to the control plane's protocol."""
        if self._front is None:
            limits = limits_of(self._settings)
            self._front = FrontDoor(self._door, control=control, limits=limits, clock=self._monotonic)
        await self._front.listen(listener)

    async def drain(self) -> None:
        """Take no connections and no requests any more, answer who waits, and let the others finish.

        Connections without a request are closed: their clients come again, and the next daemon answers.
        The others have `gateway.drain`; what is not done then is cut by `close`.
        """
        if self._front is not None:
            self._front.stop_accepting()
            self._front.wind_down()
        await self._door.close(self._settings.drain)

    async def close(self, grace: float = 1.0) -> None:
        """Cut what is left, and wait until every connection is gone. Answers on their way get a moment."""
        await self._door.close(0.0)
        if self._front is not None:
            self._front.stop_accepting()
            self._front.break_off()
            await self._front.drain(self._monotonic() + grace)
            await self._front.close()
        self.ledger.settle()

    def metrics(self) -> Iterator[Metric]:
        """What was seen, and how things stand."""
        yield from self.ledger.metrics()
        yield _gauge("gpumod_gateway_queue_depth", "Requests that wait for a service.", self._demand.waiting)
        yield _gauge("gpumod_gateway_in_flight", "Requests that engines work on.", self._door.inside)
        yield Metric(
            "gpumod_gateway_start_seconds",
            "How long a switch to a mode takes, as learned: what clients are told to wait.",
            "gauge",
            tuple(
                Sample(self._demand.seconds(Goal(mode=mode.id)), {"mode": mode.id})
                for mode in self._catalog().modes
            ),
        )
        connections = self._front.connections if self._front is not None else 0
        yield _gauge("gpumod_gateway_connections", "Open connections of clients.", connections)


def limits_of(settings: GatewaySettings) -> Limits:
    """The bounds of the path of bytes, as configured."""
    return replace(
        Limits(),
        body=settings.body_limit,
        kept=max(Limits().kept, settings.body_limit),
        head_time=settings.head_timeout,
        body_time=settings.head_timeout,
        idle_time=settings.idle_timeout,
        engine_silence=settings.engine_stall,
        client_silence=settings.client_stall,
        wait_silence=min(Limits().wait_silence, settings.keep_alive),
        wait_interval=settings.keep_alive,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, text, "gauge", (Sample(value),))
