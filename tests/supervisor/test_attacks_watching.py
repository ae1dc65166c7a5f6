"""Attacks on what goes on by itself: deaths, restarts, events, recovery."""

import asyncio
from dataclasses import replace

from gpumod.core.errors import SwitchRunningError
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.ports import Readiness
from gpumod.core.service import RunKey
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, SwitchRecord, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script
from tests.patience import until

CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
PAIR = mode("pair", service("left", 5 * GIB), service("right", 5 * GIB))
GEMMA, QWEN = ServiceId("gemma"), ServiceId("qwen")
LEFT, RIGHT = ServiceId("left"), ServiceId("right")


def to(name, **fields):
    return SwitchRequest(mode=ModeId(name), **fields)


def record_of(box, name):
    return box.supervisor._world.get(ServiceId(name))


def edit(box, *modes):
    """The user changes the files."""
    fresh = type(box)(*modes, cards=1)
    box.catalog = fresh.catalog


# --- a restart of the daemon does not touch running engines ------------------------------------------


async def test_an_edited_preset_does_not_restart_a_running_engine_when_the_daemon_restarts(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    pids = box.processes.pids(GEMMA)
    edit(box, mode("chat", service("gemma", 20 * GIB, context=4096)))
    await box.restart()
    assert box.processes.pids(GEMMA) == pids
    status = await box.supervisor.status()
    assert "gemma" in status.reason
    await box.switch("chat")
    assert box.processes.pids(GEMMA) != pids, "switching again applies the files"


async def test_an_upgraded_engine_does_not_restart_what_runs_when_the_daemon_restarts(make_box):
    box = await make_box(mode("chat", service("gemma", 20 * GIB, model="/m.gguf")), cards=1)
    await box.switch("chat")
    pids = box.processes.pids(GEMMA)
    box.probe.add_file("/m.gguf", 5, modified_ns=99)
    await box.restart()
    assert box.processes.pids(GEMMA) == pids
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_a_member_that_left_the_files_serves_through_restarts_until_somebody_switches(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    pids = box.processes.pids(RIGHT)
    kept = box.catalog.presets
    edit(box, mode("pair", service("left", 5 * GIB)))
    box.catalog = replace(box.catalog, presets=kept)
    for _ in range(2):
        await box.restart()
        assert box.processes.pids(RIGHT) == pids
        assert box.supervisor.gate.admits(RIGHT)
        status = await box.supervisor.status()
        assert (status.state, status.reason) == (
            BoxState.MODIFIED,
            "mode pair, changed: right running and not asked for",
        )
    await box.switch("pair")
    assert box.running() == {"left"}


async def test_what_is_missing_of_a_mode_is_started_beside_a_member_that_left_the_files(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    pids = box.processes.pids(RIGHT)
    await box.supervisor.close()
    box.processes.end(RunKey(LEFT, 1), code=1)
    kept = box.catalog.presets
    edit(box, mode("pair", service("left", 5 * GIB)))
    box.catalog = replace(box.catalog, presets=kept)
    await box.restart()
    assert box.running() == {"left", "right"}
    assert box.processes.pids(RIGHT) == pids


async def test_no_adopted_service_makes_room_for_what_is_missing(make_box):
    """The small one would fit beside the stranger, and the wide one then on the card that it left."""
    small, wide = service("small", 6 * GIB), service("wide", 20 * GIB)
    box = await make_box(mode("small", small), cards=2)
    await box.switch("small")
    pids = box.processes.pids(small.id)
    edit(box, mode("small", small, wide))
    box.hardware.foreign_grab(CardId("GPU-1"), 16 * GIB)
    await box.restart()
    assert box.processes.pids(small.id) == pids
    await box.switch("small")
    assert box.running() == {"small", "wide"}
    assert box.processes.pids(small.id) != pids


async def test_a_restart_by_policy_touches_nothing_else(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    pids = box.processes.pids(RIGHT)
    edit(box, mode("pair", service("left", 5 * GIB), service("right", 5 * GIB, context=4096)))
    await box.supervisor.reload()
    box.processes.end(RunKey(LEFT, 1), code=1)
    await until(lambda: record_of(box, "left").generation == 2 and record_of(box, "left").admitting)
    assert box.processes.pids(RIGHT) == pids


async def test_a_restart_by_policy_does_not_stop_what_left_the_files(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    pids = box.processes.pids(RIGHT)
    kept = box.catalog.presets
    edit(box, mode("pair", service("left", 5 * GIB)))
    box.catalog = replace(box.catalog, presets=kept)
    await box.supervisor.reload()
    box.processes.end(RunKey(LEFT, 1), code=1)
    await until(lambda: record_of(box, "left").generation == 2 and record_of(box, "left").admitting)
    assert box.processes.pids(RIGHT) == pids


async def test_stopping_one_service_does_not_restart_another_whose_model_file_changed(make_box):
    box = await make_box(
        mode("pair", service("left", 5 * GIB), service("right", 5 * GIB, model="/m.gguf")), cards=1
    )
    await box.switch("pair")
    pids = box.processes.pids(RIGHT)
    box.probe.add_file("/m.gguf", 5, modified_ns=99)
    begun = await box.supervisor.begin(SwitchRequest(stop=LEFT))
    await box.supervisor.wait(begun.id)
    assert box.processes.pids(RIGHT) == pids


# --- the start of a daemon ----------------------------------------------------------------------------


async def test_what_boot_decided_is_still_so_after_another_restart_of_the_daemon(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.reboot()
    await box.restart(boot="blank", rebooted=True)
    await box.restart(boot="blank")
    assert box.running() == set()
    assert (await box.supervisor.status()).mode == "blank"


async def test_boot_decides_also_over_a_switch_that_the_reboot_interrupted(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    await box.supervisor.close()
    box.processes.reboot()
    box.engine.of(QWEN).then(Readiness.READY)
    await box.restart(boot="blank", rebooted=True)
    assert box.running() == set()
    assert await box.store.open_switch() is None


async def test_a_record_of_a_runner_that_is_gone_does_not_keep_the_daemon_from_starting(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    await box.store.reopen().save_service(replace(record_of(box, "gemma"), runner="systemd"))
    await box.restart()
    status = await box.supervisor.status()
    assert any("systemd" in note and "gemma" in note for note in status.notes), status.notes


async def test_a_switch_asked_for_at_once_after_the_start_is_not_taken_for_an_interrupted_one(make_box):
    box = await make_box(CHAT, CODE, cards=1, start=False)
    await box.supervisor.start()
    begun = await box.supervisor.begin(to("code"))
    assert isinstance(begun, SwitchRecord)
    await box.supervisor.settled()
    ended = await box.supervisor.wait(begun.id)
    assert ended.state is SwitchState.COMMITTED, ended
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("code", BoxState.SETTLED), status.reason
    assert not any("interrupted" in note for note in status.notes)


async def test_a_user_who_switches_while_recovery_works_is_not_overruled(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    await box.supervisor.close()
    box.store = box.store.reopen()
    box.supervisor = box._build()
    await box.supervisor.start()
    await until(lambda: box.supervisor._switcher.busy)
    record = await box.blank()
    assert record.state is SwitchState.COMMITTED
    await box.supervisor.settled()
    assert box.running() == set()
    assert (await box.supervisor.status()).mode == "blank"


async def test_a_half_loaded_service_whose_mode_is_gone_does_not_load_for_ever(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    record = replace(record_of(box, "gemma"), state=ServiceState.LOADING, admitting=False)
    await box.store.reopen().save_service(record)
    box.catalog = replace(box.catalog, modes=box.catalog.modes[:1])
    await box.restart()
    assert record_of(box, "gemma").state not in {ServiceState.LOADING, ServiceState.STARTING}


async def test_a_drained_service_whose_mode_is_gone_serves_again(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    record = replace(record_of(box, "gemma"), state=ServiceState.DRAINING, admitting=False)
    await box.store.reopen().save_service(record)
    box.catalog = replace(box.catalog, modes=box.catalog.modes[:1])
    await box.restart()
    assert record_of(box, "gemma").state is ServiceState.READY
    assert box.supervisor.gate.admits(GEMMA)


async def test_an_engine_that_cannot_be_adopted_and_not_be_killed_gets_no_requests(make_box):
    box = await make_box(CHAT, cards=1)
    box.processes.script(GEMMA, Script(unkillable=True))
    await box.switch("chat")
    box.engine.of(GEMMA).owns_listener = False
    await box.restart()
    assert not box.supervisor.gate.admits(GEMMA)
    assert (await box.supervisor.status()).state is BoxState.UNKNOWN
    box.processes.release(RunKey(GEMMA, 1))


async def test_a_card_that_was_lost_while_no_daemon_watched_fails_its_services(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.hardware.lose(CardId("GPU-0"))
    await box.hardware.read()
    await box.restart()
    await until(lambda: record_of(box, "gemma").state is ServiceState.FAILED)


async def test_a_service_whose_end_nobody_was_told_of_is_noticed(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.processes._listeners.clear()
    box.processes.end(RunKey(GEMMA, 1), code=1)
    await box.supervisor.status()
    began = box.clock.now()
    await until(lambda: record_of(box, "gemma").generation == 2)
    assert box.clock.now() - began < 30


# --- restarts -----------------------------------------------------------------------------------------


async def test_a_service_that_dies_as_its_restart_commits_is_restarted_again(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    commit = box.store.commit_switch
    killed = False

    async def die_meanwhile(*args):
        nonlocal killed
        if not killed:
            killed = True
            box.processes.end(RunKey(GEMMA, 2), code=1)
            await until(lambda: record_of(box, "gemma").state is ServiceState.FAILED)
            for _ in range(200):
                await asyncio.sleep(0.0005)
        await commit(*args)

    box.store.commit_switch = die_meanwhile
    box.processes.end(RunKey(GEMMA, 1), code=1)
    await until(lambda: record_of(box, "gemma").generation == 3 and record_of(box, "gemma").admitting)


async def test_a_restart_that_could_not_be_tried_is_not_counted(make_box):
    box = await make_box(CHAT, CODE, cards=2)
    await box.switch("chat")
    restarts = []
    begin = box.supervisor._switcher.begin_target
    refusals = 5

    async def somebody_was_faster(*args, **named):
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise SwitchRunningError("another switch is under way")
        restarts.append(len(record_of(box, "gemma").restarts))
        return await begin(*args, **named)

    box.supervisor._switcher.begin_target = somebody_was_faster
    box.processes.end(RunKey(GEMMA, 1), code=1)
    await until(lambda: record_of(box, "gemma").generation == 2 and record_of(box, "gemma").admitting)
    assert len(record_of(box, "gemma").restarts) == 1


async def test_a_crash_loop_is_an_event(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.processes.script(GEMMA, Script(exits=1))
    box.processes.end(RunKey(GEMMA, 1), code=1)
    await until(lambda: "crash loop" in record_of(box, "gemma").reason)
    await box.supervisor.events.flush()
    events = await box.store.events(limit=10_000)
    assert any("crash loop" in event.message for event in events)


# --- ports ---------------------------------------------------------------------------------------------


async def test_a_port_that_a_stranger_has_left_can_be_given_out_again(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    port = record_of(box, "gemma").launch.port
    await box.blank()
    box.probe.listen(port, 4711, "nc")
    await box.switch("chat")
    assert record_of(box, "gemma").launch.port != port
    await box.blank()
    for other in range(18000, 19000):
        box.probe.listen(other, 4711, "nc")
    box.probe.hang_up(port)
    await box.switch("chat")
    assert record_of(box, "gemma").launch.port == port
