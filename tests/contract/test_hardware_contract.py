"""What every `Hardware` does: the fake that ships, and NVML through the real binding."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.cards import Card, CardEvent, CardEventKind, CardHealth, CardsReading, DriverState
from gpumod.core.names import ServiceId
from tests.contract.hardware_rigs import FOR_EVER, GIB, IMPATIENT, PATIENT, FakeRig, NvmlRig, Rig

CHAT = ServiceId("chat")


@pytest.fixture(params=["fake", "nvml"])
def bare_rig(request: pytest.FixtureRequest) -> Callable[[Bounds], Rig]:
    if request.param == "fake":
        return FakeRig
    gpus = request.getfixturevalue("nvml_here")
    return lambda bounds: NvmlRig(gpus, bounds)


@pytest.fixture
async def rig(bare_rig) -> AsyncIterator[Rig]:
    rig = bare_rig(PATIENT)
    yield rig
    rig.end()
    await rig.hardware.close()


@pytest.fixture
async def impatient_rig(bare_rig) -> AsyncIterator[Rig]:
    rig = bare_rig(IMPATIENT)
    yield rig
    rig.end()
    await rig.hardware.close()


async def first(rig: Rig, **how) -> Card:
    card = (await rig.hardware.read(**how)).card(rig.cards[0])
    assert card is not None
    return card


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never happened")


async def read_and_count_turns(rig: Rig) -> tuple[CardsReading, int]:
    """A reading, and how often the event loop came round while it was waited for."""
    reading = asyncio.ensure_future(rig.hardware.read())
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    return await reading, turns


async def read_until_it_answers(rig: Rig) -> CardsReading:
    for _ in range(6000):
        reading = await rig.hardware.read()
        if reading.driver is DriverState.OK:
            return reading
        await asyncio.sleep(0.01)
    pytest.fail("the driver never answered again")


class Heard(list[CardEvent]):
    @property
    def kinds(self) -> list[CardEventKind]:
        return [event.kind for event in self]


async def test_a_reading_lists_the_cards_and_the_host(rig):
    reading = await rig.hardware.read()
    assert reading.driver is DriverState.OK
    assert [(card.id, card.index, card.total, card.free) for card in reading.cards] == [
        (rig.cards[0], 0, 24 * GIB, 24 * GIB),
        (rig.cards[1], 1, 24 * GIB, 24 * GIB),
    ]
    assert all(card.usable and card.pids_visible and not card.processes for card in reading.cards)
    assert reading.cards[0].compute_capability == (8, 6)
    assert reading.cards[0].multiprocessors == 82
    assert 0 < reading.host.available <= reading.host.total
    assert abs(reading.at - rig.clock.now()) < 60


async def test_only_some_cards_are_read_when_only_they_are_asked_for(rig):
    reading = await rig.hardware.read(only=[rig.cards[1]])
    assert [card.id for card in reading.cards] == [rig.cards[1]]
    assert reading.cards[0].free == 24 * GIB


async def test_a_process_of_a_service_is_told_from_a_foreign_one(rig):
    ours, foreign = rig.spawn(), rig.spawn()
    rig.hold(ours, rig.cards[0], 5 * GIB)
    rig.hold(foreign, rig.cards[0], 2 * GIB, graphics=True)
    card = await first(rig, ours={ours: CHAT})
    assert card.free == 17 * GIB
    by_pid = {process.pid: process for process in card.processes}
    assert (by_pid[ours].used, by_pid[ours].service, by_pid[ours].graphics) == (5 * GIB, CHAT, False)
    assert (by_pid[foreign].used, by_pid[foreign].service, by_pid[foreign].graphics) == (2 * GIB, None, True)
    assert by_pid[foreign].command == "sleep 60"
    assert by_pid[foreign].user


async def test_memory_comes_back_with_the_end_of_its_process(rig):
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB)
    assert (await first(rig)).free == 19 * GIB
    rig.kill(pid)
    card = await first(rig)
    assert (card.free, card.processes) == (24 * GIB, ())


@pytest.mark.parametrize("listed", [True, False])
async def test_memory_that_lingers_after_its_process_is_not_free(rig, listed):
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB, linger=2, listed_after=listed)
    await rig.hardware.read()
    rig.kill(pid)
    readings = [await first(rig, only=[rig.cards[0]]) for _ in range(3)]
    assert [card.free for card in readings] == [19 * GIB, 19 * GIB, 24 * GIB]
    assert all(card.pids_visible for card in readings)
    assert bool(readings[0].processes) == listed
    assert not readings[2].processes


async def test_leaked_memory_never_comes_back_by_itself(rig):
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB, linger=FOR_EVER)
    await rig.hardware.read()
    rig.kill(pid)
    for _ in range(20):
        assert (await first(rig, only=[rig.cards[0]])).free == 19 * GIB
    rig.stop_lingering()
    assert (await first(rig)).free == 24 * GIB


async def test_a_foreign_process_may_take_memory_between_two_readings(rig):
    await rig.hardware.read()
    rig.grab(rig.cards[0], 6 * GIB, after=2)
    readings = [await first(rig, only=[rig.cards[0]]) for _ in range(4)]
    assert [card.free for card in readings] == [24 * GIB, 24 * GIB, 18 * GIB, 18 * GIB]
    assert [process.used for process in readings[2].processes] == [6 * GIB]
    assert readings[2].processes[0].service is None


async def test_bytes_that_the_driver_does_not_tell_are_none_and_still_not_free(rig):
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB, told=False)
    card = await first(rig)
    assert [(process.pid, process.used) for process in card.processes] == [(pid, None)]
    assert card.free == 19 * GIB


async def test_pids_of_somewhere_else_are_said_to_be_invisible(rig):
    rig.hide_pids(rig.cards[0])
    assert not (await first(rig)).pids_visible


async def test_a_hanging_driver_makes_the_card_unknown_and_is_survived(impatient_rig):
    rig = impatient_rig
    pid = rig.spawn()
    rig.hold(pid, rig.cards[1], 5 * GIB)
    await rig.hardware.read()
    rig.hang(rig.cards[1])
    reading, turns = await read_and_count_turns(rig)
    assert turns > 10, "a hanging driver blocks the event loop"
    assert reading.driver is DriverState.NOT_ANSWERING
    assert reading.reason
    card = reading.card(rig.cards[1])
    assert card is not None
    assert (card.health, card.free, card.total) == (CardHealth.UNKNOWN, 19 * GIB, 24 * GIB)
    assert card.age >= IMPATIENT.driver_call / 2
    assert card.reason
    # While the call hangs, further readings do not wait for it.
    async with asyncio.timeout(IMPATIENT.driver_call * 35):
        for _ in range(40):
            assert (await rig.hardware.read()).driver is DriverState.NOT_ANSWERING
    rig.unhang(rig.cards[1])
    reading = await read_until_it_answers(rig)
    card = reading.card(rig.cards[1])
    assert card is not None
    assert (card.health, card.age, card.free) == (CardHealth.OK, 0.0, 19 * GIB)


async def test_a_card_that_was_read_before_the_driver_hung_is_not_unknown(impatient_rig):
    rig = impatient_rig
    await rig.hardware.read()
    rig.hang(rig.cards[1])
    reading = await rig.hardware.read()
    assert [card.health for card in reading.cards] == [CardHealth.OK, CardHealth.UNKNOWN]


async def test_a_lost_card_stays_lost_while_the_other_goes_on_until_it_returns(rig):
    heard = Heard()
    rig.hardware.subscribe(heard.append)
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB)
    await rig.hardware.read()
    rig.lose(rig.cards[0])
    readings = [await rig.hardware.read() for _ in range(3)]
    for reading in readings:
        assert [card.health for card in reading.cards] == [CardHealth.LOST, CardHealth.OK]
        assert reading.driver is DriverState.OK
    reading = readings[-1]
    assert reading.cards[0].reason
    assert reading.cards[0].total == 24 * GIB
    await until(lambda: heard.kinds == [CardEventKind.LOST])
    rig.clock.skip(60)
    reading = await rig.hardware.read()
    assert [card.health for card in reading.cards] == [CardHealth.LOST, CardHealth.OK]
    assert reading.cards[0].age >= 60
    rig.bring_back(rig.cards[0])
    rig.clock.skip(60)
    reading = await rig.hardware.read()
    assert [(card.health, card.free) for card in reading.cards] == [
        (CardHealth.OK, 19 * GIB),
        (CardHealth.OK, 24 * GIB),
    ]
    await until(lambda: heard.kinds == [CardEventKind.LOST, CardEventKind.RETURNED])
    assert {event.card for event in heard} == {rig.cards[0]}


async def test_driver_events_are_told_to_those_who_subscribed(rig):
    heard, deaf = Heard(), Heard()
    rig.hardware.subscribe(heard.append)
    unsubscribe = rig.hardware.subscribe(deaf.append)
    await rig.hardware.read()
    await until(rig.watched)
    unsubscribe()
    rig.xid(rig.cards[1], 79)
    await until(lambda: len(heard) == 1)
    rig.ecc(rig.cards[0])
    await until(lambda: len(heard) == 2)
    assert [(event.kind, event.card, event.code) for event in heard] == [
        (CardEventKind.XID, rig.cards[1], 79),
        (CardEventKind.ECC, rig.cards[0], None),
    ]
    assert heard[0].detail
    assert not deaf
    unsubscribe()


@pytest.mark.parametrize(
    "state",
    [
        DriverState.NOT_LOADED,
        DriverState.VERSION_MISMATCH,
        DriverState.NO_PERMISSION,
        DriverState.FAILED,
    ],
)
async def test_without_a_working_driver_there_are_no_cards_and_a_reason_until_it_arrives(rig, state):
    rig.driver(state)
    reading = await rig.hardware.read()
    assert (reading.driver, reading.cards) == (state, ())
    assert reading.reason
    assert reading.host.total > 0
    rig.driver(DriverState.OK)
    rig.clock.skip(60)
    reading = await rig.hardware.read()
    assert (reading.driver, reading.reason, len(reading.cards)) == (DriverState.OK, "", 2)


async def test_an_unmanaged_card_is_listed_with_the_reason_and_cannot_be_planned_with(rig):
    rig.unmanage(rig.cards[0])
    for only in (None, [rig.cards[0]]):
        card = await first(rig, only=only)
        assert (card.health, card.usable) == (CardHealth.UNMANAGED, False)
        assert "MIG" in card.reason


async def test_many_readings_at_once_agree(rig):
    pid = rig.spawn()
    rig.hold(pid, rig.cards[0], 5 * GIB)
    readings = await asyncio.gather(*(rig.hardware.read() for _ in range(20)))
    assert {tuple(card.free for card in reading.cards) for reading in readings} == {(19 * GIB, 24 * GIB)}


async def test_closing_twice_is_harmless(rig):
    await rig.hardware.read()
    await rig.hardware.close()
    await rig.hardware.close()
