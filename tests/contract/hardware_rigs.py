"""Boxes with two cards of 24 GiB, made of nothing and made of the NVML stand-in; one contract for both."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Protocol

from gpumod.core.bounds import Bounds
from gpumod.core.cards import DriverState
from gpumod.core.names import CardId
from gpumod.core.ports import Hardware
from gpumod.hardware.nvml import NvmlHardware
from gpumod.hardware.settings import HardwareSettings
from gpumod.hardware.visibility import PidView, PidVisibility
from gpumod.testing.hardware import FakeHardware, fake_cards
from tests.nvml import standin

GIB = 1024**3
PATIENT = Bounds(driver_call=30.0)
"""Nothing hangs: on a busy machine a call may take long."""
IMPATIENT = Bounds(driver_call=1.0)
"""Something hangs, and is waited for once."""
FOR_EVER = -1


class SkippingClock:
    """The real time, and a way to be later."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def skip(self, seconds: float) -> None:
        self._skipped += seconds

    def now(self) -> float:
        return time.time() + self._skipped

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Rig(Protocol):
    """What happens to a box."""

    @property
    def clock(self) -> SkippingClock: ...
    @property
    def hardware(self) -> Hardware: ...
    @property
    def cards(self) -> tuple[CardId, CardId]: ...
    def spawn(self) -> int: ...
    def kill(self, pid: int) -> None: ...
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
    ) -> None: ...
    def stop_lingering(self) -> None: ...
    def grab(self, card: CardId, size: int, after: int) -> None: ...
    def hang(self, card: CardId) -> None: ...
    def unhang(self, card: CardId) -> None: ...
    def lose(self, card: CardId) -> None: ...
    def bring_back(self, card: CardId) -> None: ...
    def watched(self) -> bool: ...
    def xid(self, card: CardId, code: int) -> None: ...
    def ecc(self, card: CardId) -> None: ...
    def driver(self, state: DriverState) -> None: ...
    def unmanage(self, card: CardId) -> None: ...
    def hide_pids(self, card: CardId) -> None: ...
    def end(self) -> None: ...


class FakeRig:
    """The shipped fake."""

    def __init__(self, bounds: Bounds) -> None:
        self.clock = SkippingClock()
        self.hardware = FakeHardware(fake_cards(2), self.clock, bounds=bounds)
        self.cards = (CardId("GPU-0"), CardId("GPU-1"))
        self._pid = 1000

    def spawn(self) -> int:
        self._pid += 1
        self.hardware.name(self._pid, "sleep 60", "somebody")
        return self._pid

    def kill(self, pid: int) -> None:
        self.hardware.release(pid)

    def hold(self, pid, card, size, *, told=True, graphics=False, linger=0, listed_after=False) -> None:
        self.hardware.hold(
            pid, card, size, told=told, graphics=graphics, linger=linger, listed_after=listed_after
        )

    def stop_lingering(self) -> None:
        self.hardware.stop_lingering()

    def grab(self, card: CardId, size: int, after: int) -> None:
        self.hardware.foreign_grab(card, size, after=after)

    def hang(self, card: CardId) -> None:
        self.hardware.hang(card)

    def unhang(self, card: CardId) -> None:
        self.hardware.unhang(card)

    def lose(self, card: CardId) -> None:
        self.hardware.lose(card)

    def bring_back(self, card: CardId) -> None:
        self.hardware.bring_back(card)

    def watched(self) -> bool:
        return True

    def xid(self, card: CardId, code: int) -> None:
        self.hardware.xid(card, code)

    def ecc(self, card: CardId) -> None:
        self.hardware.ecc(card)

    def driver(self, state: DriverState) -> None:
        self.hardware.set_driver(state, "" if state is DriverState.OK else "because the test says so")

    def unmanage(self, card: CardId) -> None:
        self.hardware.unmanage(card, "MIG is enabled")

    def hide_pids(self, card: CardId) -> None:
        self.hardware.hide_pids(card)

    def end(self) -> None:
        """Nothing was started."""


class NvmlRig:
    """The real adapter and the real binding, on a stand-in library."""

    def __init__(self, gpus: standin.Standin, bounds: Bounds) -> None:
        self.gpus = gpus
        self.clock = SkippingClock()
        self.hardware = NvmlHardware(
            HardwareSettings(bounds=bounds), self.clock, visibility=PidVisibility(PidView.UNCERTAIN)
        )
        self.cards = (CardId(gpus.uuids[0]), CardId(gpus.uuids[1]))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._held: set[tuple[int, int]] = set()

    def spawn(self) -> int:
        process = subprocess.Popen(["sleep", "60"])
        self._processes[process.pid] = process
        return process.pid

    def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.kill()
        process.wait()

    def hold(self, pid, card, size, *, told=True, graphics=False, linger=0, listed_after=False) -> None:
        more = {"graphics": graphics, "linger": linger, "listed_after": listed_after}
        number = self.cards.index(card)
        self._held.add((pid, number))
        self.gpus.hold(pid, number, size, **(more if told else more | {"told": None}))

    def stop_lingering(self) -> None:
        for pid, number in self._held:
            if pid not in self._processes:
                self.gpus.release(pid, number)

    def grab(self, card: CardId, size: int, after: int) -> None:
        self.gpus.grab(self.cards.index(card), size, after=after)

    def hang(self, card: CardId) -> None:
        self.gpus.hang("nvmlDeviceGetMemoryInfo_v2", self.cards.index(card))

    def unhang(self, card: CardId) -> None:
        self.gpus.unhang()

    def lose(self, card: CardId) -> None:
        self.gpus.lose(self.cards.index(card))

    def bring_back(self, card: CardId) -> None:
        self.gpus.bring_back()

    def watched(self) -> bool:
        return self.gpus.watched(0) and self.gpus.watched(1)

    def xid(self, card: CardId, code: int) -> None:
        self.gpus.xid(self.cards.index(card), code)

    def ecc(self, card: CardId) -> None:
        self.gpus.ecc(self.cards.index(card))

    def driver(self, state: DriverState) -> None:
        codes = {
            DriverState.NOT_LOADED: standin.DRIVER_NOT_LOADED,
            DriverState.VERSION_MISMATCH: standin.VERSION_MISMATCH,
            DriverState.NO_PERMISSION: standin.NO_PERMISSION,
            DriverState.FAILED: standin.UNKNOWN,
        }
        self.gpus.answer_all()
        if state is not DriverState.OK:
            self.gpus.no_driver(codes[state])

    def unmanage(self, card: CardId) -> None:
        self.gpus.set_card(self.cards.index(card), mig=1)

    def hide_pids(self, card: CardId) -> None:
        self.gpus.hold(2**22 + 1, self.cards.index(card), GIB, ghost=True)  # above every pid there can be

    def end(self) -> None:
        self.gpus.unhang()
        for pid in tuple(self._processes):
            self.kill(pid)
