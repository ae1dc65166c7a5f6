"""Reads the cards, in the driver's thread, onto a board that the event loop looks at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

import pynvml

from gpumod.core.cards import CardEvent, CardEventKind, CardHealth, DriverState
from gpumod.core.names import CardId
from gpumod.core.ports import Clock
from gpumod.hardware.driver import (
    Driver,
    DriverProblemError,
    Extras,
    KnownCard,
    ListedProcess,
    Memory,
    driver_problem,
)
from gpumod.hardware.events import EventWatch
from gpumod.hardware.visibility import PidVisibility

_log = logging.getLogger(__name__)

RETRY: Final = 10.0
"""Seconds after which a driver that failed is opened again."""
REDISCOVER: Final = 60.0
"""The same for one that has lost a card: the other cards' events are not heard for a moment meanwhile."""

_MIG: Final = "MIG is enabled on this card; gpumod manages whole cards: disable it with `nvidia-smi -mig 0`"
_NO_MEMORY_INFO: Final = (
    "NVML cannot tell this card's memory (it shares the host's): set `cards: host` to use the host's memory"
)
_V1: Final = (
    "this driver has memory info version 1 only, which counts the driver's own reserve as used:"
    " free memory is right, total is not all allocatable"
)
_LOST: Final = "the card has fallen off the bus: reset it or reboot, and look into `dmesg` for its Xid"
_GONE_ERRORS: Final = (
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
)
"""Errors of a call about one card that are about the whole driver."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was last seen of a card, and when; the numbers are the last good ones."""

    id: CardId
    index: int
    name: str
    at: float
    compute_capability: tuple[int, int] | None = None
    multiprocessors: int | None = None
    memory: Memory = field(default_factory=lambda: Memory(0, 0, 0, 0, has_reserve=True))
    processes: tuple[ListedProcess, ...] = ()
    pids_visible: bool = True
    extras: Extras = field(default_factory=Extras)
    health: CardHealth = CardHealth.OK
    reason: str = ""
    looked: float = float("-inf")
    """When it was last asked, with whatever result, by the monotonic clock."""


@dataclass(slots=True)
class Board:
    """Written by the driver's thread, read by the event loop; each value is replaced as a whole."""

    state: DriverState = DriverState.NOT_ANSWERING
    reason: str = "the driver has not answered yet"
    version: str = ""
    cards: dict[CardId, Seen] = field(default_factory=dict)
    doing: str = ""
    """The driver's present task, for whoever waits for it."""


