"""Switches on a simulated box: what a user sees, and what must never happen."""

import asyncio
import contextlib
import signal

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.errors import NotFoundError, StoreError, SwitchRunningError, TimedOutError
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.plan import Refused, StepKind
from gpumod.core.ports import ProbeAnswer, Readiness
from gpumod.core.service import RunKey
from gpumod.core.spec import AfterDeadline, Drain, OnFailure
from gpumod.core.states import ServiceState
from gpumod.core.switch import BoxState, Phase, StepState, SwitchRecord, SwitchRequest, SwitchState
from gpumod.core.units import GIB
from gpumod.testing.box import mode, service
from gpumod.testing.hardware import FOR_EVER
from gpumod.testing.runner import Script
from tests.patience import until

CHAT = mode("chat", service("gemma", 20 * GIB))
CODE = mode("code", service("qwen", 20 * GIB))
GPU = CardId("GPU-0")


def kinds(record, phase=Phase.DO):
    return [step.kind for step in record.steps if step.phase is phase]


async def test_a_box_starts_blank_and_settled(make_box):
    box = await make_box(CHAT)
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("blank", BoxState.SETTLED)


async def test_a_switch_brings_the_mode_up_and_commits(make_box):
    box = await make_box(CHAT, cards=1)
    record = await box.switch("chat")
    assert record.state is SwitchState.COMMITTED
    assert box.running() == {"gemma"}
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED)
    (gemma,) = status.services
    assert gemma.state is ServiceState.READY
    assert gemma.admitting
    assert dict(gemma.observed) == {GPU: 20 * GIB}


