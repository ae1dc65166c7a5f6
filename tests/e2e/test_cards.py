"""Switches on NVIDIA cards: what users see, and that memory is taken only when it is proven free.

The cards are a stand-in behind the real NVML binding; the daemon, the engines and everybody else are real
processes. An engine that asks a card for more than is left on it fails, as on a real card: a switch that
commits has never had too much on a card at once.
"""

import json

import pytest

from gpumod.core.cards import CardHealth
from gpumod.core.plan import StepKind
from gpumod.core.switch import BoxState, SwitchState
from tests.e2e.cards_box import begun, step, time_of, used
from tests.e2e.real_box import PATIENCE
from tests.nvml.standin import GIB

pytestmark = pytest.mark.shared_processes


def furnish(box):
    """Chat and code do not fit on card 0 together; big takes both cards; left and right take one each."""
    gate = box.root / "gate"
    gate.touch()
    box.vllm("big", 20, cards=2)
    box.engine("chat", 18, cards=["0"])
    box.engine("code", 20, cards=["0"])
    box.engine("sticky", 18, cards=["0"], card_keys={"linger": -1})
    box.engine("stubborn", 18, cards=["0"], stop_grace="10m")
    for name in ("left", "right"):
        box.engine(name, 16, gate=str(gate))
    for name in ("big", "chat", "code", "sticky", "stubborn"):
        box.mode(name, name)
    box.mode("pair", "left", "right")
    return box


@pytest.fixture(scope="module")
def module_box(make_cards_box):
    box = furnish(make_cards_box())
    box.start()
    return box


@pytest.fixture
def box(module_box):
    yield module_box
    module_box.calm_down()


# --- modes -----------------------------------------------------------------------------------------


