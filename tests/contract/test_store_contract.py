"""What every store does: the one in memory and the one on disk."""

import asyncio
from dataclasses import replace

import pytest

from gpumod.core.bounds import DEFAULT_BOUNDS
from gpumod.core.errors import StoreError
from gpumod.core.events import EventKind
from gpumod.core.ports import Store
from gpumod.core.retention import Retention
from gpumod.core.states import ServiceState
from gpumod.core.switch import Phase, StepState, SwitchState
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from gpumod.testing.store import MemoryStore
from tests.store.samples import desired, lease, measurement, new_file, service, step, switch

RETENTION = Retention(events=10, switches=4, measurements=3, idempotency=100.0)


class Reopenable:
    """A store and how to open it again, as after a restart of the daemon."""

    def __init__(self, kind, path):
        self.clock = FakeClock()
        self._path = new_file(path) if kind == "sqlite" else None
        self._memory = MemoryStore(self.clock, RETENTION)
        self.store: Store = self._memory

    async def open(self):
        if self._path:
            self.store = await open_store(self._path, self.clock, bounds=DEFAULT_BOUNDS, retention=RETENTION)
        else:
            self._memory.reopen()
        return self.store

    async def restart(self):
        await self.store.close()
        return await self.open()


@pytest.fixture(params=["memory", "sqlite"])
async def house(request, tmp_path):
    reopenable = Reopenable(request.param, tmp_path / "gpumod.db")
    await reopenable.open()
    yield reopenable
    await reopenable.store.close()


@pytest.fixture
def store(house):
    return house.store


async def test_new_store_is_empty(store):
    assert await store.services() == ()
    assert await store.sticky_ports() == {}
    assert await store.desired() is None
    assert await store.open_switch() is None
    assert await store.switch("s1") is None
    assert await store.switches() == ()
    assert await store.leases() == ()
    assert await store.measurements() == ()
    assert await store.events() == ()
    assert await store.idempotent("k") is None


async def test_everything_is_there_after_a_restart(house):
    store = house.store
    await store.save_service(service())
    await store.next_generation("chat")
    await store.save_port("chat", 18001)
    await store.save_desired(desired())
    await store.begin_switch(switch(steps=[step()]))
    await store.save_lease(lease())
    await store.add_measurement(measurement())
    event = await store.append_event(1.5, EventKind.SERVICE, "chat", "ready", {"n": 1})
    await store.save_idempotent("k", "f", "{}", house.clock.now())

    store = await house.restart()

    assert await store.services() == (service(),)
    assert await store.next_generation("chat") == 2
    assert await store.sticky_ports() == {"chat": 18001}
    assert await store.desired() == desired()
    assert await store.open_switch() == switch(steps=[step()])
    assert await store.leases() == (lease(),)
    assert await store.measurements() == (measurement(),)
    assert await store.events() == (event,)
    assert await store.idempotent("k") == ("f", "{}")


async def test_saving_a_service_again_replaces_its_record(store):
    await store.save_service(service())
    await store.save_service(service(state=ServiceState.READY, generation=4))
    await store.save_service(service("embed"))
    assert await store.services() == (service(generation=4), service("embed"))


async def test_deleted_service_keeps_its_generation_and_port(house):
    store = house.store
    assert [await store.next_generation("chat") for _ in range(3)] == [1, 2, 3]
    await store.save_service(service())
    await store.save_port("chat", 18001)
    await store.delete_service("chat")
    await store.delete_service("never there")
    store = await house.restart()
    assert await store.services() == ()
    assert await store.next_generation("chat") == 4
    assert await store.next_generation("embed") == 1
    assert await store.sticky_ports() == {"chat": 18001}


async def test_generations_asked_for_together_differ(store):
    given = await asyncio.gather(*(store.next_generation("chat") for _ in range(20)))
    assert sorted(given) == list(range(1, 21))