class CardReader:
    """Everything that asks the driver, in the driver's thread where it does not say otherwise."""

    def __init__(
        self, clock: Clock, visibility: PidVisibility, tell: Callable[[CardEvent], None], *, bound: float
    ) -> None:
        """Args: `bound` is how long reading a card may take before it counts as slow, in seconds."""
        self.board = Board()
        self._clock = clock
        self._bound = bound
        self._visibility = visibility
        self._tell = tell
        self._watch = EventWatch(tell, clock)
        self._driver: Driver | None = None
        self._broken = False
        self._opened_at = float("-inf")
        self._slow: set[CardId] = set()

    def look(self, only: Collection[CardId] | None) -> None:
        """Read all cards, or some of them and only their memory and processes."""
        driver = self._open_if_due()
        if driver is None:
            return
        cards = [card for card in driver.cards if only is None or card.id in only]
        # A card whose calls were slow comes last, so that the others are read before it.
        cards.sort(key=lambda card: card.id in self._slow)
        try:
            for card in cards:
                self.board.doing = f"reading card {card.index} ({card.id})"
                before = self._clock.monotonic()
                self._put(self._look_at(driver, card, full=only is None))
                slow = self._clock.monotonic() - before > self._bound
                (self._slow.add if slow else self._slow.discard)(card.id)
        except DriverProblemError as problem:
            self._fail(problem)
        finally:
            self.board.doing = ""

    def stop_events(self) -> None:
        """Tell the thread that waits for events to end; from any thread."""
        self._watch.stopped()

    def close(self, bound: float) -> None:
        """Close the library, unless the thread that waits for events hangs in it."""
        driver, self._driver = self._driver, None
        self.stop_events()
        if self._watch.join(bound) and driver is not None:
            driver.close()

    # --- the library -----------------------------------------------------------------------------

    def _open_if_due(self) -> Driver | None:
        """The driver; None while it does not work. Opened (again) when that is due, and never waited for."""
        fails = self._driver is None or self._broken
        due = self._clock.monotonic() - self._opened_at >= (RETRY if fails else REDISCOVER)
        wanted = due and (fails or self._has_lost_a_card())
        if not wanted or not self._watch.stopped():
            return None if self._broken else self._driver
        self._opened_at = self._clock.monotonic()
        former, self._driver = self._driver, None
        if former is not None:
            former.close()
        return self._open()

    def _open(self) -> Driver | None:
        self.board.doing = "opening NVML"
        try:
            driver = Driver()
        except DriverProblemError as problem:
            self._fail(problem)
            return None
        finally:
            self.board.doing = ""
        self._driver, self._broken = driver, False
        self.board.state, self.board.reason, self.board.version = DriverState.OK, "", driver.version
        self._list_cards(driver)
        self._watch.start(driver.cards)
        return driver

    def _has_lost_a_card(self) -> bool:
        return any(seen.health is CardHealth.LOST for seen in self.board.cards.values())

    def _fail(self, problem: DriverProblemError) -> None:
        if self.board.state is not problem.state:
            _log.warning("%s", problem)
        self._broken = True
        self._watch.stopped()
        self.board.state = problem.state
        self.board.reason = f"{problem}; tried again every {RETRY:.0f} s"
        for seen in tuple(self.board.cards.values()):
            if seen.health is not CardHealth.LOST:
                self._put(replace(seen, health=CardHealth.UNKNOWN, reason=str(problem)))

    def _list_cards(self, driver: Driver) -> None:
        """Bring the board's list of cards up to date with the library's."""
        board = self.board.cards
        for card in driver.cards:
            if card.id not in board:
                board[card.id] = _not_read(card, self._clock.now())
        present = {card.id for card in driver.cards}
        unreadable = {card.index: card.error for card in driver.unreadable}
        for seen in [seen for seen in tuple(board.values()) if seen.id not in present]:
            if not seen.name:  # a card that did not tell its UUID; it may by now
                del board[seen.id]
            else:
                self._put(self._failed_to_open(seen, unreadable.pop(seen.index, None)))
        for index, error in unreadable.items():
            self._put(_unreadable(index, error, self._clock.now()))

    def _failed_to_open(self, seen: Seen, error: pynvml.NVMLError | None) -> Seen:
        if error is None or error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
            return self._lose(seen)
        return _unknown(seen, error)

    # --- one card ----------------------------------------------------------------------------------

    def _look_at(self, driver: Driver, card: KnownCard, *, full: bool) -> Seen:
        base = replace(self.board.cards[card.id], index=card.index)
        try:
            seen = self._read(driver, card, base, full=full or base.looked == float("-inf"))
        except pynvml.NVMLError as error:
            return self._failed(base, error)
        if base.health is CardHealth.LOST:
            self._tell(CardEvent(CardEventKind.RETURNED, card.id, seen.at, detail="the card answers again"))
            self._watch.renew()
        return seen

    def _read(self, driver: Driver, card: KnownCard, base: Seen, *, full: bool) -> Seen:
        try:
            memory = driver.memory(card)
        except pynvml.NVMLError_NotSupported:
            return replace(base, at=self._clock.now(), health=CardHealth.UNMANAGED, reason=_NO_MEMORY_INFO)
        processes = driver.processes(card, memory.total)
        extras = driver.extras(card) if full else base.extras
        visible = processes is not None and self._visibility.judge(
            {process.pid for process in processes},
            memory.used,
            lambda: {process.pid for process in driver.processes(card, memory.total) or ()},
        )
        return replace(
            base,
            at=self._clock.now(),
            memory=memory,
            processes=processes or (),
            pids_visible=visible,
            extras=extras,
            health=CardHealth.UNMANAGED if extras.mig else CardHealth.OK,
            reason=_reason(memory, mig=extras.mig),
        )

    def _failed(self, seen: Seen, error: pynvml.NVMLError) -> Seen:
        if error.value in _GONE_ERRORS:
            raise driver_problem(error) from error
        if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
            return self._lose(seen)
        return _unknown(seen, error)

    def _lose(self, seen: Seen) -> Seen:
        if seen.health is not CardHealth.LOST:
            _log.warning("card %s (%s) is lost", seen.index, seen.id)
            self._tell(CardEvent(CardEventKind.LOST, seen.id, self._clock.now(), detail=_LOST))
        return replace(seen, health=CardHealth.LOST, reason=_LOST)

    def _put(self, seen: Seen) -> None:
        self.board.cards[seen.id] = replace(seen, looked=self._clock.monotonic())


def _not_read(card: KnownCard, now: float) -> Seen:
    return Seen(
        card.id,
        card.index,
        card.name,
        now,
        card.compute_capability,
        card.multiprocessors,
        health=CardHealth.UNKNOWN,
        reason="the card has not been read yet",
    )


def _reason(memory: Memory, *, mig: bool) -> str:
    if mig:
        return _MIG
    return "" if memory.has_reserve else _V1


def _unknown(seen: Seen, error: pynvml.NVMLError) -> Seen:
    """A card that cannot be read; a lost one stays so, whatever else the driver says of it."""
    if seen.health is CardHealth.LOST:
        return seen
    return replace(seen, health=CardHealth.UNKNOWN, reason=f"NVML cannot read this card: {error}")


def _unreadable(index: int, error: pynvml.NVMLError, now: float) -> Seen:
    """A card that does not tell its UUID gets a name from its place, until it does."""
    seen = _unknown(Seen(CardId(f"GPU-at-index-{index}"), index, "", now), error)
    if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
        return replace(seen, health=CardHealth.LOST, reason=_LOST)
    return seen
