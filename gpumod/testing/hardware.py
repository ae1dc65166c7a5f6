"""Cards and a host that exist only in memory, with every misbehaviour that real ones have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gpumod.core.bounds import DEFAULT_BOUNDS, Bounds
from gpumod.core.cards import (
    Card,
    CardEvent,
    CardEventKind,
    CardHealth,
    CardProcess,
    CardsReading,
    DriverState,
    HostMemory,
)
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.ports import Clock
from gpumod.core.units import GIB

FOR_EVER: Final = -1
FOREIGN_PID: Final = 1


@dataclass(frozen=True, slots=True)
class FakeCard:
    """A card as it was bought; `id` may be `host`. Sizes are bytes."""

    id: CardId
    total: int = 24 * GIB
    reserved: int = 0
    headroom: int = 0
    name: str = "NVIDIA GeForce RTX 3090"
    compute_capability: tuple[int, int] | None = (8, 6)
    multiprocessors: int | None = 82


@dataclass(slots=True)
class _Hold:
    pid: int
    size: int
    told: bool
    graphics: bool
    linger: int
    listed_after: bool
    gone: bool = False


@dataclass(slots=True)
class _Grab:
    pid: int
    size: int
    after: int


@dataclass(slots=True)
class _State:
    """A card at work."""

    card: FakeCard
    index: int
    holds: list[_Hold] = field(default_factory=list)
    grabs: list[_Grab] = field(default_factory=list)
    hangs: bool = False
    lost: bool = False
    unmanaged: str = ""
    pids_visible: bool = True
    seen: Card | None = None
    seen_at: float = 0.0


def fake_cards(count: int, total: int = 24 * GIB) -> tuple[FakeCard, ...]:
    """So many equal cards, `GPU-0` and on."""
    return tuple(FakeCard(CardId(f"GPU-{number}"), total) for number in range(count))


class FakeHardware:
    """`Hardware` for tests. What a process holds stays until `release`, or until `alive` denies its pid.

    Every change shows in the next reading; nothing takes time but a reading that hangs, which takes
    `Bounds.driver_call` of the clock the first time and none after that.
    """

    def __init__(
        self,
        cards: Iterable[FakeCard],
        clock: Clock,
        *,
        host_total: int = 64 * GIB,
        alive: Callable[[int], bool] | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> None:
        """Args: `alive` says whether a pid still exists; left out, all do."""
        self._cards = {card.id: _State(card, index) for index, card in enumerate(cards)}
        self._clock = clock
        self._alive = alive
        self._bound = bounds.driver_call
        self._calls: list[Callable[[CardEvent], None]] = []
        self._driver = DriverState.ABSENT if HOST_CARD in self._cards else DriverState.OK
        self._reason = ""
        self._overdue = False
        self._names: dict[int, tuple[str, str]] = {}
        self.host = HostMemory(total=host_total, available=host_total)
        """May be set to anything."""
        self.readings: list[frozenset[CardId] | None] = []
        """What each reading was limited to."""

    # --- the port --------------------------------------------------------------------------------

    async def read(
        self, *, ours: Mapping[int, ServiceId] | None = None, only: Collection[CardId] | None = None
    ) -> CardsReading:
        """As the port says."""
        self.readings.append(None if only is None else frozenset(only))
        wanted = [state for state in self._cards.values() if only is None or state.card.id in only]
        hangs = any(state.hangs for state in wanted)
        if hangs and not self._overdue:
            await self._clock.sleep(self._bound)
        self._overdue = hangs
        driver, reason = self._driver, self._reason
        if hangs:
            driver, reason = DriverState.NOT_ANSWERING, "the driver has not answered in time"
        works = driver in {DriverState.OK, DriverState.ABSENT, DriverState.NOT_ANSWERING}
        cards = [
            self._read_card(state, ours or {}) if works else self._last(state, reason) for state in wanted
        ]
        known = tuple(card for card in cards if card is not None)
        return CardsReading(self._clock.now(), driver, known, self.host, reason=reason, driver_version="fake")

    def subscribe(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """As the port says."""
        self._calls.append(on_event)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._calls.remove(on_event)

        return end

    async def close(self) -> None:
        """Nothing is open."""

    # --- what processes do -------------------------------------------------------------------------

    def hold(
        self,
        pid: int,
        card: CardId,
        size: int,
        *,
        told: bool = True,
        graphics: bool = False,
        linger: int = 0,
        listed_after: bool = False,
    ) -> None:
        """A process holds so much of a card from now on, in place of what it held there.

        Args:
            pid: whose.
            card: where.
            size: how much, in bytes.
            told: whether the driver tells the process's bytes.
            graphics: whether it is in the list of graphics processes.
            linger: for how many readings the memory stays after the process; FOR_EVER: a leak.
            listed_after: whether the pid stays in the list for as long.
        """
        holds = self._cards[card].holds
        holds[:] = [one for one in holds if one.pid != pid]
        holds.append(_Hold(pid, size, told, graphics, linger, listed_after))

    def name(self, pid: int, command: str, user: str = "root") -> None:
        """What a pid is shown as."""
        self._names[pid] = (command, user)

    def release(self, pid: int) -> None:
        """The process has gone from every card; what lingers after it stays for as long as it was told."""
        for state in self._cards.values():
            for one in state.holds:
                one.gone = one.gone or one.pid == pid

    def stop_lingering(self) -> None:
        """All that lingers or leaked comes back."""
        for state in self._cards.values():
            state.holds[:] = [one for one in state.holds if not self._is_gone(one)]

    def foreign_grab(self, card: CardId, size: int, *, after: int = 0, pid: int = FOREIGN_PID) -> None:
        """A foreign process takes memory: the (after + 1)th reading from now is the first to show it."""
        self._cards[card].grabs.append(_Grab(pid, size, after))

    # --- what cards and drivers do -----------------------------------------------------------------

    def hang(self, card: CardId) -> None:
        """The driver does not answer questions about this card."""
        self._cards[card].hangs = True

    def unhang(self, card: CardId) -> None:
        """It answers again."""
        self._cards[card].hangs = False

    def lose(self, card: CardId) -> None:
        """The card falls off the bus; the next reading finds out."""
        self._cards[card].lost = True

    def bring_back(self, card: CardId) -> None:
        """A lost card is there again."""
        self._cards[card].lost = False

    def unmanage(self, card: CardId, reason: str) -> None:
        """The card is listed and cannot be used (MIG)."""
        self._cards[card].unmanaged = reason

    def hide_pids(self, card: CardId) -> None:
        """The pids listed there are not those of this system, as in a container."""
        self._cards[card].pids_visible = False

    def set_driver(self, state: DriverState, reason: str = "") -> None:
        """The driver as a whole works, or does not."""
        self._driver, self._reason = state, reason

    def xid(self, card: CardId, code: int) -> None:
        """The driver reports an Xid error."""
        self._tell(CardEvent(CardEventKind.XID, card, self._clock.now(), code=code, detail=f"Xid {code}"))

    def ecc(self, card: CardId) -> None:
        """The driver reports an ECC error."""
        self._tell(CardEvent(CardEventKind.ECC, card, self._clock.now(), detail="double-bit ECC error"))

    # --- one card ------------------------------------------------------------------------------------

    def _read_card(self, state: _State, ours: Mapping[int, ServiceId]) -> Card | None:
        if state.lost:
            return self._lost(state)
        if state.hangs:
            return self._last(state, "the driver has not answered in time") or self._unread(state)
        if state.seen is not None and state.seen.health is CardHealth.LOST:
            self._tell(CardEvent(CardEventKind.RETURNED, state.card.id, self._clock.now()))
        self._let_grabs_happen(state)
        held, processes = self._look_at_holds(state, ours)
        free = max(0, state.card.total - state.card.reserved - held)
        if state.card.id == HOST_CARD:
            free = min(free, self.host.available)
        state.seen_at = self._clock.now()
        state.seen = Card(
            id=state.card.id,
            index=state.index,
            name=state.card.name,
            total=state.card.total,
            free=free,
            reserved=state.card.reserved,
            headroom=state.card.headroom,
            health=CardHealth.UNMANAGED if state.unmanaged else CardHealth.OK,
            reason=state.unmanaged,
            pids_visible=state.pids_visible,
            compute_capability=state.card.compute_capability,
            multiprocessors=state.card.multiprocessors,
            processes=processes,
        )
        return state.seen

    def _look_at_holds(
        self, state: _State, ours: Mapping[int, ServiceId]
    ) -> tuple[int, tuple[CardProcess, ...]]:
        held = 0
        processes = []
        for one in tuple(state.holds):
            gone = self._is_gone(one)
            if gone and one.linger == 0:
                state.holds.remove(one)
                continue
            held += one.size
            if not gone or one.listed_after:
                processes.append(self._process(one, ours if state.pids_visible else {}))
            if gone and one.linger > 0:
                one.linger -= 1
        return held, tuple(processes)

    def _process(self, hold: _Hold, ours: Mapping[int, ServiceId]) -> CardProcess:
        command, user = self._names.get(hold.pid, ("", ""))
        return CardProcess(
            pid=hold.pid,
            used=hold.size if hold.told else None,
            command=command,
            user=user,
            graphics=hold.graphics,
            service=ours.get(hold.pid),
        )

    def _is_gone(self, hold: _Hold) -> bool:
        if self._alive is not None and hold.pid != FOREIGN_PID and not self._alive(hold.pid):
            hold.gone = True
        return hold.gone

    def _let_grabs_happen(self, state: _State) -> None:
        for grab in tuple(state.grabs):
            if grab.after == 0:
                state.grabs.remove(grab)
                self.hold(grab.pid, state.card.id, grab.size)
            grab.after -= 1

    def _lost(self, state: _State) -> Card:
        before = state.seen or self._unread(state)
        if before.health is not CardHealth.LOST:
            self._tell(CardEvent(CardEventKind.LOST, state.card.id, self._clock.now()))
            before = replace(before, health=CardHealth.LOST, reason="the card has fallen off the bus")
        state.seen = replace(before, age=self._clock.now() - state.seen_at)
        return state.seen

    def _last(self, state: _State, reason: str) -> Card | None:
        """The card as it was last seen, for as long as nothing can be asked."""
        if state.seen is None or state.seen.health is CardHealth.LOST:
            return state.seen
        age = self._clock.now() - state.seen_at
        return replace(state.seen, health=CardHealth.UNKNOWN, reason=reason, age=age)

    def _unread(self, state: _State) -> Card:
        """A card that was never read."""
        return Card(
            id=state.card.id,
            index=state.index,
            name=state.card.name,
            total=0,
            free=0,
            headroom=state.card.headroom,
            health=CardHealth.UNKNOWN,
            reason="the driver has not answered in time",
        )

    def _tell(self, event: CardEvent) -> None:
        """In the event loop, as the port says, and after the reading that found out has its answer."""
        loop = asyncio.get_running_loop()
        for call in tuple(self._calls):
            loop.call_soon(self._call, call, event)

    def _call(self, call: Callable[[CardEvent], None], event: CardEvent) -> None:
        if call in self._calls:
            call(event)