async def test_two_modes_that_do_not_fit_together_take_turns(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED
    assert kinds(record)[:3] == [StepKind.CLOSE, StepKind.DRAIN, StepKind.STOP]
    assert kinds(record)[-1] is StepKind.COMMIT
    assert box.running() == {"qwen"}


async def test_every_step_of_a_switch_is_in_the_journal_with_its_time(make_box):
    box = await make_box(CHAT, cards=1)
    record = await box.supervisor.switch((await box.switch("chat")).id)
    assert all(step.state is StepState.DONE for step in record.steps)
    assert all(step.seconds is not None for step in record.steps)


async def test_switching_to_the_present_healthy_mode_does_nothing_and_says_so(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    pids = box.processes.pids(ServiceId("gemma"))
    record = await box.switch("chat")
    assert record.state is SwitchState.COMMITTED
    assert record.steps == ()
    assert "nothing to do" in record.reason
    assert box.processes.pids(ServiceId("gemma")) == pids


async def test_a_service_that_both_modes_have_is_not_touched(make_box):
    shared = service("embed", 2 * GIB)
    box = await make_box(
        mode("a", shared, service("x", 15 * GIB)), mode("b", shared, service("y", 15 * GIB)), cards=1
    )
    await box.switch("a")
    pids = box.processes.pids(ServiceId("embed"))
    await box.switch("b")
    assert box.processes.pids(ServiceId("embed")) == pids
    assert box.running() == {"embed", "y"}


async def test_a_mode_that_does_not_fit_is_refused_before_anything_stops(make_box):
    box = await make_box(CHAT, mode("both", service("gemma", 20 * GIB), service("qwen", 20 * GIB)), cards=1)
    await box.switch("chat")
    pids = box.processes.pids(ServiceId("gemma"))
    refused = await box.supervisor.begin(SwitchRequest(mode=ModeId("both")))
    assert isinstance(refused, Refused)
    assert refused.reasons[0].need == 20 * GIB
    assert box.supervisor.refusals == {"does_not_fit": 1}
    assert box.processes.pids(ServiceId("gemma")) == pids
    assert (await box.supervisor.status()).mode == "chat"


async def test_a_disk_that_hangs_ends_the_plan_that_reads_it_and_nothing_else(make_box):
    box = await make_box(CHAT, CODE)
    await box.switch("chat")
    box.disk.hangs = True
    with pytest.raises(TimedOutError, match="models' files of qwen could not be read within 30"):
        await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    assert box.running() == {"gemma"}
    assert (await box.supervisor.status()).state is BoxState.SETTLED
    assert (await box.blank()).state is SwitchState.COMMITTED
    box.disk.hangs = False
    assert (await box.switch("code")).state is SwitchState.COMMITTED


async def test_an_unknown_mode_is_not_found_or_refused_and_changes_nothing(make_box):
    box = await make_box(CHAT, cards=1)
    try:
        answer = await box.supervisor.begin(SwitchRequest(mode=ModeId("nope")))
    except NotFoundError:
        return
    assert isinstance(answer, Refused)


# --- memory is free when it is proven free -----------------------------------------------------


async def test_a_start_waits_until_lingering_memory_is_back(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    (pid,) = box.processes.pids(ServiceId("gemma"))
    box.hardware.hold(pid, GPU, 20 * GIB, linger=7)
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED
    assert not (await box.supervisor.status()).overcommitted


@pytest.mark.parametrize("after", range(1, 40))
async def test_a_machine_that_stands_still_for_a_while_loses_no_switch(make_box, after):
    """Two minutes, longer than the bound of any wait here, at each look at the clock in turn."""
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    (pid,) = box.processes.pids(ServiceId("gemma"))
    box.hardware.hold(pid, GPU, 20 * GIB, linger=2)
    box.clock.stand_still(120.0, after=after)
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED, record.reason
    assert box.running() == {"qwen"}


async def test_memory_that_does_not_come_back_fails_the_switch_and_says_how_much(make_box):
    box = await make_box(CHAT, CODE, cards=1, bounds=Bounds(barrier=1.0))
    await box.switch("chat")
    (pid,) = box.processes.pids(ServiceId("gemma"))
    box.hardware.hold(pid, GPU, 20 * GIB, linger=FOR_EVER)
    record = await box.switch("code")
    assert record.state is not SwitchState.COMMITTED
    assert "memory did not come back" in record.reason
    assert "qwen" not in box.running(), "something was started without its memory proven free"


async def test_a_foreign_process_that_grabs_the_memory_is_named(make_box):
    box = await make_box(CHAT, CODE, cards=1, bounds=Bounds(barrier=1.0))
    await box.switch("chat")
    box.hardware.name(4711, "python train.py", "ann")
    (pid,) = box.processes.pids(ServiceId("gemma"))
    box.hardware.hold(pid, GPU, 20 * GIB, linger=2)
    grabbed = False
    stop = box.supervisor._quiescer.stop

    async def stop_and_grab(service_id):
        nonlocal grabbed
        detail = await stop(service_id)
        if not grabbed:
            grabbed = True
            box.hardware.foreign_grab(GPU, 22 * GIB, pid=4711)
        return detail

    box.supervisor._quiescer.stop = stop_and_grab
    record = await box.switch("code")
    assert record.state is not SwitchState.COMMITTED
    assert "4711" in record.reason
    assert "qwen" not in box.running()


# --- a failed switch ends in a known state ------------------------------------------------------


async def test_a_start_that_fails_puts_the_former_mode_back(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.processes.script(ServiceId("qwen"), Script(exits=1))
    box.engine.of(ServiceId("qwen")).why = "the file is broken"
    record = await box.switch("code")
    assert record.state is SwitchState.ROLLED_BACK
    assert "restored" in record.left
    assert "the file is broken" in record.reason
    assert box.running() == {"gemma"}
    status = await box.supervisor.status()
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED)


async def test_restored_services_run_as_they_ran_before(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    before = (await box.supervisor.status()).services[0].launch
    box.processes.script(ServiceId("qwen"), Script(exits=1))
    await box.switch("code")
    assert (await box.supervisor.status()).services[0].launch == before


async def test_when_restoring_fails_too_the_box_is_blank(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    for name in ("qwen", "gemma"):
        box.processes.script(ServiceId(name), Script(exits=1))
    record = await box.switch("code")
    assert record.state is SwitchState.FAILED
    assert "blank" in record.left
    assert box.running() == set()
    assert (await box.supervisor.status()).mode == "blank"


@pytest.mark.parametrize(
    ("wish", "left", "running"),
    [
        (OnFailure.BLANK, "blank", set()),
        (OnFailure.KEEP, "as it is", {"small"}),
    ],
)
async def test_on_failure_says_what_a_failed_switch_leaves(make_box, wish, left, running):
    small = service("small", 2 * GIB)
    box = await make_box(mode("one", small), mode("two", small, service("qwen", 15 * GIB)), cards=1)
    await box.switch("one")
    box.engine.of(ServiceId("qwen")).then(
        Readiness.LOADING, ProbeAnswer(Readiness.WRONG_MODEL, "it serves gpt")
    )
    record = await box.switch("two", on_failure=wish)
    assert record.state is SwitchState.FAILED
    assert left in record.left
    assert box.running() == running


async def test_a_process_that_cannot_be_killed_is_named_and_nothing_starts_over_it(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    box.processes.script(ServiceId("gemma"), Script(unkillable=True))
    await box.switch("chat")
    (pid,) = box.processes.pids(ServiceId("gemma"))
    record = await box.switch("code")
    assert record.state is SwitchState.FAILED
    assert str(pid) in record.reason + record.left
    assert "qwen" not in box.running()
    assert (await box.supervisor.status()).state is BoxState.UNKNOWN


async def test_children_that_ignore_sigterm_and_outlive_their_leader_are_gone_before_the_next_starts(
    make_box,
):
    box = await make_box(CHAT, CODE, cards=1)
    box.processes.script(
        ServiceId("gemma"), Script(children=3, survive=True, ignores=frozenset({signal.SIGTERM}))
    )
    await box.switch("chat")
    record = await box.switch("code")
    assert record.state is SwitchState.COMMITTED
    assert box.running() == {"qwen"}


# --- draining ------------------------------------------------------------------------------------


async def test_a_drain_waits_until_the_engine_is_quiet_twice(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.engine.of(ServiceId("gemma")).requests([3, 0, 1, 0, 0])
    record = await box.switch("code")
    drain = next(step for step in record.steps if step.kind is StepKind.DRAIN)
    assert "quiet" in drain.detail
    assert box.engine.of(ServiceId("gemma")).busy == __import__("collections").deque([0])


async def test_requests_that_outlast_the_deadline_are_cut(make_box):
    box = await make_box(mode("chat", service("gemma", 20 * GIB, drain=Drain(deadline=5.0))), CODE, cards=1)
    await box.switch("chat")
    box.engine.of(ServiceId("gemma")).requests([2])
    record = await box.switch("code")
    drain = next(step for step in record.steps if step.kind is StepKind.DRAIN)
    assert record.state is SwitchState.COMMITTED
    assert "2 requests" in drain.detail


async def test_a_preset_may_refuse_to_be_cut_and_then_goes_on_serving(make_box):
    stubborn = Drain(deadline=5.0, then=AfterDeadline.REFUSE)
    box = await make_box(mode("chat", service("gemma", 20 * GIB, drain=stubborn)), CODE, cards=1)
    await box.switch("chat")
    pids = box.processes.pids(ServiceId("gemma"))
    box.engine.of(ServiceId("gemma")).requests([2])
    record = await box.switch("code")
    assert record.state is SwitchState.ROLLED_BACK
    assert box.processes.pids(ServiceId("gemma")) == pids
    assert box.supervisor.gate.admits(ServiceId("gemma"))


async def test_requests_that_the_gateway_let_in_count_as_in_flight(make_box):
    box = await make_box(mode("chat", service("gemma", 20 * GIB, drain=Drain(deadline=3.0))), CODE, cards=1)
    await box.switch("chat")
    box.supervisor.gate.entered(ServiceId("gemma"))
    record = await box.switch("code")
    drain = next(step for step in record.steps if step.kind is StepKind.DRAIN)
    assert "1 requests in flight" in drain.detail


# --- one switch at a time ------------------------------------------------------------------------


async def slow(box, name):
    box.engine.of(ServiceId(name)).then(Readiness.LOADING)


async def test_an_identical_request_joins_and_a_different_one_gets_the_running_ones_id(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await slow(box, "gemma")
    first = await box.supervisor.begin(SwitchRequest(mode=ModeId("chat")))
    again = await box.supervisor.begin(SwitchRequest(mode=ModeId("chat")))
    assert again.id == first.id
    assert again.joined == 1
    with pytest.raises(SwitchRunningError) as caught:
        await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    assert caught.value.facts["switch"] == first.id
    box.engine.of(ServiceId("gemma")).then(Readiness.READY)
    assert (await box.supervisor.wait(first.id)).state is SwitchState.COMMITTED


async def test_blank_with_force_pre_empts_a_running_switch(make_box):
    box = await make_box(CHAT, cards=1)
    await slow(box, "gemma")
    first = await box.supervisor.begin(SwitchRequest(mode=ModeId("chat")))
    record = await box.blank()
    assert record.state is SwitchState.COMMITTED
    assert box.running() == set()
    assert "pre-empted" in (await box.supervisor.switch(first.id)).reason


@pytest.mark.parametrize("by", ["on demand: agent", "idle"])
async def test_anybodys_switch_pre_empts_one_that_a_policy_asked_for(make_box, by):
    box = await make_box(CHAT, CODE, mode("other", service("gpt", 20 * GIB)), cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    policys = await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by=by))
    while "qwen" not in box.running():
        await box.clock.sleep(0.01)
    record = await box.switch("other")
    assert record.state is SwitchState.COMMITTED, record.reason
    assert box.running() == {"gpt"}
    ended = await box.supervisor.switch(policys.id)
    assert (ended.state, "pre-empted" in ended.reason) == (SwitchState.ROLLED_BACK, True)


async def test_a_switch_that_pre_empted_a_policys_and_fails_restores_what_was_before_both(make_box):
    box = await make_box(CHAT, CODE, mode("other", service("gpt", 20 * GIB)), cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand"))
    while "qwen" not in box.running():
        await box.clock.sleep(0.01)
    box.processes.script(ServiceId("gpt"), Script(exits=1))
    record = await box.switch("other")
    assert (record.state, record.left) == (SwitchState.ROLLED_BACK, "restored: in mode chat")
    assert box.running() == {"gemma"}
    assert (await box.supervisor.status()).state is BoxState.SETTLED


async def test_a_policys_switch_that_somebody_has_joined_is_somebodys_own(make_box):
    box = await make_box(CHAT, CODE, mode("other", service("gpt", 20 * GIB)), cards=1)
    await slow(box, "qwen")
    policys = await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand"))
    joined = await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="ann"))
    assert joined.id == policys.id
    with pytest.raises(SwitchRunningError):
        await box.supervisor.begin(SwitchRequest(mode=ModeId("other"), by="bob"))
    box.engine.of(ServiceId("qwen")).then(Readiness.READY)
    assert (await box.supervisor.wait(policys.id)).state is SwitchState.COMMITTED


async def test_of_two_who_pre_empt_a_policys_switch_at_once_one_gets_it_and_the_other_is_told(make_box):
    box = await make_box(CHAT, CODE, mode("other", service("gpt", 20 * GIB)), cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand"))
    wishes = [SwitchRequest(mode=ModeId("other"), by="ann"), SwitchRequest(mode=ModeId("blank"), by="bob")]
    answers = await asyncio.gather(*map(box.supervisor.begin, wishes), return_exceptions=True)
    (told,) = (one for one in answers if isinstance(one, SwitchRunningError))
    (begun,) = (one for one in answers if isinstance(one, SwitchRecord))
    assert told.facts["switch"] == begun.id
    assert (await box.supervisor.wait(begun.id)).state is SwitchState.COMMITTED


async def test_no_policy_comes_between_a_pre_empted_switch_and_the_one_it_gave_way_to(make_box):
    box = await make_box(CHAT, CODE, mode("other", service("gpt", 20 * GIB)), cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    policys = await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand"))
    anns = asyncio.create_task(box.supervisor.begin(SwitchRequest(mode=ModeId("other"), by="ann")))
    refused = 0
    while not anns.done():
        with contextlib.suppress(SwitchRunningError):
            await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand: again"))
            refused -= 1
        refused += 1
        await box.clock.sleep(0.01)
    assert refused >= 1
    assert (await box.supervisor.wait((await anns).id)).state is SwitchState.COMMITTED
    history = await box.supervisor.switches(9)
    assert [one.request.by for one in history][:2] == ["ann", "on demand"]
    assert history[1].id == policys.id


async def test_a_wish_that_would_be_refused_ends_no_policys_switch(make_box):
    box = await make_box(CHAT, CODE, mode("huge", service("huge", 99 * GIB)), cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    policys = await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by="on demand"))
    with pytest.raises(SwitchRunningError):
        await box.supervisor.begin(SwitchRequest(mode=ModeId("huge")))
    box.engine.of(ServiceId("qwen")).then(Readiness.READY)
    assert (await box.supervisor.wait(policys.id)).state is SwitchState.COMMITTED


@pytest.mark.parametrize("by", ["on demand: agent", "idle"])
async def test_a_policy_ends_nobodys_switch(make_box, by):
    box = await make_box(CHAT, CODE, cards=1)
    await slow(box, "gemma")
    for asker in ("ann", "on demand: another"):
        first = await box.supervisor.begin(SwitchRequest(mode=ModeId("chat"), by=asker))
        with pytest.raises(SwitchRunningError):
            await box.supervisor.begin(SwitchRequest(mode=ModeId("code"), by=by))
        await box.supervisor.cancel(first.id, "test")
        await box.supervisor.wait(first.id)


async def test_a_cancelled_switch_is_undone(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    running = await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    await asyncio.sleep(0)
    await box.supervisor.cancel(running.id, "ann")
    record = await box.supervisor.wait(running.id)
    assert record.state is SwitchState.ROLLED_BACK
    assert "cancelled by ann" in record.reason
    assert box.running() == {"gemma"}


async def test_a_switch_that_runs_past_its_deadline_is_undone(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await slow(box, "qwen")
    record = await box.switch("code", deadline=20.0)
    assert record.state is SwitchState.ROLLED_BACK
    assert "deadline" in record.reason


async def test_a_service_that_never_becomes_ready_fails_after_its_startup_timeout(make_box):
    box = await make_box(mode("chat", service("gemma", GIB, startup_timeout=30.0)), cards=1)
    await slow(box, "gemma")
    record = await box.switch("chat")
    assert "not ready after" in record.reason


async def test_a_stranger_on_the_port_is_not_taken_for_the_service(make_box):
    box = await make_box(CHAT, cards=1)
    box.engine.of(ServiceId("gemma")).owns_listener = False
    record = await box.switch("chat")
    assert record.state is not SwitchState.COMMITTED
    assert "not the service itself" in record.reason


# --- the store fails -----------------------------------------------------------------------------


async def test_a_full_disk_fails_the_switch_and_leaves_running_services_alone(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    box.store.fail(StoreError("the disk is full"), "write_step")
    record = await box.switch("code")
    assert record.state is SwitchState.FAILED
    assert "disk is full" in record.reason
    assert box.running() == {"gemma"}


# --- unasked deaths --------------------------------------------------------------------------------


def record_of(box, name):
    return box.supervisor._world.get(ServiceId(name))


async def test_a_service_that_dies_is_restarted_with_a_new_generation(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.processes.end(RunKey(ServiceId("gemma"), 1), code=0)
    await until(lambda: record_of(box, "gemma").generation == 2 and record_of(box, "gemma").admitting)
    assert record_of(box, "gemma").state is ServiceState.READY


async def test_a_crash_loop_ends_failed_and_the_mode_is_degraded_with_the_reason(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.processes.script(ServiceId("gemma"), Script(exits=1))
    box.processes.end(RunKey(ServiceId("gemma"), 1), code=1)
    await until(lambda: "crash loop" in record_of(box, "gemma").reason)
    status = await box.supervisor.status()
    assert status.state is BoxState.DEGRADED
    assert "gemma" in status.reason
    assert record_of(box, "gemma").generation == 4, "the policy allows three restarts"


async def test_survivors_of_a_dead_leader_are_removed_before_the_restart(make_box):
    box = await make_box(CHAT, cards=1)
    box.processes.script(ServiceId("gemma"), Script(children=2, survive=True))
    await box.switch("chat")
    old = set(box.processes.pids(ServiceId("gemma")))
    box.processes.end(RunKey(ServiceId("gemma"), 1), code=0)
    await until(lambda: record_of(box, "gemma").generation == 2 and record_of(box, "gemma").admitting)
    assert not old & set(box.processes.pids(ServiceId("gemma")))


async def test_a_hung_engine_is_noticed_and_restarted(make_box):
    box = await make_box(CHAT, cards=1)
    await box.switch("chat")
    box.engine.of(ServiceId("gemma")).then(*[ProbeAnswer(Readiness.ERROR, "timed out")] * 25, Readiness.READY)
    await until(lambda: record_of(box, "gemma").generation == 2 and record_of(box, "gemma").admitting)


async def test_a_lost_card_fails_its_services_and_the_others_go_on(make_box):
    two = mode("two", service("left", 20 * GIB), service("right", 20 * GIB))
    box = await make_box(two, cards=2)
    await box.switch("two")
    lost = record_of(box, "left").cards[0]
    box.hardware.lose(lost)
    await until(lambda: record_of(box, "left").state is ServiceState.FAILED)
    assert record_of(box, "right").state is ServiceState.READY
    assert "bus" in record_of(box, "left").reason or "cannot be restarted" in record_of(box, "left").reason


# --- by hand, leases ---------------------------------------------------------------------------------


async def test_a_service_stopped_by_hand_stays_stopped_and_the_mode_is_modified(make_box):
    two = mode("two", service("left", 2 * GIB), service("right", 2 * GIB))
    box = await make_box(two, cards=1)
    await box.switch("two")
    begun = await box.supervisor.begin(SwitchRequest(stop=ServiceId("left")))
    await box.supervisor.wait(begun.id)
    assert box.running() == {"right"}
    status = await box.supervisor.status()
    assert status.state is BoxState.MODIFIED
    repaired = await box.switch("two")
    assert repaired.state is SwitchState.COMMITTED
    assert box.running() == {"left", "right"}


async def test_a_lease_refuses_the_switch_that_would_stop_its_service(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await box.supervisor.leases.take("ann", 600.0)
    refused = await box.supervisor.begin(SwitchRequest(mode=ModeId("code")))
    assert isinstance(refused, Refused)
    assert "ann" in refused.reasons[0].detail
    assert (await box.switch("code", force=True)).state is SwitchState.COMMITTED


async def test_a_lease_expires_by_itself(make_box):
    box = await make_box(CHAT, CODE, cards=1)
    await box.switch("chat")
    await box.supervisor.leases.take("ann", 5.0)
    await box.clock.sleep(6.0)
    assert (await box.switch("code")).state is SwitchState.COMMITTED
