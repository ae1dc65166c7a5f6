"""What only NVML has: versions, missing functions, odd numbers, cards that cannot be opened."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pynvml
import pytest

from gpumod.core.cards import CardEvent, CardEventKind, CardHealth, DriverState
from gpumod.core.names import CardId
from gpumod.hardware.events import card_event
from gpumod.hardware.nvml import NvmlHardware
from gpumod.hardware.settings import HardwareSettings
from tests.contract.hardware_rigs import IMPATIENT, PATIENT, SkippingClock
from tests.nvml import standin
from tests.nvml.standin import GIB, MIB, Standin
from tests.patience import PATIENCE

ME = os.getpid()


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
async def hardware(nvml_here: Standin, clock: SkippingClock) -> AsyncIterator[NvmlHardware]:
    settings = HardwareSettings(headroom=GIB, headroom_of={"1": 2 * GIB}, bounds=PATIENT)
    hardware = NvmlHardware(settings, clock)
    yield hardware
    nvml_here.unhang()
    await hardware.close()


# --- memory --------------------------------------------------------------------------------------


async def test_the_driver_s_reserve_is_neither_free_nor_used_by_anyone(nvml_here, hardware):
    nvml_here.set_card(0, reserved=300 * MIB)
    card = (await hardware.read()).cards[0]
    assert (card.total, card.reserved, card.free) == (24 * GIB, 300 * MIB, 24 * GIB - 300 * MIB)
    assert card.reason == ""


async def test_a_driver_with_memory_info_version_1_only_works_and_says_so(nvml_here, hardware):
    nvml_here.set_card(0, reserved=300 * MIB)
    nvml_here.answer("nvmlDeviceGetMemoryInfo_v2", standin.FUNCTION_NOT_FOUND)
    card = (await hardware.read()).cards[0]
    assert (card.health, card.total, card.reserved) == (CardHealth.OK, 24 * GIB, 0)
    assert card.free == 24 * GIB - 300 * MIB
    assert "version 1" in card.reason


def test_a_library_that_lacks_the_symbol_of_version_2(tmp_path, nvml_library):
    old = tmp_path / "old"
    old.mkdir()
    standin.build(old, "-DWITHOUT_MEMORY_V2")
    gpus = Standin(tmp_path / "state", old)
    reason = read_in_subprocess(gpus, "print(reading.cards[0].free, reading.cards[0].reason)")
    assert reason.startswith(f"{24 * GIB} ")
    assert "version 1" in reason


async def test_a_card_that_shares_the_host_s_memory_is_not_managed(nvml_here, hardware):
    nvml_here.answer("nvmlDeviceGetMemoryInfo_v2", standin.NOT_SUPPORTED, 0)
    cards = (await hardware.read()).cards
    assert [card.health for card in cards] == [CardHealth.UNMANAGED, CardHealth.OK]
    assert "`cards: host`" in cards[0].reason


async def test_headroom_is_by_card_where_it_is_set_for_one(hardware):
    assert [card.headroom for card in (await hardware.read()).cards] == [GIB, 2 * GIB]


# --- processes -----------------------------------------------------------------------------------


async def test_a_process_in_both_lists_is_one_process_with_its_bytes_once(nvml_here, hardware):
    nvml_here.hold(ME, 0, 5 * GIB, graphics="both")
    card = (await hardware.read()).cards[0]
    assert [(one.pid, one.used, one.graphics) for one in card.processes] == [(ME, 5 * GIB, True)]
    assert card.free == 19 * GIB


@pytest.mark.parametrize("nonsense", [2**64 - 1, 2**64 - 4096, 25 * GIB])
async def test_bytes_that_cannot_be_are_no_number(nvml_here, hardware, nonsense):
    nvml_here.hold(ME, 0, 5 * GIB, told=nonsense)
    card = (await hardware.read()).cards[0]
    assert [(one.pid, one.used) for one in card.processes] == [(ME, None)]
    assert card.free == 19 * GIB


async def test_older_process_lists_are_used_where_there_are_no_newer_ones(nvml_here, hardware):
    for kind in ("Compute", "Graphics"):
        nvml_here.answer(f"nvmlDeviceGet{kind}RunningProcesses_v3", standin.FUNCTION_NOT_FOUND)
    nvml_here.hold(ME, 0, 5 * GIB)
    for _ in range(2):
        assert [one.used for one in (await hardware.read()).cards[0].processes] == [5 * GIB]


async def test_a_driver_that_lists_no_processes_shows_no_pids(nvml_here, hardware):
    for kind in ("Compute", "Graphics"):
        nvml_here.answer(f"nvmlDeviceGet{kind}RunningProcesses_v3", standin.NOT_SUPPORTED)
    nvml_here.hold(ME, 0, 5 * GIB)
    card = (await hardware.read()).cards[0]
    assert (card.health, card.processes, card.pids_visible) == (CardHealth.OK, (), False)
    assert card.free == 19 * GIB


async def test_many_processes_on_one_card(nvml_here, hardware):
    for pid in range(2**22 + 1, 2**22 + 101):
        nvml_here.hold(pid, 0, MIB, ghost=True)
    assert len((await hardware.read()).cards[0].processes) == 100


# --- cards ---------------------------------------------------------------------------------------


async def test_indexes_follow_the_pci_bus_whatever_the_library_s_order(nvml_here, hardware):
    nvml_here.set_cards([standin.card(0, bus=0x41), standin.card(1, bus=0x21)])
    cards = (await hardware.read()).cards
    assert [(card.index, card.id) for card in cards] == [
        (0, nvml_here.uuids[1]),
        (1, nvml_here.uuids[0]),
    ]


async def test_what_a_card_does_not_support_is_none(nvml_here, hardware):
    calls = (
        "PowerUsage",
        "EnforcedPowerLimit",
        "UtilizationRates",
        "Temperature",
        "MigMode",
        "CudaComputeCapability",
        "NumGpuCores",
    )
    for call in calls:
        nvml_here.answer(f"nvmlDeviceGet{call}", standin.NOT_SUPPORTED, 0)
    nvml_here.set_card(1, utilization=42, temperature=61, power_mw=123_000, power_limit_mw=300_000)
    bare, full = (await hardware.read()).cards
    assert (bare.health, bare.utilization, bare.temperature, bare.power_watts) == (
        CardHealth.OK,
        None,
        None,
        None,
    )
    assert (bare.compute_capability, bare.multiprocessors) == (None, None)
    assert (full.utilization, full.temperature, full.power_watts) == (42, 61, 123.0)
    assert (bare.power_limit_watts, full.power_limit_watts) == (None, 300.0)


async def test_a_reading_of_some_cards_asks_for_memory_and_processes_alone(nvml_here, hardware):
    await hardware.read()
    nvml_here.hang("nvmlDeviceGetUtilizationRates")
    nvml_here.hang("nvmlDeviceGetPowerUsage")
    nvml_here.hang("nvmlDeviceGetTemperature")
    assert (await hardware.read(only=nvml_here.uuids)).driver is DriverState.OK


async def test_a_box_whose_card_is_lost_from_the_start_lists_it_and_manages_the_others(
    nvml_here, hardware, clock
):
    nvml_here.lose(0)
    reading = await hardware.read()
    assert reading.driver is DriverState.OK
    assert [(card.index, card.health) for card in reading.cards] == [(0, CardHealth.LOST), (1, CardHealth.OK)]
    nvml_here.bring_back()
    await read_until(hardware, clock, lambda reading: all(card.usable for card in reading.cards))
    assert [card.id for card in (await hardware.read()).cards] == nvml_here.uuids


async def test_a_lost_card_that_is_not_even_listed_any_more_stays_lost(nvml_here, hardware, clock):
    await hardware.read()
    lost = nvml_here.uuids[1]
    nvml_here.lose(1)
    await hardware.read()
    nvml_here.bring_back()
    nvml_here.set_cards([standin.card(0)])
    for _ in range(5):
        clock.skip(61)
        reading = await hardware.read()
        await asyncio.sleep(0.1)  # the thread that waits for events ends before the library is opened again
        card = reading.card(CardId(lost))
        assert card is not None
        assert card.health is CardHealth.LOST
        assert reading.cards[0].usable


async def test_a_card_that_fails_otherwise_is_unknown_with_the_driver_s_words(nvml_here, hardware):
    await hardware.read()
    nvml_here.answer("nvmlDeviceGetMemoryInfo_v2", 16, 0)
    cards = (await hardware.read()).cards
    assert [card.health for card in cards] == [CardHealth.UNKNOWN, CardHealth.OK]
    assert "GPU requires restart" in cards[0].reason


async def test_events_reach_us_again_after_a_card_has_returned(nvml_here, hardware, clock):
    heard: list[CardEvent] = []
    hardware.subscribe(heard.append)
    await hardware.read()
    nvml_here.lose(0)
    await hardware.read()
    nvml_here.bring_back()
    await read_until(hardware, clock, lambda reading: all(card.usable for card in reading.cards))
    # The set of events is made anew meanwhile; an event that falls between two sets is not delivered.
    async with asyncio.timeout(PATIENCE):
        while not any(event.code == 31 for event in heard):
            nvml_here.xid(0, 31)
            await asyncio.sleep(0.05)


async def test_cards_without_events_are_read_all_the_same(nvml_here, hardware):
    nvml_here.answer("nvmlDeviceGetSupportedEventTypes", standin.NOT_SUPPORTED)
    heard: list[CardEvent] = []
    hardware.subscribe(heard.append)
    assert (await hardware.read()).driver is DriverState.OK
    assert not heard


def test_events_are_told_in_words():
    xid = card_event(CardId("GPU-1"), pynvml.nvmlEventTypeXidCriticalError, 79, 5.0)
    assert (xid.kind, xid.code, xid.at, "fallen off the bus" in xid.detail) == (
        CardEventKind.XID,
        79,
        5.0,
        True,
    )
    unknown = card_event(CardId("GPU-1"), pynvml.nvmlEventTypeXidCriticalError, 999, 5.0)
    assert "Xid 999" in unknown.detail
    ecc = card_event(CardId("GPU-1"), pynvml.nvmlEventTypeDoubleBitEccError, 0, 5.0)
    assert (ecc.kind, ecc.code, ecc.detail) == (CardEventKind.ECC, None, "double-bit ECC error")


# --- the driver as a whole -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "state", "advice"),
    [
        (standin.DRIVER_NOT_LOADED, DriverState.NOT_LOADED, "modprobe nvidia"),
        (standin.VERSION_MISMATCH, DriverState.VERSION_MISMATCH, "reboot"),
        (standin.NO_PERMISSION, DriverState.NO_PERMISSION, "/dev/nvidia"),
        (standin.NOT_SUPPORTED, DriverState.FAILED, "`cards: host`"),
        (standin.UNKNOWN, DriverState.FAILED, "nvidia-smi"),
    ],
)
async def test_every_failure_of_the_driver_says_what_to_do(nvml_here, hardware, code, state, advice):
    nvml_here.no_driver(code)
    reading = await hardware.read()
    assert (reading.driver, reading.cards) == (state, ())
    assert advice in reading.reason


async def test_a_missing_library_says_what_to_do_and_is_noticed_when_it_arrives(
    nvml_here, hardware, clock, monkeypatch
):
    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.setattr(pynvml, "nvmlLib", None)
        patch.setattr(pynvml, "CDLL", no_library)
        reading = await hardware.read()
        assert (reading.driver, reading.cards) == (DriverState.NO_LIBRARY, ())
        assert "install" in reading.reason
        assert reading.host.total > 0
    assert (await hardware.read()).driver is DriverState.NO_LIBRARY, "it is not tried again at once"
    clock.skip(11)
    assert len((await hardware.read()).cards) == 2


async def test_a_driver_that_hangs_while_it_is_opened_is_not_answering(nvml_here, clock):
    hardware = NvmlHardware(HardwareSettings(bounds=IMPATIENT), clock)
    try:
        nvml_here.hang("nvmlInit")
        reading = await hardware.read()
        assert (reading.driver, reading.cards) == (DriverState.NOT_ANSWERING, ())
        assert "opening NVML" in reading.reason
        nvml_here.unhang()
        reading = await wait_for_answer(hardware)
        assert len(reading.cards) == 2
    finally:
        nvml_here.unhang()
        await hardware.close()


async def test_a_driver_that_is_unloaded_leaves_its_cards_unknown_until_it_is_back(
    nvml_here, hardware, clock
):
    nvml_here.hold(ME, 0, 5 * GIB)
    await hardware.read()
    nvml_here.answer("*", standin.DRIVER_NOT_LOADED)
    nvml_here.no_driver()
    reading = await hardware.read()
    assert reading.driver is DriverState.NOT_LOADED
    assert [(card.health, card.free) for card in reading.cards] == [
        (CardHealth.UNKNOWN, 19 * GIB),
        (CardHealth.UNKNOWN, 24 * GIB),
    ]
    nvml_here.answer_all()
    reading = await read_until(hardware, clock, lambda reading: reading.driver is DriverState.OK)
    assert all(card.usable for card in reading.cards)


async def test_closing_while_the_driver_hangs_is_bounded(nvml_here):
    hardware = NvmlHardware(HardwareSettings(bounds=IMPATIENT), SkippingClock())
    await hardware.read()
    nvml_here.hang("nvmlDeviceGetMemoryInfo_v2", 0)
    try:
        await hardware.read()
        async with asyncio.timeout(PATIENCE):
            await hardware.close()
    finally:
        nvml_here.unhang()
    # The thread that was left behind ends when its call returns; the library is closed by nobody.
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                pynvml.nvmlShutdown()
                break
            except pynvml.NVMLError:
                await asyncio.sleep(0.01)


# --- another reader ------------------------------------------------------------------------------


def test_another_reader_of_nvml_sees_the_same(nvml_standin):
    nvml_standin.set_card(0, reserved=300 * MIB)
    nvml_standin.hold(ME, 0, 5 * GIB)
    nvml_standin.hold(1, 1, 2 * GIB, graphics=True)
    ours = read_in_subprocess(
        nvml_standin,
        "print(sorted((c.id, c.name, c.total, c.total - c.reserved - c.free,"
        " [(p.pid, p.used) for p in c.processes]) for c in reading.cards))",
    )
    theirs = run(
        nvml_standin,
        "from nvitop import Device\n"
        "print(sorted((d.uuid(), d.name(), d.memory_total(), d.memory_used(),"
        " [(p.pid, p.gpu_memory()) for p in d.processes().values()]) for d in Device.all()))",
    )
    assert ours == theirs
    assert str(5 * GIB) in ours


READ = """
import asyncio, time
from gpumod.hardware.nvml import NvmlHardware
from gpumod.hardware.settings import HardwareSettings

class Clock:
    now, monotonic, sleep = staticmethod(time.time), staticmethod(time.monotonic), staticmethod(asyncio.sleep)

async def read():
    hardware = NvmlHardware(HardwareSettings(), Clock())
    try:
        return await hardware.read()
    finally:
        await hardware.close()

reading = asyncio.run(read())
"""


def read_in_subprocess(gpus: Standin, then: str) -> str:
    return run(gpus, READ + then)


def run(gpus: Standin, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | gpus.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def wait_for_answer(hardware: NvmlHardware):
    async with asyncio.timeout(PATIENCE):
        while (reading := await hardware.read()).driver is not DriverState.OK:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    return reading


async def read_until(hardware: NvmlHardware, clock: SkippingClock, condition):
    """Readings a minute apart, until one is as it should be."""
    async with asyncio.timeout(PATIENCE):
        while True:
            clock.skip(61)
            reading = await hardware.read()
            if condition(reading):
                return reading
            await asyncio.sleep(0.05)
