"""NVIDIA cards through NVML: the adapter of the `Hardware` port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from gpumod.core.cards import Card, CardEvent, CardHealth, CardProcess, CardsReading, DriverState, HostMemory
from gpumod.core.names import CardId, ServiceId
from gpumod.core.ports import Clock
from gpumod.core.units import format_duration
from gpumod.hardware.events import Subscribers
from gpumod.hardware.memory import HostMemoryReader
from gpumod.hardware.procfs import ProcessName, ProcessNames
from gpumod.hardware.reader import CardReader, Seen
from gpumod.hardware.settings import HardwareSettings
from gpumod.hardware.visibility import PidVisibility, pid_view
from gpumod.hardware.worker import Worker

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CLOSING: Final = 1.0
"""What closing may take beyond a driver call's bound: the thread of events ends within its tick."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why this reading could not ask the driver, in a sentence."""

    state: DriverState
    reason: str


class NvmlHardware:
    """`Hardware` for NVIDIA cards.

    Every call that asks about a card is made in one thread, so a driver that hangs blocks no one: who waits
    for it gets what was last seen, as `unknown` with its age, and the cards that were read before it as
    they are. While a call is past its bound, a reading answers at once. A driver that is missing or broken
    is tried again every ten seconds; until it works there are no cards, and the reading says why.

    /proc is read in a second thread, and the driver's events are awaited in a third.
    """

    def __init__(
        self, settings: HardwareSettings, clock: Clock, *, visibility: PidVisibility | None = None
    ) -> None:
        """Args: `visibility` judges whether listed pids are ours to see; found out when left out."""
        root = settings.root.rstrip("/")
        self._settings = settings
        self._clock = clock
        self._bound = settings.bounds.driver_call
        self._subscribers = Subscribers()
        self._reader = CardReader(
            clock, visibility or PidVisibility(pid_view(root)), self._subscribers.tell, bound=self._bound
        )
        self._driver = Worker("gpumod-nvml")
        self._proc = Worker("gpumod-proc")
        self._memory = HostMemoryReader(root, settings.host_headroom)
        self._names = ProcessNames(root)
        self._host = HostMemory(total=0, available=0, headroom=settings.host_headroom)

    async def read(
        self, *, ours: Mapping[int, ServiceId] | None = None, only: Collection[CardId] | None = None
    ) -> CardsReading:
        """As the port says. With `only`, utilisation, temperature and power are the last ones known."""
        started = self._clock.monotonic()
        trouble, host = await asyncio.gather(self._ask_driver(only), self._read_host())
        now = self._clock.now()
        board = self._reader.board
        seen = [one for one in tuple(board.cards.values()) if only is None or one.id in only]
        names = await self._name(seen, self._clock.monotonic() - started)
        cards = tuple(
            compose(
                one,
                now=now,
                trouble=trouble.reason if trouble is not None and one.looked < started else "",
                names=names,
                ours=ours or {},
                headroom=self._settings.headroom_on(one.id, one.index),
            )
            for one in sorted(seen, key=lambda one: (one.index, one.id))
        )
        state, reason = (board.state, board.reason) if trouble is None else (trouble.state, trouble.reason)
        return CardsReading(now, state, cards, host, reason=reason, driver_version=board.version)

    def subscribe(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """As the port says. The driver is opened, and its events are awaited, from the first `read` on."""
        return self._subscribers.add(on_event)

    async def close(self) -> None:
        """Close the library and end the threads; one that hangs in the driver is left behind."""
        bound = self._bound + _CLOSING
        self._reader.stop_events()
        try:
            await self._driver.run(lambda: self._reader.close(bound), bound)
        except TimeoutError:
            await self._driver.close(0)
        else:
            await self._driver.close(bound)
        await self._proc.close(bound)

    async def _ask_driver(self, only: Collection[CardId] | None) -> Trouble | None:
        """Let the driver's thread read the cards; None when it has."""
        try:
            await self._driver.run(lambda: self._reader.look(only), self._bound)
        except TimeoutError:
            doing = self._reader.board.doing or "waiting for its turn"
            waited = format_duration(max(self._bound, self._driver.busy_for))
            return Trouble(
                DriverState.NOT_ANSWERING,
                f"the NVIDIA driver has not answered for {waited} ({doing}): the numbers are the last ones"
                " seen; if this stays, look into `dmesg` and restart the box",
            )
        except Exception as error:  # noqa: BLE001 - the port promises not to raise
            _log.exception("the cards cannot be read")
            return Trouble(DriverState.FAILED, f"the cards cannot be read: {error!r}")
        return None

    async def _read_host(self) -> HostMemory:
        """The host's memory; what was last seen where /proc does not answer."""
        self._host = await self._ask_proc(self._memory.read, self._bound, self._host)
        return self._host

    async def _name(self, seen: Iterable[Seen], spent: float) -> Mapping[int, ProcessName]:
        """Names of the processes on these cards, in what is left of the bound."""
        pids = {process.pid for one in seen if one.pids_visible for process in one.processes}
        if not pids or spent >= self._bound:
            return {}
        return await self._ask_proc(lambda: self._names.of(pids), self._bound - spent, {})

    async def _ask_proc(self, call: Callable[[], _T], bound: float, otherwise: _T) -> _T:
        """What /proc tells; `otherwise` where it does not in time, or nothing that can be understood."""
        try:
            return await self._proc.run(call, bound)
        except TimeoutError:
            _log.warning("/proc has not answered for %s", format_duration(bound))
        except Exception:  # noqa: BLE001 - the port promises not to raise
            _log.exception("/proc cannot be read")
        return otherwise


def compose(
    seen: Seen,
    *,
    now: float,
    trouble: str,
    names: Mapping[int, ProcessName],
    ours: Mapping[int, ServiceId],
    headroom: int,
) -> Card:
    """A card of a reading.

    Args:
        seen: what the driver's thread saw last.
        now: the time of the reading.
        trouble: why the driver did not tell of this card; empty when it did.
        names: of the processes, by pid.
        ours: pids of services.
        headroom: what is left alone on the card, in bytes.
    """
    health, reason = seen.health, seen.reason
    if trouble and health is not CardHealth.LOST:
        health, reason = CardHealth.UNKNOWN, trouble
    stale = health in {CardHealth.UNKNOWN, CardHealth.LOST}
    nobody = ProcessName()
    return Card(
        id=seen.id,
        index=seen.index,
        name=seen.name,
        total=seen.memory.total,
        free=seen.memory.free,
        reserved=seen.memory.reserved,
        headroom=headroom,
        health=health,
        reason=reason,
        age=max(0.0, now - seen.at) if stale else 0.0,
        pids_visible=seen.pids_visible,
        compute_capability=seen.compute_capability,
        multiprocessors=seen.multiprocessors,
        processes=tuple(
            CardProcess(
                pid=process.pid,
                used=process.used,
                command=names.get(process.pid, nobody).command,
                user=names.get(process.pid, nobody).user,
                graphics=process.graphics,
                service=ours.get(process.pid) if seen.pids_visible else None,
            )
            for process in seen.processes
        ),
        utilization=seen.extras.utilization,
        temperature=seen.extras.temperature,
        power_watts=seen.extras.power_watts,
        power_limit_watts=seen.extras.power_limit_watts,
    )
