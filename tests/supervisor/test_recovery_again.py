"""What a start could not bring back is tried again, until it is there or somebody decides otherwise."""

import asyncio
from dataclasses import replace

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.cards import DriverState
from gpumod.core.errors import StoreError, SwitchRunningError
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.ports import Readiness
from gpumod.core.service import RunKey
from gpumod.core.spec import RestartPolicy, RestartWhen
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script

GEMMA, QWEN = ServiceId("gemma"), ServiceId("qwen")
CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
PAIR = mode("pair", service("gemma", 5 * GIB), service("qwen", 5 * GIB, model="/models/qwen.gguf"))
HOUR = 3600.0


async def until(condition, turns=4000):
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("it did not come to be")


async def outlook(box):
    """What the status says of further tries."""
    status = await box.supervisor.status()
    return [note for note in status.notes if "tries again" in note]


async def reboot(box, *, driver=DriverState.NOT_LOADED, boot="last"):
    """The machine restarts, and its driver is not there yet."""
    await box.supervisor.close()
    box.processes.reboot()
    box.hardware.set_driver(driver, "" if driver is DriverState.OK else "no module")
    await box.restart(boot=boot, rebooted=True)


def ready(box, name):
    record = box.supervisor._world.get(ServiceId(name))
    return record is not None and record.state is ServiceState.READY and record.admitting


async def back(box, name):
    """Wait until a service is ready and the switch that brought it has ended."""
    await until(lambda: ready(box, name) and not box.supervisor._switcher.busy)


# --- what comes back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("boot", "running"), [("last", "gemma"), ("code", "qwen")])
async def test_a_driver_that_loads_late_brings_the_mode_back_at_once(make_box, boot, running):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await reboot(box, boot=boot)
    assert box.running() == set()
    await box.clock.sleep(HOUR)
    box.hardware.set_driver(DriverState.OK)
    began = box.clock.now()
    await until(lambda: ready(box, running))
    assert box.clock.now() - began <= 5 * Bounds().watch_interval
    await until(lambda: not box.supervisor._recovery.outlook)
    assert box.running() == {running}
    status = await box.supervisor.status()
    assert status.state is BoxState.SETTLED, status.reason
    assert status.notes[-1].endswith("was reached after more than one try")