async def test_switch_is_open_until_it_ends(store):
    await store.begin_switch(switch(steps=[step(0), step(1)]))
    await store.update_switch(switch(state=SwitchState.UNDOING, reason="out of memory"))
    assert await store.open_switch() == switch(
        state=SwitchState.UNDOING, reason="out of memory", steps=[step(0), step(1)]
    )
    ended = switch(state=SwitchState.ROLLED_BACK, ended=1010.0, left="restored")
    await store.update_switch(ended)
    assert await store.open_switch() is None
    assert await store.switch("s1") == replace(ended, steps=(step(0), step(1)))
    assert await store.switches() == (ended,)


async def test_commit_ends_the_switch_and_sets_the_desired_state(store):
    await store.begin_switch(switch(steps=[step()]))
    done = switch(state=SwitchState.COMMITTED, ended=1010.0, left="in mode code")
    await store.commit_switch(done, desired())
    assert await store.open_switch() is None
    assert await store.switch("s1") == replace(done, steps=(step(),))
    assert await store.desired() == desired()


async def test_steps_are_rewritten_and_added_in_the_order_of_a_switch(store):
    await store.begin_switch(switch(steps=[step(0), step(1)]))
    running = step(1, state=StepState.RUNNING, started=1.0)
    done = step(1, state=StepState.DONE, started=1.0, ended=2.0, detail="0.2 s, 4 GiB free")
    await store.write_step("s1", step(0, Phase.BLANK))
    await store.write_step("s1", step(1, Phase.UNDO))
    await store.write_step("s1", step(0, Phase.UNDO))
    await store.write_step("s1", running)
    await store.write_step("s1", done)
    found = await store.open_switch()
    assert found.steps == (step(0), done, step(0, Phase.UNDO), step(1, Phase.UNDO), step(0, Phase.BLANK))


async def test_step_of_a_switch_that_never_began_is_refused(store):
    with pytest.raises(StoreError):
        await store.write_step("nobody", step())


async def test_switch_begun_twice_is_one_switch(store):
    await store.begin_switch(switch(steps=[step(0), step(1)]))
    await store.begin_switch(switch(steps=[step(0)]))
    assert await store.switch("s1") == switch(steps=[step(0)])
    assert len(await store.switches()) == 1


async def test_switch_whose_begin_failed_can_still_be_ended(store):
    ended = switch(state=SwitchState.FAILED, ended=1.0, reason="the disk was full")
    await store.update_switch(ended)
    assert await store.switch("s1") == ended
    assert await store.open_switch() is None


async def test_older_switch_that_was_never_ended_is_not_taken_up_again(store):
    await store.begin_switch(switch("s1", steps=[step()]))
    await store.begin_switch(replace(switch("s2"), started=2000.0))
    old = await store.switch("s1")
    assert (old.state, old.ended) == (SwitchState.FAILED, 2000.0)
    assert "s2" in old.reason
    assert (await store.open_switch()).id == "s2"
    await store.update_switch(switch("s2", state=SwitchState.COMMITTED, ended=1.0))
    assert await store.open_switch() is None


async def test_switches_are_listed_newest_first_and_the_oldest_dropped(store):
    for number in range(6):
        name = f"s{number}"
        await store.begin_switch(switch(name, steps=[step()]))
        await store.update_switch(switch(name, state=SwitchState.COMMITTED, ended=1.0))
    listed = await store.switches()
    assert [one.id for one in listed] == ["s5", "s4", "s3", "s2"]
    assert all(one.steps == () for one in listed)
    assert [one.id for one in await store.switches(limit=2)] == ["s5", "s4"]
    assert await store.switch("s0") is None


async def test_leases_are_kept_renewed_and_forgotten(store):
    await store.save_lease(lease("l1", until=50.0))
    await store.save_lease(lease("l2", until=20.0))
    await store.save_lease(lease("l1", until=10.0))
    assert await store.leases() == (lease("l1", until=10.0), lease("l2", until=20.0))
    await store.delete_lease("l1")
    await store.delete_lease("never there")
    assert await store.leases() == (lease("l2", until=20.0),)


