"""A daemon that starts over what an earlier one left."""

import pytest

from gpumod.core.names import ModeId, ServiceId
from gpumod.core.ports import Readiness, RunRequest
from gpumod.core.service import RunKey
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script

CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))


async def test_a_restart_of_the_daemon_adopts_what_runs(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    pids = box.processes.pids(ServiceId("gemma"))
    await box.restart()
    assert box.processes.pids(ServiceId("gemma")) == pids
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED)
    assert status.services[0].admitting
    assert any("adopted" in note for note in status.notes)


async def test_a_service_that_died_meanwhile_is_started_again(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.end(RunKey(ServiceId("gemma"), 1), code=1)
    await box.restart()
    assert box.running() == {"gemma"}
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_an_attempt_that_no_record_knows_is_killed(make_box):
    box = await make_box(CHAT, cards=1)
    await box.supervisor.close()
    box.processes.start(
        RunRequest(RunKey(ServiceId("gemma"), 9), ("x",), (("CUDA_VISIBLE_DEVICES", "GPU-0"),), "/x")
    )
    assert box.running() == {"gemma"}
    await box.restart()
    assert box.running() == set()


async def test_an_older_generation_is_killed_and_the_newer_adopted(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.start(
        RunRequest(RunKey(ServiceId("gemma"), 0), ("x",), (("CUDA_VISIBLE_DEVICES", "GPU-0"),), "/x")
    )
    new = set(box.processes.pids(ServiceId("gemma")))
    await box.restart()
    left = set(box.processes.pids(ServiceId("gemma")))
    assert len(left) == 1
    assert left < new
    assert (await box.supervisor.status()).services[0].generation == 1


@pytest.mark.parametrize("turns", range(1, 120, 7))
async def test_a_switch_that_is_interrupted_anywhere_is_finished_by_the_next_daemon(make_box, turns):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    for _ in range(turns):
        await box.store.desired()
    await box.restart()
    status = await box.supervisor.status()
    assert status.state is BoxState.SETTLED, status.reason
    assert box.running() == {spec.id for spec in box.catalog.mode(status.mode).services}
    assert status.mode == "code"
    assert await box.store.open_switch() is None


async def test_an_interrupted_switch_whose_target_no_longer_starts_is_taken_back(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(ServiceId("qwen")).then(Readiness.LOADING)
    await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    while "qwen" not in box.running():
        await box.store.desired()
    box.processes.script(ServiceId("qwen"), Script(exits=1))
    await box.supervisor.close()
    for pid_key in [run.key for run in box.processes.runs() if run.key.service == "qwen"]:
        box.processes.end(pid_key, code=1)
    await box.restart()
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED), status.reason
    assert box.running() == {"gemma"}


@pytest.mark.parametrize(
    ("boot", "mode_id", "running"),
    [
        ("last", "chat", {"gemma"}),
        ("blank", "blank", set()),
        ("code", "code", {"qwen"}),
    ],
)
async def test_after_a_reboot_the_boot_setting_decides(make_box, boot, mode_id, running):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await box.supervisor.close()
    box.processes.reboot()
    await box.restart(boot=boot, rebooted=True)
    status = await box.supervisor.status()
    assert (status.mode, status.state) == (mode_id, BoxState.SETTLED)
    assert box.running() == running


async def test_a_mode_whose_file_is_gone_leaves_its_services_alone_and_says_so(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.catalog = type(box.catalog)(presets=box.catalog.presets, modes=box.catalog.modes[:1])
    await box.restart()
    assert box.running() == {"gemma"}
    assert (await box.supervisor.status()).state is not BoxState.SETTLED


async def test_an_unkillable_leftover_makes_the_box_unknown_not_silent(make_box):
    box = await make_box(CHAT, cards=1)
    box.processes.script(ServiceId("gemma"), Script(unkillable=True))
    await box.supervisor.close()
    box.processes.start(
        RunRequest(RunKey(ServiceId("gemma"), 9), ("x",), (("CUDA_VISIBLE_DEVICES", "GPU-0"),), "/x")
    )
    await box.restart()
    assert (await box.supervisor.status()).state is BoxState.UNKNOWN
    box.processes.release(RunKey(ServiceId("gemma"), 9))


async def test_an_unkillable_leftover_is_named_until_it_is_gone_whatever_is_committed_meanwhile(make_box):
    key = RunKey(ServiceId("qwen"), 9)
    box = await make_box(CHAT, CODE, cards=2)
    box.processes.script(key.service, Script(unkillable=True))
    await box.supervisor.close()
    box.processes.start(RunRequest(key, ("x",), (("CUDA_VISIBLE_DEVICES", "GPU-0"),), "/x"))
    await box.restart()
    record = await box.switch("chat")
    assert record.state is SwitchState.COMMITTED
    status = await box.supervisor.status()
    (pid,) = box.processes.pids(key.service)
    assert (status.state, status.reason) == (BoxState.UNKNOWN, f"process {pid} of qwen survives SIGKILL")
    assert {budget.card: budget.foreign for budget in status.budgets} == {"GPU-0": 20 * GIB, "GPU-1": 0}
    box.processes.release(key)
    await box.supervisor._watch.refresh()
    status = await box.supervisor.status()
    assert (status.state, status.reason) == (BoxState.SETTLED, "mode chat: 1 of 1 services are ready")


async def test_an_unkillable_leftover_of_an_older_generation_is_not_charged_to_the_newer(make_box):
    box = await make_box(CHAT, cards=2)
    await box.switch("chat")
    await box.supervisor.close()
    older = RunKey(ServiceId("gemma"), 0)
    box.processes.script(older.service, Script(unkillable=True))
    box.takes[older.service] = 2 * GIB
    box.processes.start(RunRequest(older, ("x",), (("CUDA_VISIBLE_DEVICES", "GPU-0"),), "/x"))
    await box.restart()
    await box.supervisor._watch.refresh()
    status = await box.supervisor.status()
    assert status.state is BoxState.UNKNOWN
    assert {budget.card: budget.charged for budget in status.budgets} == {"GPU-0": 20 * GIB, "GPU-1": 0}
    assert status.services[0].state is ServiceState.READY
    box.processes.release(older)


async def test_generations_are_never_used_again(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    await box.blank()
    await box.restart()
    await box.switch("chat")
    (gemma,) = (await box.supervisor.status()).services
    assert gemma.generation == 2
    assert gemma.state is ServiceState.READY