async def test_the_status_says_when_it_is_tried_again_and_why(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await reboot(box)
    (note,) = await outlook(box)
    assert note.startswith("recovery tries again in 1.0 s: mode chat cannot be reached: ")
    assert "kernel module is not loaded" in note
    await box.clock.sleep(HOUR)
    (note,) = await outlook(box)
    assert " min" in note.partition(":")[0]


async def test_pauses_get_longer_and_stay_bounded(make_box):
    """A service without a record is recovery's alone: 1 + 2 + ... + 256 s, then five minutes each."""
    box = await make_box(CHAT, CODE, cards=1)
    await reboot(box, boot="code")
    await box.clock.sleep(2 * HOUR)
    tries = box.supervisor.refusals["driver"]
    assert 1 + 9 + 20 <= tries <= 1 + 9 + 24


async def test_memory_that_a_stranger_held_at_the_start_is_used_once_it_is_free(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.reboot()
    box.hardware.hold(4711, CardId("GPU-0"), 10 * GIB)
    await box.restart(rebooted=True)
    assert box.running() == set()
    box.hardware.release(4711)
    await back(box, "gemma")


async def test_a_disk_that_was_full_at_the_start_is_written_once_it_is_not(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.reboot()
    box.store = box.store.reopen()
    box.supervisor = box._build()
    box.store.fail(StoreError("the disk is full"), "begin_switch")
    await box.start(rebooted=True)
    assert (await box.supervisor.status()).reason == "the disk is full"
    box.store.heal()
    await back(box, "gemma")
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_a_box_that_needs_nothing_is_known_again_once_its_disk_is(make_box):
    box = await make_box(CHAT, cards=1)
    await box.supervisor.close()
    box.store = box.store.reopen()
    box.supervisor = box._build()
    box.store.fail(StoreError("the disk is full"), "save_desired")
    await box.start(boot="blank", rebooted=True)
    assert (await box.supervisor.status()).state is BoxState.UNKNOWN
    box.store.heal()
    await until(lambda: box.supervisor.trouble == "")


async def test_an_interrupted_switch_that_no_driver_lets_finish_is_taken_back_when_it_is_there(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    await until(lambda: "qwen" in box.running())
    await reboot(box)
    assert (await box.supervisor.status()).mode == "chat"
    box.hardware.set_driver(DriverState.OK)
    await back(box, "gemma")
    assert box.running() == {"gemma"}
    assert await box.store.open_switch() is None


async def test_what_an_interrupted_switch_left_is_stopped_later_only_if_nobody_has_leased_it(make_box):
    wide = mode("wide", service("qwen", 10 * GIB), service("draft", 5 * GIB))
    box = await make_box(CHAT, wide, cards=1)
    await box.switch("chat")
    box.engine.of(ServiceId("draft")).then(Readiness.LOADING)
    await box.supervisor.begin(SwitchRequest(mode=ModeId("wide")))
    await until(lambda: ready(box, "qwen"))
    await box.supervisor.close()
    box.hardware.set_driver(DriverState.NOT_LOADED, "no module")
    await box.restart()
    assert box.running() == {"qwen"}
    lease = await box.supervisor.leases.take("ann", HOUR, services=[QWEN])
    box.hardware.set_driver(DriverState.OK)
    await box.clock.sleep(HOUR / 2)
    assert box.running() == {"qwen"}
    (note,) = await outlook(box)
    assert "ann holds lease" in note
    await box.supervisor.leases.release(lease.id)
    await back(box, "gemma")
    assert box.running() == {"gemma"}


# --- files --------------------------------------------------------------------------------------------


async def test_files_that_are_read_again_make_it_try_at_once(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    good = box.catalog
    box.catalog = replace(good, modes=good.modes[:1])
    await reboot(box, driver=DriverState.OK)
    await box.clock.sleep(HOUR)
    box.catalog = good
    await box.supervisor.reload()
    began = box.clock.now()
    await until(lambda: ready(box, "gemma"))
    assert box.clock.now() - began < 1.0


async def test_a_service_that_died_while_its_mode_was_not_in_the_files_is_restarted_when_it_is(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    good = box.catalog
    box.catalog = replace(good, modes=good.modes[:1])
    await box.supervisor.reload()
    box.processes.end(RunKey(GEMMA, 1), code=1)
    await box.clock.sleep(HOUR)
    assert box.running() == set()
    box.catalog = good
    await box.supervisor.reload()
    await back(box, "gemma")


# --- the restart policy -------------------------------------------------------------------------------


async def test_what_can_run_of_a_mode_runs_by_its_restart_policy_while_the_rest_is_tried_again(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    box.probe.remove_file("/models/qwen.gguf")
    await reboot(box, driver=DriverState.OK)
    assert box.running() == set()
    await back(box, "gemma")
    await box.clock.sleep(HOUR)
    assert box.running() == {"gemma"}
    assert len(box.supervisor._world.get(GEMMA).restarts) == 1
    pids = box.processes.pids(GEMMA)
    box.probe.add_file("/models/qwen.gguf", 1)
    await back(box, "qwen")
    assert box.processes.pids(GEMMA) == pids


async def test_a_restart_by_policy_does_not_end_the_trying(make_box):
    """What the policy does not know of, as it never ran, is brought by recovery alone."""
    box = await make_box(mode("solo", service("gemma", 5 * GIB)), PAIR, cards=1)
    await box.switch("solo")
    box.probe.remove_file("/models/qwen.gguf")
    await reboot(box, driver=DriverState.OK, boot="pair")
    await back(box, "gemma")
    (note,) = await outlook(box)
    assert "/models/qwen.gguf" in note
    box.probe.add_file("/models/qwen.gguf", 1)
    await back(box, "qwen")


async def test_what_the_policy_never_restarts_comes_back_after_a_reboot_and_is_tried_once(make_box):
    once = service("gemma", 20 * GIB, restart=RestartPolicy(when=RestartWhen.NEVER))
    box = await make_box(mode("chat", once), cards=1)
    await box.switch("chat")
    await reboot(box)
    box.processes.script(GEMMA, Script(exits=1))
    box.hardware.set_driver(DriverState.OK)
    await box.clock.sleep(HOUR)
    record = box.supervisor._world.get(GEMMA)
    assert (record.generation, record.state) == (2, ServiceState.FAILED)
    status = await box.supervisor.status()
    assert not any("was reached" in note for note in status.notes), status.notes


async def test_a_service_that_never_starts_is_not_tried_more_often_than_its_policy_says(make_box):
    box = await make_box(PAIR, cards=1)
    await box.switch("pair")
    await reboot(box)
    box.processes.script(GEMMA, Script(exits=1))
    box.hardware.set_driver(DriverState.OK)
    await back(box, "qwen")
    await until(lambda: "crash loop" in box.supervisor._world.get(GEMMA).reason)
    generation = box.supervisor._world.get(GEMMA).generation
    assert generation <= 1 + 1 + 3, "at first, by recovery, and three times by its policy"
    await box.clock.sleep(HOUR)
    assert box.supervisor._world.get(GEMMA).generation == generation
    assert box.running() == {"qwen"}
    assert await outlook(box) == []


# --- who decides --------------------------------------------------------------------------------------


async def test_somebodys_switch_ends_the_trying(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await reboot(box)
    await box.switch("blank")
    assert await outlook(box) == []
    box.hardware.set_driver(DriverState.OK)
    await box.clock.sleep(HOUR)
    assert box.running() == set()
    assert (await box.supervisor.status()).mode == "blank"


async def test_somebodys_switch_pre_empts_a_further_try_and_is_not_overruled(make_box):
    # Without a restart policy, whose own try may come before recovery's and gives way to nobody.
    never = service("gemma", 20 * GIB, restart=RestartPolicy(when=RestartWhen.NEVER))
    box = await make_box(mode("chat", never), CODE, cards=1)
    await box.switch("chat")
    await reboot(box)
    box.engine.of(GEMMA).then(Readiness.LOADING)
    box.hardware.set_driver(DriverState.OK)
    await until(lambda: "gemma" in box.running())
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED, record
    await box.clock.sleep(HOUR)
    assert box.running() == {"qwen"}
    assert await outlook(box) == []


async def test_whoever_cancels_recoverys_switch_ends_the_trying(make_box):
    never = service("gemma", 20 * GIB, restart=RestartPolicy(when=RestartWhen.NEVER))
    box = await make_box(mode("chat", never), cards=1)
    await box.switch("chat")
    await reboot(box)
    box.engine.of(GEMMA).then(Readiness.LOADING)
    box.hardware.set_driver(DriverState.OK)
    await until(lambda: "gemma" in box.running())
    current = box.supervisor._switcher.current
    await box.supervisor.cancel(current.id, "ann")
    assert (await box.supervisor.wait(current.id)).state is SwitchState.FAILED
    assert await outlook(box) == []


async def test_a_switch_that_requests_asked_for_does_not_end_the_trying(make_box):
    """What it changed stays; but nobody has said that the rest of the mode shall stay away."""
    box = await make_box(PAIR, CODE, cards=2)
    await box.switch("pair")
    box.probe.remove_file("/models/qwen.gguf")
    await reboot(box, driver=DriverState.OK)
    begun = await box.supervisor.begin(SwitchRequest(start=GEMMA, by="on demand: key"))
    await box.supervisor.wait(begun.id)
    (note,) = await outlook(box)
    assert "/models/qwen.gguf" in note
    box.probe.add_file("/models/qwen.gguf", 1)
    await back(box, "qwen")
    assert box.running() == {"gemma", "qwen"}


async def test_a_target_from_before_somebodys_change_is_not_gone_to(make_box):
    box = await make_box(CHAT, cards=1)
    before = box.supervisor._memory.desired
    await box.switch("chat")
    request = SwitchRequest(mode=ModeId("blank"), by="recovery")
    target = (await box.supervisor.plan(SwitchRequest(mode=ModeId("blank")))).target
    with pytest.raises(SwitchRunningError, match="comes first"):
        await box.supervisor._switcher.begin_target(request, target, (), before)
    assert box.running() == {"gemma"}


async def test_no_further_try_comes_between_a_pre_empted_one_and_the_switch_it_gave_way_to(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    desired = box.supervisor._memory.desired
    box.supervisor._switcher._coming = 1
    target = (await box.supervisor.plan(SwitchRequest(mode=ModeId("code")))).target
    request = SwitchRequest(mode=ModeId("code"), by="recovery")
    with pytest.raises(SwitchRunningError, match="comes first"):
        await box.supervisor._switcher.begin_target(request, target, (), desired)
    assert box.running() == {"gemma"}
