"""The host's memory as the one card of a box."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from gpumod.core.cards import (
    Card,
    CardEvent,
    CardHealth,
    CardProcess,
    CardsReading,
    DriverState,
    HostMemory,
)
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.ports import Clock
from gpumod.core.units import format_duration
from gpumod.hardware.charges import Charges
from gpumod.hardware.memory import HostMemoryReader
from gpumod.hardware.procfs import ProcessName, ProcessNames
from gpumod.hardware.settings import HardwareSettings
from gpumod.hardware.worker import Worker

_log = logging.getLogger(__name__)
_NAME = "host memory"


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    host: HostMemory
    charges: Mapping[int, int]
    names: Mapping[int, ProcessName]


class HostHardware:
    """`Hardware` for a box whose card is the host's own memory; the card's id is `host`.

    The measure. A service is charged the anonymous PSS of its processes (`charges.Charges`): what its
    engine has allocated, without the page cache of the model file. The card's size is the host's memory,
    or `host_limit` where that is smaller, and

        free = min(available to this process, size - charges)

    so that what is held and what is free never exceed the size. The charge of a process disappears in the
    first reading after it has gone; a process that is still being torn down keeps it, since the kernel
    has not freed its memory.

    Memory that others hold shows only in `free`: foreign processes of a host are too many to list.
    """

    def __init__(self, settings: HardwareSettings, clock: Clock, *, reason: str = "") -> None:
        """Args: `reason` says in readings why the host is the card."""
        root = settings.root.rstrip("/")
        self._settings = settings
        self._clock = clock
        self._reason = reason
        self._worker = Worker("gpumod-host")
        self._memory = HostMemoryReader(root, settings.host_headroom)
        self._charges = Charges(root)
        self._names = ProcessNames(root)
        self._last: _Look | None = None

    async def read(
        self, *, ours: Mapping[int, ServiceId] | None = None, only: Collection[CardId] | None = None
    ) -> CardsReading:
        """As the port says."""
        services = dict(ours or {})
        look, reason = await self._look(services)
        now = self._clock.now()
        host = look.host if look is not None else HostMemory(total=0, available=0)
        cards: tuple[Card, ...] = ()
        if only is None or HOST_CARD in only:
            card = _compose(look, services, self._settings)
            if reason:
                age = now - look.at if look is not None else 0.0
                card = replace(card, health=CardHealth.UNKNOWN, reason=reason, age=age)
            cards = (card,)
        return CardsReading(now, DriverState.ABSENT, cards, host, reason=self._reason)

    def subscribe(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """Nothing ever happens to this card: `on_event` is not called."""
        del on_event
        return _nothing

    async def close(self) -> None:
        """End the thread."""
        await self._worker.close(self._settings.bounds.driver_call)

    async def _look(self, services: Mapping[int, ServiceId]) -> tuple[_Look | None, str]:
        bound = self._settings.bounds.driver_call
        try:
            self._last = await self._worker.run(lambda: self._look_now(services), bound)
        except TimeoutError:
            waited = format_duration(max(bound, self._worker.busy_for))
            return self._last, f"/proc has not answered for {waited}: a process may hang in the kernel"
        except Exception as error:  # noqa: BLE001 - the port promises not to raise
            _log.exception("the host's memory cannot be read")
            return self._last, f"the host's memory cannot be read: {error}"
        return self._last, ""

    def _look_now(self, services: Mapping[int, ServiceId]) -> _Look:
        charges = self._charges.measure(services)
        names = self._names.of(charges)
        return _Look(self._clock.now(), self._memory.read(), charges, names)


def _nothing() -> None:
    """What a subscription to nothing is ended with."""


def _compose(look: _Look | None, services: Mapping[int, ServiceId], settings: HardwareSettings) -> Card:
    headroom = settings.headroom_on(HOST_CARD, 0)
    if look is None:
        return Card(id=HOST_CARD, index=0, name=_NAME, total=0, free=0, headroom=headroom)
    limit = settings.host_limit
    total = look.host.total if limit is None else min(limit, look.host.total)
    free = max(0, min(look.host.available, total - sum(look.charges.values())))
    nobody = ProcessName()
    processes = tuple(
        CardProcess(
            pid=pid,
            used=used,
            command=look.names.get(pid, nobody).command,
            user=look.names.get(pid, nobody).user,
            service=services.get(pid),
        )
        for pid, used in sorted(look.charges.items())
    )
    return Card(
        id=HOST_CARD,
        index=0,
        name=_NAME,
        total=total,
        free=free,
        headroom=headroom,
        processes=processes,
    )
