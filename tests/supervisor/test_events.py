"""The event bus: who follows it misses nothing."""

import asyncio

from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.supervisor.events import EventBus
from gpumod.testing.clock import FakeClock
from gpumod.testing.store import MemoryStore


async def collect(bus, after, count):
    found = []
    async for event in bus.follow(after):
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_who_resumes_from_far_behind_misses_nothing():
    store = MemoryStore(FakeClock())
    bus = EventBus(store, FakeClock())
    bus.start()
    for number in range(5000):
        bus.publish(EventKind.DAEMON, "x", f"{number}")
    await bus.flush()
    reading = asyncio.create_task(collect(bus, 0, 5001))
    await asyncio.sleep(0)
    bus.publish(EventKind.DAEMON, "x", "5000")
    found = await asyncio.wait_for(reading, 60)
    assert [event.message for event in found] == [str(number) for number in range(5001)]
    await bus.close()


async def test_who_listens_hears_also_what_the_disk_could_not_keep():
    store = MemoryStore(FakeClock())
    bus = EventBus(store, FakeClock())
    bus.start()
    reading = asyncio.create_task(collect(bus, None, 3))
    await asyncio.sleep(0)
    bus.publish(EventKind.DAEMON, "x", "kept")
    await bus.flush()
    store.fail(StoreError("the disk is full"), "append_event")
    bus.publish(EventKind.DAEMON, "x", "the disk is full")
    await bus.flush()
    store.heal()
    bus.publish(EventKind.DAEMON, "x", "kept again")
    found = await asyncio.wait_for(reading, 60)
    assert [event.message for event in found] == ["kept", "the disk is full", "kept again"]
    await bus.close()
