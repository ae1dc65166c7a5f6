"""What people are told: the daemon's log, the notes, and files that change without a restart."""

import logging
from dataclasses import replace

from gpumod.core.bounds import Bounds
from gpumod.core.errors import StoreError
from gpumod.core.names import ServiceId
from gpumod.core.service import RunKey
from gpumod.core.spec import Drain
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import FakeRunner, Script

CHAT = mode("chat", service("gemma", 20 * GIB))


async def test_the_daemons_log_has_the_end_of_each_switch_with_its_reason(make_box, caplog):
    caplog.set_level(logging.INFO)
    box = await make_box(CHAT, mode("bad", service("bad", 2 * GIB)), cards=1)
    await box.switch("chat")
    box.processes.script(ServiceId("bad"), Script(exits=1))
    box.engine.of(ServiceId("bad")).why = "the file is broken"
    await box.switch("bad")
    assert "switch to chat: committed, in mode chat" in caplog.text
    assert "switch to bad: rolled back" in caplog.text
    assert "the file is broken" in caplog.text


async def test_what_was_found_at_the_start_is_no_note_any_more_once_the_box_has_moved_on(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.restart()
    assert any("adopted" in note for note in (await box.supervisor.status()).notes)
    await box.blank()
    assert (await box.supervisor.status()).notes == ()


async def test_a_store_that_keeps_nothing_is_noted_until_it_does_again(make_box):
    box = await make_box(CHAT, cards=1)
    box.store.fail(StoreError("the disk is full"), "append_event")
    await box.supervisor.leases.expire()
    await box.switch("chat")
    await box.supervisor.events.flush()
    assert "the disk is full" in (await box.supervisor.status()).notes
    box.store.heal()
    await box.blank()
    await box.supervisor.events.flush()
    assert box.supervisor.store_trouble == ""


async def test_a_changed_drain_takes_effect_without_a_restart(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    pids = box.processes.pids(ServiceId("gemma"))
    patient = replace(CHAT.services[0], drain=Drain(deadline=99.0))
    box.catalog = replace(
        box.catalog, presets=(patient,), modes=(box.catalog.modes[0], mode("chat", patient))
    )
    await box.supervisor.reload()
    record = await box.switch("chat")
    assert record.state is SwitchState.COMMITTED
    assert box.processes.pids(ServiceId("gemma")) == pids
    (gemma,) = (await box.supervisor.status()).services
    assert gemma.spec.drain.deadline == 99.0


async def test_a_memory_limit_reaches_the_runner(make_box):
    box = await make_box(mode("chat", service("gemma", GIB, memory_max=3 * GIB)), cards=1)
    await box.switch("chat")
    (request,) = box.processes.requests(ServiceId("gemma"))
    assert request.key == RunKey(ServiceId("gemma"), 1)
    assert request.memory_max == 3 * GIB


async def test_a_service_that_has_begun_since_the_last_look_is_not_told_to_be_gone(make_box, monkeypatch):
    """A switch that is quicker than the watch interval: the last look was before the first process."""
    box = await make_box(CHAT, cards=1, bounds=Bounds(watch_interval=3600.0))
    start, looks = FakeRunner.start, []

    async def look_and_start(runner, request):
        await box.supervisor._watch.refresh()
        looks.append(box.supervisor._memory.facts.running(ServiceId("gemma")))
        return await start(runner, request)

    monkeypatch.setattr(FakeRunner, "start", look_and_start)
    await box.switch("chat")
    assert [one.record.state for one in looks] == [ServiceState.STARTING]
    status = await box.supervisor.status()
    assert status.state is BoxState.SETTLED, status.reason


async def test_whoever_waited_for_a_switch_sees_what_it_has_left(make_box):
    box = await make_box(CHAT, cards=1, bounds=Bounds(watch_interval=3600.0))
    await box.switch("chat")
    (card,) = (await box.supervisor.status()).reading.cards
    assert [process.service for process in card.processes] == ["gemma"]
    await box.blank()
    (card,) = (await box.supervisor.status()).reading.cards
    assert card.processes == ()