async def test_newest_measurements_of_each_kind_are_kept(store):
    for at in range(5):
        await store.add_measurement(measurement(at=float(at)))
    await store.add_measurement(measurement("f2", at=9.0))
    await store.add_measurement(measurement(stage="peak", at=10.0))
    kept = await store.measurements()
    assert [one.at for one in kept if (one.fingerprint, one.stage) == ("f1", "ready")] == [2.0, 3.0, 4.0]
    assert [one.at for one in kept] == [2.0, 3.0, 4.0, 9.0, 10.0]


async def test_events_are_numbered_from_one_without_gaps_and_in_order(store):
    appended = await asyncio.gather(
        *(store.append_event(float(n), EventKind.STEP, "s1", f"{n}", {"n": n}) for n in range(8))
    )
    assert [(event.seq, event.message) for event in appended] == [(n + 1, f"{n}") for n in range(8)]
    assert await store.events() == tuple(appended)
    assert await store.events(after=5) == tuple(appended[5:])
    assert await store.events(after=2, limit=3) == tuple(appended[2:5])
    assert await store.events(after=8) == ()


async def test_event_reads_back_as_it_was_answered(store):
    data = {
        "cards": ("GPU-1",),
        "state": ServiceState.READY,
        "seconds": None,
        "nested": {"a": [1, 2.5, True]},
    }
    event = await store.append_event(1.5, EventKind.CARD, "GPU-1", "ünïcode 🚀", data)
    assert event.data == {
        "cards": ["GPU-1"],
        "state": "ready",
        "seconds": None,
        "nested": {"a": [1, 2.5, True]},
    }
    assert await store.events() == (event,)


async def test_event_whose_data_json_does_not_have_is_kept_all_the_same(store):
    event = await store.append_event(1.0, EventKind.DAEMON, "d", "m", {"error": ValueError("no"), "n": 1})
    assert event.data == {"error": "no", "n": 1}


async def test_event_that_cannot_be_written_fails_alone(store):
    loop: dict[str, object] = {}
    loop["self"] = loop
    answers: list[object] = await asyncio.gather(
        store.append_event(1.0, EventKind.DAEMON, "d", "first", {}),
        store.append_event(1.0, EventKind.DAEMON, "d", "bad", loop),
        store.append_event(1.0, EventKind.DAEMON, "d", "last", {}),
        return_exceptions=True,
    )
    assert isinstance(answers[1], StoreError)
    assert await store.events() == (answers[0], answers[2])


async def test_event_numbers_are_never_used_again(house):
    store = house.store
    for number in range(25):
        await store.append_event(1.0, EventKind.STATUS, "box", f"{number}", {})
    assert [event.seq for event in await store.events()] == list(range(16, 26))
    store = await house.restart()
    assert (await store.append_event(1.0, EventKind.STATUS, "box", "next", {})).seq == 26


async def test_answer_is_kept_for_its_time_and_no_longer(house):
    store, now = house.store, house.clock.now()
    await store.save_idempotent("old", "f1", "1", now - 101)
    await store.save_idempotent("new", "f2", "2", now - 99)
    await store.save_idempotent("new", "f3", "3", now)
    assert await store.idempotent("old") is None
    assert await store.idempotent("new") == ("f3", "3")


async def test_write_whose_waiter_was_cancelled_is_whole_or_absent_and_the_next_one_works(store):
    await store.begin_switch(switch())
    write = asyncio.create_task(store.commit_switch(switch(state=SwitchState.COMMITTED), desired()))
    await asyncio.sleep(0)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    await store.save_port("chat", 1)
    ended = await store.open_switch() is None
    assert ended == (await store.desired() is not None)
    assert await store.sticky_ports() == {"chat": 1}


async def test_closed_store_says_so(store):
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.services()
    with pytest.raises(StoreError, match="closed"):
        await store.save_port("chat", 1)
    with pytest.raises(StoreError, match="closed"):
        await store.append_event(1.0, EventKind.DAEMON, "d", "m", {})
