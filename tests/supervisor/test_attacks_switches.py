"""Attacks on switches: what comes at the worst moment must leave a known state behind."""

import asyncio
from dataclasses import replace

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.errors import GpumodError, StoreError
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.plan import Refused, StepKind
from gpumod.core.ports import Readiness
from gpumod.core.service import RunKey
from gpumod.core.spec import AfterDeadline, CardRequest, Drain, OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, Phase, StepState, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.runner import Script
from tests.patience import until

CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
GEMMA, QWEN = ServiceId("gemma"), ServiceId("qwen")


def to(name, **fields):
    return SwitchRequest(mode=ModeId(name), **fields)


def record_of(box, name):
    return box.supervisor._world.get(ServiceId(name))


def before(box, method, act):
    """Let something happen in a call of the store, before the store answers."""
    original = getattr(box.store, method)

    async def acting(*args):
        await act(*args)
        return await original(*args)

    setattr(box.store, method, acting)


def after(box, method, act):
    """Let something happen once the store has done its work, before its caller hears of it."""
    original = getattr(box.store, method)

    async def acting(*args):
        answer = await original(*args)
        await act(*args)
        return answer

    setattr(box.store, method, acting)


# --- cancelled at the worst moment -----------------------------------------------------------------


async def test_what_is_committed_cannot_be_cancelled_any_more(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    begun = await box.supervisor.begin(to("code"))

    async def cancel(*_):
        await box.supervisor.cancel(begun.id, "ann")

    after(box, "commit_switch", cancel)
    record = await box.supervisor.wait(begun.id)
    assert record.state is SwitchState.COMMITTED
    assert box.running() == {"qwen"}
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("code", BoxState.SETTLED)


async def test_a_journal_that_fails_after_the_commit_does_not_take_the_commit_back(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")

    async def fill_the_disk(*_):
        box.store.fail(StoreError("the disk is full"), "write_step", "update_switch")

    after(box, "commit_switch", fill_the_disk)
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_cancelling_twice_undoes_once_and_does_not_clear_the_box(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    begun = await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    box.engine.of(GEMMA).then(Readiness.LOADING)
    await box.supervisor.cancel(begun.id, "ann")
    await until(lambda: record_of(box, "gemma").state is ServiceState.LOADING)
    await box.supervisor.cancel(begun.id, "ann, who pressed Ctrl-C again")
    box.engine.of(GEMMA).then(Readiness.READY)
    record = await box.supervisor.wait(begun.id)
    assert record.state is SwitchState.ROLLED_BACK, record.left
    assert box.running() == {"gemma"}


async def test_blank_with_force_does_not_wait_for_an_undo(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    begun = await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    box.engine.of(GEMMA).then(Readiness.LOADING)
    await box.supervisor.cancel(begun.id, "ann")
    began = box.clock.now()
    record = await box.blank()
    assert record.state is SwitchState.COMMITTED
    assert box.running() == set()
    assert box.clock.now() - began < 60, "it waited for a restoring start"
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_a_request_that_comes_as_a_switch_ends_is_not_told_that_it_still_runs(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    begun = await box.supervisor.begin(to("code"))
    answers = []

    async def ask(*_):
        answers.append(asyncio.create_task(box.supervisor.begin(to("code"))))
        await asyncio.sleep(0)

    before(box, "delete_service", ask)
    await box.supervisor.wait(begun.id)
    assert answers, "gemma was not dropped at the switch's end"
    again = await answers[0]
    assert again.state is SwitchState.COMMITTED


# --- nothing is left in between ---------------------------------------------------------------------


async def test_whoever_keeps_a_failed_switch_keeps_a_service_that_serves(make_box):
    stubborn = Drain(deadline=5.0, then=AfterDeadline.REFUSE)
    box = await make_box(mode("chat", service("gemma", 20 * GIB, drain=stubborn)), CODE, cards=1)
    await box.switch("chat")
    box.engine.of(GEMMA).requests([2])
    record = await box.switch("code", on_failure=OnFailure.KEEP)
    assert record.state is SwitchState.FAILED
    assert record_of(box, "gemma").state is ServiceState.READY
    assert box.supervisor.gate.admits(GEMMA)


@pytest.mark.parametrize("kind", [StepKind.DRAIN, StepKind.STOP, StepKind.READY, StepKind.OPEN])
async def test_a_disk_that_fills_up_leaves_no_service_between_two_states(make_box, kind):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")

    async def fill_the_disk(_, step):
        if step.kind is kind and step.state is StepState.RUNNING:
            box.store.fail(StoreError("the disk is full"))

    before(box, "write_step", fill_the_disk)
    record = await box.switch("code")
    assert record.state is SwitchState.FAILED
    for one in (await box.supervisor.status()).services:
        in_between = one.state not in {ServiceState.READY, ServiceState.STOPPED, ServiceState.FAILED}
        assert not in_between, f"{one.id} stays {one.state}"
        assert one.admitting == (one.state is ServiceState.READY), f"{one.id} is ready and closed"


async def test_a_pre_empting_caller_who_goes_away_leaves_no_service_in_between(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(QWEN).then(Readiness.LOADING)
    begun = await box.supervisor.begin(to("code"))
    await until(lambda: "qwen" in box.running())
    blank = asyncio.create_task(box.supervisor.begin(to("blank", force=True)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    blank.cancel()
    await asyncio.gather(blank, return_exceptions=True)
    await box.supervisor.wait(begun.id)
    assert record_of(box, "qwen") is None or record_of(box, "qwen").state is ServiceState.FAILED
    assert "qwen" not in box.running(), "nobody waits for it, and it loads"


async def test_a_disk_that_fails_while_restoring_does_not_cost_what_still_runs(make_box):
    shared = service("embed", 2 * GIB)
    box = await make_box(
        mode("a", shared, service("x", 15 * GIB)), mode("b", shared, service("y", 15 * GIB)), cards=1
    )
    await box.switch("a")
    pids = box.processes.pids(ServiceId("embed"))
    box.processes.script(ServiceId("y"), Script(exits=1))

    async def once(_, step):
        if step.phase is Phase.UNDO:
            raise StoreError("the database is locked")

    before(box, "write_step", once)
    record = await box.switch("b")
    assert record.state is SwitchState.FAILED
    assert "locked" in record.reason
    assert box.processes.pids(ServiceId("embed")) == pids


async def test_a_service_that_dies_while_it_is_measured_is_not_taken_for_ready(make_box):
    box = await make_box(CHAT, cards=1)

    async def die(*_):
        box.processes.end(RunKey(GEMMA, 1), code=1)
        for _turn in range(5):
            await asyncio.sleep(0)

    before(box, "add_measurement", die)
    record = await box.switch("chat")
    assert record.state is not SwitchState.COMMITTED
    assert "exited with code 1" in record.reason


async def test_a_measurement_that_cannot_be_kept_is_no_reason_to_fail(make_box):
    box = await make_box(CHAT, cards=1)
    box.store.fail(StoreError("the table is gone"), "add_measurement")
    record = await box.switch("chat")
    assert record.state is SwitchState.COMMITTED


# --- the memory barrier -----------------------------------------------------------------------------


async def test_each_card_of_a_stopped_service_is_proven_free_of_its_processes(make_box):
    """The second card is looked at later, when a first start measures its own card alone."""
    wide = service("wide", 10 * GIB, cards=2)
    first = replace(service("first", 2 * GIB), cards=CardRequest(exact=("GPU-0",)))
    second = replace(
        service("second", 2 * GIB, depends_on=(ServiceId("first"),)), cards=CardRequest(exact=("GPU-1",))
    )
    box = await make_box(
        mode("wide", wide), mode("narrow", first, second), cards=2, bounds=Bounds(barrier=1.0)
    )
    await box.switch("wide")
    (pid,) = box.processes.pids(ServiceId("wide"))
    box.hardware.hold(pid, CardId("GPU-1"), 10 * GIB, linger=10**6, listed_after=True)
    record = await box.switch("narrow")
    assert record.state is not SwitchState.COMMITTED
    assert "second" not in box.running()


# --- what is known beforehand -----------------------------------------------------------------------


async def test_what_cannot_be_killed_is_known_from_then_on_and_nothing_is_stopped_in_vain(make_box):
    both = mode("both", service("gemma", 10 * GIB), service("embed", 2 * GIB))
    box = await make_box(both, CODE, cards=1)
    box.processes.script(GEMMA, Script(unkillable=True))
    await box.switch("both")
    await box.switch("code", on_failure=OnFailure.KEEP)
    begun = await box.supervisor.begin(SwitchRequest(start=ServiceId("embed"), force=True))
    assert isinstance(begun, Refused)
    assert any(reason.code == "unkillable" for reason in begun.reasons)
    box.processes.release(RunKey(GEMMA, 1))
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_a_process_that_dies_at_last_does_not_leave_the_box_unknown(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    box.processes.script(GEMMA, Script(unkillable=True))
    await box.switch("chat")
    await box.switch("code")
    assert (await box.supervisor.status()).state is BoxState.UNKNOWN
    box.processes.release(RunKey(GEMMA, 1))
    await box.supervisor._watch.refresh()
    assert (await box.supervisor.status()).state is not BoxState.UNKNOWN


async def test_a_lease_taken_while_a_switch_is_planned_is_kept(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    read = box.hardware.read
    leased = False

    async def lease_meanwhile(**limits):
        nonlocal leased
        answer = await read(**limits)
        if not leased:
            leased = True
            await box.supervisor.leases.take("ann", 600.0, services=[GEMMA])
        return answer

    box.hardware.read = lease_meanwhile
    answer = await box.supervisor.begin(to("code"))
    assert isinstance(answer, Refused), "the service that ann leased is being stopped"


async def test_what_a_running_switch_stops_cannot_be_leased(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(GEMMA).requests([1])
    begun = await box.supervisor.begin(to("code"))
    for turns in (0, 200):
        for _ in range(turns):
            await asyncio.sleep(0)
        with pytest.raises(GpumodError, match="gemma"):
            await box.supervisor.leases.take("ann", 600.0, services=[GEMMA])
    box.engine.of(GEMMA).requests([0])
    assert (await box.supervisor.wait(begun.id)).state is SwitchState.COMMITTED


# --- shutting down ------------------------------------------------------------------------------------


async def test_nothing_begins_while_the_daemon_ends(make_box):
    box = await make_box(CHAT, cards=1)
    asked = asyncio.create_task(box.supervisor.begin(to("chat")))
    await asyncio.sleep(0)
    await box.supervisor.close()
    answers = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(answers[0], GpumodError), answers
    with pytest.raises(GpumodError):
        await box.supervisor.begin(to("chat"))
    assert box.running() == set()


async def test_files_are_not_looked_at_in_the_event_loop(make_box, monkeypatch):
    box = await make_box(CHAT, cards=1)
    aside = False
    looks = []
    predict, measure = box.footprints.footprint, box.footprints.measured

    def footprint(*args, **named):
        looks.append(aside)
        return predict(*args, **named)

    def measured(*args, **named):
        looks.append(aside)
        return measure(*args, **named)

    async def to_thread(work, *args, **named):
        nonlocal aside
        aside = True
        try:
            return work(*args, **named)
        finally:
            aside = False

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    monkeypatch.setattr(box.disk, "run", lambda call, bound: to_thread(call))
    box.footprints.footprint, box.footprints.measured = footprint, measured
    await box.switch("chat")
    assert looks
    assert all(looks), "a slow file system would stop every answer"


async def test_a_switch_to_blank_does_not_join_the_restart_of_what_was_started_by_hand(make_box):
    box = await make_box(CHAT, cards=1)
    by_hand = await box.supervisor.begin(SwitchRequest(start=GEMMA))
    await box.supervisor.wait(by_hand.id)
    box.engine.of(GEMMA).then(*[Readiness.LOADING] * 300, Readiness.READY)
    box.processes.end(RunKey(GEMMA, 1), code=1)
    for _ in range(100_000):
        if box.supervisor._switcher.busy:
            break
        await asyncio.sleep(0)
    record = await box.blank()
    assert record.state is SwitchState.COMMITTED
    assert box.running() == set()