def test_a_box_of_two_cards_goes_through_its_modes_and_its_memory_comes_back(box):
    box.go("big")
    (holder,) = box.holders("big")
    assert len(box.engines()["big"]) == 2, "an API server, and the engine core that holds the memory"
    for card, budget in zip(box.cards(), box.status().budgets, strict=True):
        (process,) = card.processes
        assert (process.pid, process.service, process.used) == (holder, "big", 20 * GIB)
        assert used(card) == 20 * GIB
        assert (budget.charged, budget.foreign, budget.available) == (20 * GIB, 0, 4 * GIB - GIB // 4)
    assert box.status().state is BoxState.SETTLED

    shown = box.ctl("cards")
    assert shown.code == 0
    assert shown.out.count("  big") == 2, "once on each card"
    assert "20.0 GiB" in shown.out
    record = box.go("pair")
    assert record.source == "big"
    for name in ("left", "right"):
        proof = step(record, StepKind.RELEASE, name)
        assert proof.detail.startswith("pid+free after ")
        proving, proven = time_of(record, StepKind.RELEASE, name)
        assert time_of(record, StepKind.STOP, "big")[1] <= proving
        assert proven <= time_of(record, StepKind.START, name)[0]
    held = {card.processes[0].service: used(card) for card in box.cards()}
    assert held == {"left": 16 * GIB, "right": 16 * GIB}
    status = json.loads(box.ctl("status", "--json").out)
    assert {one["id"]: one["state"] for one in status["services"]} == {"left": "ready", "right": "ready"}

    assert box.ctl("switch", "blank").code == 0
    box.look()
    assert [used(card) for card in box.cards()] == [0, 0]
    assert box.engines() == {}


def test_services_on_different_cards_load_at_the_same_time(box):
    (box.root / "gate").unlink()
    switch = box.begin("pair")
    try:
        box.wait_until("both load", lambda: {box.state("left"), box.state("right")} == {"loading"})
    finally:
        (box.root / "gate").touch()
    record = box.record(switch, wait=PATIENCE)
    assert record.state is SwitchState.COMMITTED, record.reason
    left, right = (time_of(record, StepKind.READY, name) for name in ("left", "right"))
    assert left[0] < right[1]
    assert right[0] < left[1]


def test_memory_is_gone_when_its_process_is(box):
    box.go("chat")
    record = box.go("blank")
    assert step(record, StepKind.RELEASE).detail.startswith("pid+free after ")
    box.look()
    assert [card.processes for card in box.cards()] == [(), ()]


# --- others ----------------------------------------------------------------------------------------


def test_a_process_of_somebody_else_is_named_and_what_does_not_fit_beside_it_is_refused(box):
    pid = box.other(0, 9)
    box.look()
    shown = box.ctl("status").out
    assert f"sleep {pid} of root" in shown or f"sleep {pid} of " in shown
    assert "9216 MiB" in shown
    assert f"sleep {pid}" in box.ctl("cards").out

    refused = box.ctl("switch", "chat")
    assert refused.code == 3
    assert f"sleep {pid}" in refused.err
    assert "need 18.0 GiB" in refused.err
    assert "have 14.8 GiB" in refused.err
    document = json.loads(box.ctl("switch", "chat", "--json").out)
    assert document["code"] == "refused"
    (reason,) = document["reasons"]
    (holder,) = reason["holders"]
    assert (reason["code"], reason["need"]) == ("does_not_fit", 18 * GIB)
    assert (holder["pid"], holder["size"], holder["command"]) == (pid, 9 * GIB, "sleep 600")
    assert holder["user"]
    assert box.engines() == {}


def test_growth_of_somebody_else_overcommits_the_card_and_kills_nothing(box):
    box.go("chat")
    before = box.engines()
    pid = box.other(0, 5.9)
    box.wait_until("the card is overcommitted", lambda: box.status().overcommitted == (box.gpus.uuids[0],))
    shown = box.ctl("status").out
    assert "overcommitted" in shown
    assert f"sleep {pid}" in shown
    with box.client() as client:
        assert any("overcommitted" in event.message for event in client.events())
    box.look()
    assert box.engines() == before
    assert box.state("chat") == "ready"
    assert box.status().state is BoxState.SETTLED


# --- the barrier -----------------------------------------------------------------------------------


def still_waiting(box, switch):
    """The switch has not begun to start code; one that has says why only once it has ended."""
    record = box.record(switch)
    if begun(record, StepKind.START, "code") or record.state is not SwitchState.RUNNING:
        record = box.record(switch, wait=PATIENCE)
    assert not begun(record, StepKind.START, "code"), record.reason
    assert not record.state.ended, record.reason


def memory_that_lingers_is_waited_for(box):
    """What a process held comes back only after it: nothing starts before."""
    box.go("sticky")
    (holder,) = box.holders("sticky")
    switch = box.begin("code")
    box.wait_until("the old engine has gone", lambda: holder not in box.processes())
    box.look()
    still_waiting(box, switch)
    assert box.holders("code") == []
    box.gpus.release(holder, 0)
    record = box.record(switch, wait=PATIENCE)
    assert record.state is SwitchState.COMMITTED, record.reason
    proven = time_of(record, StepKind.RELEASE, "code")[1]
    assert proven <= time_of(record, StepKind.START, "code")[0]
    assert box.state("code") == "ready"


def memory_that_leaks_fails_the_switch(box):
    """What a process held never comes back, and nobody is seen to hold it."""
    box.go("sticky")
    switch = box.begin("code")
    record = box.record(switch, wait=PATIENCE)
    assert record.state is SwitchState.FAILED
    assert not begun(record, StepKind.START, "code"), record.reason
    assert "memory did not come back within" in record.reason
    assert "code needs 20.0 GiB on card 0" in record.reason
    assert "held by no visible process" in record.reason
    assert record.left == "blank: nothing of ours runs"
    status = box.status()
    assert (status.state, status.mode) == (BoxState.SETTLED, "blank")
    assert box.engines() == {}


def stopping(box):
    """A switch to code that waits for an engine's end; the engine, and a process of somebody else."""
    box.go("stubborn")
    box.control("stubborn", on_sigterm="ignore")
    (holder,) = box.holders("stubborn")
    pid = box.other(0, 0)
    switch = box.begin("code")
    box.wait_for("stubborn", "stopping")
    return switch, holder, pid


def a_grab_between_two_readings_is_noticed(box):
    """Somebody takes the memory after a reading that was good."""
    switch, holder, pid = stopping(box)
    box.gpus.set_card(0, used=5 * GIB)
    box.end_service(holder)
    box.wait_until("the old engine has gone", lambda: holder not in box.processes())
    box.look()
    box.gpus.grab(0, 5 * GIB, after=2, pid=pid, used=0)
    box.wait_until("it is taken", lambda: pid in {one.pid for one in box.cards()[0].processes})
    box.look()
    still_waiting(box, switch)
    box.gpus.reset()
    record = box.record(switch, wait=PATIENCE)
    assert record.state is SwitchState.COMMITTED, record.reason


def what_somebody_took_fails_the_switch(box):
    """Somebody takes the memory as soon as it is there, and keeps it."""
    switch, holder, pid = stopping(box)
    box.gpus.hold(pid, 0, 5 * GIB)
    box.end_service(holder)
    record = box.record(switch, wait=PATIENCE)
    assert not begun(record, StepKind.START, "code"), record.reason
    assert record.state is SwitchState.ROLLED_BACK, record.reason
    assert f"process {pid} (sleep 600" in record.reason
    assert "5120 MiB" in record.reason
    assert record.left == "restored: in mode stubborn"
    assert box.state("stubborn") == "ready"


WITHIN_THE_BOUND = [memory_that_lingers_is_waited_for, a_grab_between_two_readings_is_noticed]
AT_THE_BOUND = [memory_that_leaks_fails_the_switch, what_somebody_took_fails_the_switch]


@pytest.mark.parametrize("scenario", WITHIN_THE_BOUND, ids=lambda one: one.__name__)
def test_the_barrier(box, scenario):
    scenario(box)


@pytest.fixture(scope="module")
def hasty_box(make_cards_box):
    """A box of its own for who waits for the barrier's bound: for all others it has to be long."""
    box = furnish(make_cards_box(bounds={"barrier": "2s"}))
    box.start()
    return box


@pytest.mark.parametrize("scenario", AT_THE_BOUND, ids=lambda one: one.__name__)
def test_the_barriers_bound(hasty_box, scenario):
    scenario(hasty_box)
    hasty_box.calm_down()


@pytest.fixture(scope="module")
def box_without_barrier(make_cards_box):
    box = furnish(make_cards_box(oddities=("without_barrier",)))
    box.start()
    return box


@pytest.mark.parametrize("scenario", WITHIN_THE_BOUND + AT_THE_BOUND, ids=lambda one: one.__name__)
def test_the_barrier_is_what_these_scenarios_need(box_without_barrier, scenario):
    with pytest.raises(AssertionError, match="code does not fit any more"):
        scenario(box_without_barrier)
    box_without_barrier.calm_down()


def test_one_good_reading_would_not_notice_a_grab(make_cards_box):
    box = furnish(make_cards_box(bounds={"barrier_readings": 1}))
    box.start()
    with pytest.raises(AssertionError, match=r"code does not fit any more|out of memory"):
        a_grab_between_two_readings_is_noticed(box)
    box.calm_down()


def test_without_barrier_and_last_look_an_engine_runs_out_of_memory(make_cards_box):
    box = furnish(make_cards_box(oddities=("without_barrier", "without_last_look")))
    box.start()
    box.go("sticky")
    record = box.switch("code")
    assert record.state is not SwitchState.COMMITTED
    assert "out of memory" in record.reason
    box.calm_down()


# --- numbers that the driver does not tell ------------------------------------------------------------


def test_a_driver_that_tells_no_bytes_of_processes_is_charged_by_reservation(box):
    box.engine("untold", 18, takes=15, cards=["0"], card_keys={"told": None})
    box.mode("untold", "untold")
    with box.client() as client:
        client.reload()
    record = box.go("untold")
    assert "an amount that the driver does not tell" in step(record, StepKind.READY, "untold").detail
    box.look()
    card, budget = box.cards()[0], box.status().budgets[0]
    assert [(one.service, one.used) for one in card.processes] == [("untold", None)]
    assert (budget.charged, budget.foreign) == (18 * GIB, 0)
    assert "?" in box.ctl("cards").out
    record = box.go("code")
    assert step(record, StepKind.RELEASE, "code").detail.startswith("pid+free after ")


def test_a_card_in_mig_mode_is_listed_and_left_alone(box):
    box.gpus.set_card(1, mig=1)
    box.wait_until("MIG is noticed", lambda: box.cards()[1].health is CardHealth.UNMANAGED)
    shown = box.ctl("cards").out
    assert "unmanaged: MIG is enabled on this card" in shown
    refused = box.ctl("switch", "big")
    assert refused.code == 3
    assert "1 of 2 cards can be used" in refused.err
    box.go("chat")
    box.gpus.set_card(1, mig=0)
