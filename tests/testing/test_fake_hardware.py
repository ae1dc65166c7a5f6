"""What the contract does not say of the fake cards."""

import pytest

from gpumod.core.cards import CardHealth, DriverState, HostMemory
from gpumod.core.names import HOST_CARD, CardId
from gpumod.testing.clock import FakeClock
from gpumod.testing.hardware import FakeCard, FakeHardware, fake_cards

GIB = 1024**3
GPU = CardId("GPU-0")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_memory_goes_with_its_process_where_somebody_knows_of_processes(clock):
    living = {7}
    hardware = FakeHardware(fake_cards(1), clock, alive=living.__contains__)
    hardware.hold(7, GPU, 5 * GIB)
    hardware.foreign_grab(GPU, GIB)
    assert (await hardware.read()).cards[0].free == 18 * GIB
    living.clear()
    assert (await hardware.read()).cards[0].free == 23 * GIB


async def test_holding_again_replaces_what_was_held(clock):
    hardware = FakeHardware(fake_cards(1), clock)
    hardware.hold(7, GPU, 5 * GIB)
    hardware.hold(7, GPU, 6 * GIB)
    assert (await hardware.read()).cards[0].free == 18 * GIB


async def test_the_host_as_a_card_has_no_more_free_than_the_host(clock):
    hardware = FakeHardware([FakeCard(HOST_CARD, total=8 * GIB)], clock, host_total=64 * GIB)
    reading = await hardware.read()
    assert (reading.driver, reading.cards[0].free) == (DriverState.ABSENT, 8 * GIB)
    hardware.hold(7, HOST_CARD, 3 * GIB)
    assert (await hardware.read()).cards[0].free == 5 * GIB
    hardware.host = HostMemory(total=64 * GIB, available=2 * GIB)
    assert (await hardware.read()).cards[0].free == 2 * GIB


async def test_cards_of_a_driver_that_stops_working_are_unknown_as_they_were(clock):
    hardware = FakeHardware(fake_cards(1), clock)
    hardware.hold(7, GPU, 5 * GIB)
    await hardware.read()
    hardware.set_driver(DriverState.NOT_LOADED, "the module is gone")
    reading = await hardware.read()
    assert (reading.driver, reading.reason) == (DriverState.NOT_LOADED, "the module is gone")
    assert [(card.health, card.free) for card in reading.cards] == [(CardHealth.UNKNOWN, 19 * GIB)]


async def test_a_hanging_reading_takes_its_bound_once(clock):
    hardware = FakeHardware(fake_cards(1), clock)
    hardware.hang(GPU)
    before = clock.monotonic()
    await hardware.read()
    await hardware.read()
    assert clock.monotonic() - before == pytest.approx(2.0)
    assert hardware.readings == [None, None]
