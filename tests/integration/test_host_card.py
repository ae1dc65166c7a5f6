"""The host's memory as a card: what services are charged, and what is free."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.cards import CardHealth, DriverState
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.hardware.charges import Charges
from gpumod.hardware.host import HostHardware
from gpumod.hardware.settings import HardwareSettings
from tests.contract.hardware_rigs import SkippingClock

MIB = 1024**2
GIB = 1024**3
CHAT = ServiceId("chat")

HOLDER = """
import os, sys
block = bytearray(os.urandom(1)) * int(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""
FAMILY = """
import os, sys
block = bytearray(os.urandom(1)) * int(sys.argv[1])
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
sys.stdin.read()
os.waitpid(child, 0)
"""


class Holder:
    """A process that has written to so many bytes; ends when it is told to."""

    def __init__(self, size: int, code: str = HOLDER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().decode().strip()

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture
def holder() -> Iterator[Holder]:
    holder = Holder(256 * MIB)
    yield holder
    holder.end()


@pytest.fixture
async def capped() -> AsyncIterator[HostHardware]:
    hardware = HostHardware(HardwareSettings(host_limit=1 * GIB, host_headroom=MIB), SkippingClock())
    yield hardware
    await hardware.close()


async def free_of(hardware: HostHardware, ours: dict[int, ServiceId], *, only=None) -> int:
    card = (await hardware.read(ours=ours, only=only)).card(HOST_CARD)
    assert card is not None
    return card.free


async def test_what_is_free_and_what_services_hold_make_up_the_cap(capped, holder):
    reading = await capped.read(ours={holder.pid: CHAT})
    assert reading.driver is DriverState.ABSENT
    (card,) = reading.cards
    (process,) = card.processes
    assert (card.id, card.total, card.health, card.is_host) == (HOST_CARD, 1 * GIB, CardHealth.OK, True)
    assert (process.pid, process.service) == (holder.pid, CHAT)
    assert process.used is not None
    assert 256 * MIB <= process.used < 300 * MIB
    assert card.free == 1 * GIB - process.used
    assert "python" in process.command
    assert process.user
    assert reading.host.total > 1 * GIB, "the cap is the card's, the host's budget is the host's"
    assert reading.host.headroom == MIB


async def test_free_rises_by_the_charge_in_the_first_reading_after_the_end(capped):
    holder = Holder(256 * MIB)
    ours = {holder.pid: CHAT}
    assert await free_of(capped, ours) < 768 * MIB
    holder.end()
    assert await free_of(capped, ours, only=[HOST_CARD]) == 1 * GIB


async def test_memory_shared_after_a_fork_is_charged_once(capped):
    holder = Holder(256 * MIB, FAMILY)
    child = int(holder.said)
    reading = await capped.read(ours={holder.pid: CHAT, child: CHAT})
    charged = sum(process.used or 0 for process in reading.cards[0].processes)
    assert len(reading.cards[0].processes) == 2
    assert 256 * MIB <= charged < 320 * MIB
    holder.end()


async def test_without_a_cap_the_card_is_the_host(holder):
    hardware = HostHardware(HardwareSettings(), SkippingClock())
    reading = await hardware.read(ours={holder.pid: CHAT})
    card = reading.cards[0]
    assert card.total == reading.host.total
    assert card.free <= reading.host.available
    await hardware.close()


async def test_a_cap_above_what_is_there_gives_no_memory(holder):
    hardware = HostHardware(HardwareSettings(host_limit=2**50), SkippingClock())
    card = (await hardware.read()).cards[0]
    assert card.free <= card.total < 2**50
    await hardware.close()


async def test_only_other_cards_are_none_of_its_business(capped):
    reading = await capped.read(only=[CardId("GPU-1")])
    assert reading.cards == ()
    assert reading.host.total > 0


async def test_proc_that_hangs_makes_the_card_unknown_with_the_last_numbers(capped, monkeypatch):
    hardware = HostHardware(HardwareSettings(bounds=Bounds(driver_call=0.5)), SkippingClock())
    before = (await hardware.read()).cards[0]
    assert before.health is CardHealth.OK
    free = threading.Event()
    monkeypatch.setattr(Charges, "measure", lambda *_, **__: free.wait() and {})
    try:
        card = (await hardware.read()).cards[0]
        assert (card.health, card.total) == (CardHealth.UNKNOWN, before.total)
        assert card.age > 0
        assert "/proc" in card.reason
    finally:
        free.set()
        monkeypatch.undo()
    for _ in range(12_000):
        card = (await hardware.read()).cards[0]
        if card.health is CardHealth.OK:
            break
        await asyncio.sleep(0.005)
    assert (card.health, card.age) == (CardHealth.OK, 0.0)
    await hardware.close()


async def test_its_subscribers_hear_nothing(capped):
    capped.subscribe(lambda event: pytest.fail(f"{event}"))()
    await capped.read()
