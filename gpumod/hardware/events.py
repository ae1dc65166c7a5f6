"""Events of cards: those that the driver sends, and who wants to hear of them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final

import pynvml

from gpumod.core.cards import CardEvent, CardEventKind
from gpumod.core.names import CardId
from gpumod.core.ports import Clock
from gpumod.hardware.driver import KnownCard

_log = logging.getLogger(__name__)

_TICK_MS: Final = 250
"""How long the driver is asked to wait for an event: closing takes at most so long."""
_PAUSE: Final = 2.0
"""Before the driver is asked again after it failed, in seconds."""

_ECC: Final = pynvml.nvmlEventTypeSingleBitEccError | pynvml.nvmlEventTypeDoubleBitEccError
_WANTED: Final = pynvml.nvmlEventTypeXidCriticalError | _ECC

_XIDS: Final = {
    13: "graphics engine exception: a program's fault more often than the card's",
    31: "memory page fault: a program's fault more often than the card's",
    43: "the GPU stopped processing: the program on it has to be restarted",
    45: "preemptive cleanup, after an earlier error or because a program was killed",
    48: "double-bit ECC error: the GPU has to be reset",
    63: "a bad memory row was recorded for remapping",
    64: "a bad memory row could not be recorded for remapping",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    94: "contained ECC error: the program on it has to be restarted",
    95: "uncontained ECC error: the GPU has to be reset",
    119: "the GPU's system processor did not answer in time: the GPU has to be reset",
    120: "the GPU's system processor failed: the GPU has to be reset",
}
"""The frequent ones of NVIDIA's "XID Errors" guide, in short."""


class Subscribers:
    """Who wants to hear of card events; each is called in the event loop it subscribed from."""

    def __init__(self) -> None:
        self._calls: list[tuple[asyncio.AbstractEventLoop, Callable[[CardEvent], None]]] = []

    def add(self, on_event: Callable[[CardEvent], None]) -> Callable[[], None]:
        """Subscribe; returns how to end it."""
        entry = (asyncio.get_running_loop(), on_event)
        self._calls.append(entry)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._calls.remove(entry)

        return end

    def tell(self, event: CardEvent) -> None:
        """Tell everyone; from any thread."""
        for entry in tuple(self._calls):
            with contextlib.suppress(RuntimeError):  # that loop has been closed
                entry[0].call_soon_threadsafe(self._call, entry, event)

    def _call(
        self, entry: tuple[asyncio.AbstractEventLoop, Callable[[CardEvent], None]], event: CardEvent
    ) -> None:
        if entry in self._calls:
            entry[1](event)


class Support(Enum):
    """What became of registering a card for events."""

    REGISTERED = auto()
    NONE = auto()
    NOT_NOW = auto()
    """It failed, as for a card that is lost."""


class EventWatch:
    """Waits for the driver's events in a thread of its own, from `start` until it is told to stop.

    A driver or card without events is normal, and says nothing.
    """

    def __init__(self, tell: Callable[[CardEvent], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._stop = threading.Event()
        self._renew = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, cards: Sequence[KnownCard]) -> None:
        """Watch these cards; the library has been opened, and the former thread has ended."""
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._run, args=(tuple(cards),), name="gpumod-nvml-events", daemon=True
        )
        self._thread.start()

    def renew(self) -> None:
        """Watch the same cards anew, after one of them has returned."""
        self._renew.set()

    def stopped(self) -> bool:
        """Tell the thread to end; whether it has. The library may be closed after that only."""
        self._stop.set()
        return self._thread is None or not self._thread.is_alive()

    def join(self, bound: float) -> bool:
        """Wait for the end of a thread that was told to; False when it hangs in the driver."""
        if self._thread is not None:
            self._thread.join(bound)
        return self.stopped()

    def _run(self, cards: Sequence[KnownCard]) -> None:
        while not self._stop.is_set():
            self._renew.clear()
            try:
                if not self._watch(cards):
                    return
            except pynvml.NVMLError as error:
                # A lost card fails the whole set; it is made anew with those that are left.
                _log.info("the driver's events were interrupted: %s", error)
                self._stop.wait(_PAUSE)

    def _watch(self, cards: Sequence[KnownCard]) -> bool:
        """One event set, until it fails or is to be renewed; False where there is nothing to wait for."""
        try:
            events = pynvml.nvmlEventSetCreate()
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            return False
        try:
            registered = [_register(card, events) for card in cards]
            if Support.NONE in registered and len(set(registered)) == 1:
                return False
            ids = {_address(card.handle): card.id for card in cards}
            while not self._stop.is_set() and not self._renew.is_set():
                with contextlib.suppress(pynvml.NVMLError_Timeout):
                    data = pynvml.nvmlEventSetWait(events, _TICK_MS)
                    card = ids.get(_address(data.device))
                    if card is not None:
                        self._tell(card_event(card, data.eventType, data.eventData, self._clock.now()))
        finally:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(events)
        return True


def card_event(card: CardId, kind: int, code: int, at: float) -> CardEvent:
    """What one event of the driver means."""
    if kind & _ECC:
        bits = "double-bit" if kind & pynvml.nvmlEventTypeDoubleBitEccError else "single-bit"
        return CardEvent(CardEventKind.ECC, card, at, detail=f"{bits} ECC error")
    meaning = _XIDS.get(code, "see NVIDIA's list of Xid errors")
    return CardEvent(CardEventKind.XID, card, at, code=code, detail=f"Xid {code}: {meaning}")


def _register(card: KnownCard, events: Any) -> Support:
    try:
        supported = pynvml.nvmlDeviceGetSupportedEventTypes(card.handle) & _WANTED
        if supported:
            pynvml.nvmlDeviceRegisterEvents(card.handle, supported, events)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return Support.NONE
    except pynvml.NVMLError:
        return Support.NOT_NOW
    return Support.REGISTERED if supported else Support.NONE


def _address(handle: Any) -> int:
    """The driver names a card by a pointer."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
