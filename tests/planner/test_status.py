"""What the box is like, in one word and one sentence with numbers."""

from dataclasses import replace

import pytest

from gpumod.core.cards import CardHealth, DriverState
from gpumod.core.names import ModeId, SwitchId
from gpumod.core.plan import StepKind
from gpumod.core.service import Desired
from gpumod.core.spec import BLANK_MODE, Catalog, Mode
from gpumod.core.states import ServiceState
from gpumod.core.switch import (
    BoxState,
    Phase,
    StepRecord,
    StepState,
    SwitchRecord,
    SwitchRequest,
    SwitchState,
)
from gpumod.planner.status import box_state
from tests.planner.boxes import NOW, box, card, running, spec

CHAT, EMBED, EXTRA = spec("chat"), spec("embed"), spec("extra")
CATALOG = Catalog(
    modes=(BLANK_MODE, Mode(ModeId("daily"), services=(CHAT, EMBED))), disabled=(("big", "bad file"),)
)
UP = (running(CHAT, ["GPU-0"], 10), running(EMBED, ["GPU-0"], 2, port=18001))


ONE = (card("GPU-0"),)


def look(*services, desired=None, switch=None, cards=ONE, trouble="", **fields):
    facts = box(cards, services, **fields)
    records = [one.record for one in services]
    return box_state(desired or Desired("daily"), CATALOG, records, switch, facts, trouble)


def in_state(one, state, **fields):
    return replace(one, record=replace(one.record, state=state, **fields))


def test_settled():
    assert look(*UP) == (BoxState.SETTLED, "mode daily: 2 of 2 services are ready")


def test_a_new_box_is_settled_in_blank():
    assert box_state(None, CATALOG, (), None, box([])) == (
        BoxState.SETTLED,
        "mode blank: nothing of ours runs",
    )


def test_sleeping_members_are_no_trouble():
    assert look(UP[0], in_state(UP[1], ServiceState.SLEEPING))[0] is BoxState.SETTLED


def test_a_running_switch_says_how_far_it_is():
    steps = (
        StepRecord(Phase.DO, 0, StepKind.STOP, "stop chat", state=StepState.DONE),
        StepRecord(Phase.DO, 1, StepKind.READY, "wait until coder is ready", state=StepState.RUNNING),
        StepRecord(Phase.DO, 2, StepKind.COMMIT, "commit"),
    )
    request = SwitchRequest(mode=ModeId("code"))
    switch = SwitchRecord(
        SwitchId("1"), request, ModeId("daily"), ModeId("code"), SwitchState.RUNNING, NOW - 4.2, steps=steps
    )
    state, reason = look(*UP, switch=switch)
    assert state is BoxState.SWITCHING
    assert reason == ("switch to code (running) for 4.2 s, 1 of 3 steps done: wait until coder is ready")
    ended = replace(switch, state=SwitchState.COMMITTED)
    assert look(*UP, switch=ended)[0] is BoxState.SETTLED


def test_a_member_that_failed_degrades_the_mode():
    failed = in_state(UP[1], ServiceState.FAILED, reason="exited with code 1")
    state, reason = look(UP[0], failed)
    assert state is BoxState.DEGRADED
    assert reason == "mode daily: 1 of 2 services are ready: embed is failed (exited with code 1)"


def test_a_member_that_is_not_there_and_one_whose_processes_are_gone():
    dead = replace(UP[0], alive=False)
    state, reason = look(dead)
    assert state is BoxState.DEGRADED
    assert "chat has no process any more; embed does not run" in reason


def test_what_was_changed_by_hand_is_said():
    extra = running(EXTRA, ["GPU-0"], 1, port=18002)
    desired = Desired("daily", added=(EXTRA,), removed=(EMBED.id,))
    assert look(UP[0], extra, desired=desired) == (
        BoxState.MODIFIED,
        "mode daily, changed: extra added by hand; embed removed by hand",
    )


def test_a_member_stopped_by_hand_is_not_missed():
    assert look(UP[0], desired=Desired("daily", removed=(EMBED.id,)))[0] is BoxState.MODIFIED


def test_what_runs_and_nobody_asked_for():
    state, reason = look(*UP, running(EXTRA, ["GPU-0"], 1, port=18002))
    assert (state, "extra running and not asked for" in reason) == (BoxState.MODIFIED, True)


def test_a_service_whose_file_has_changed_since():
    older = running(replace(CHAT, context=1), ["GPU-0"], 10)
    assert look(older, UP[1]) == (
        BoxState.SETTLED,
        "mode daily: 2 of 2 services are ready; the files of chat have changed since: switch to it again",
    )


@pytest.mark.parametrize(
    ("mode", "words"), [("old", "is not in the files any more"), ("big", "is disabled (bad file)")]
)
def test_a_mode_that_is_gone(mode, words):
    assert look(*UP, desired=Desired(mode)) == (
        BoxState.MODIFIED,
        f"mode {mode} {words}; 2 services are ready",
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"trouble": "process 9 of chat survives SIGKILL"}, "process 9 of chat survives SIGKILL"),
        (
            {"driver": DriverState.NOT_ANSWERING, "reason": "2 s"},
            "what the cards hold is not known: the NVIDIA driver does not answer: 2 s",
        ),
        (
            {"cards": [card("GPU-0", health=CardHealth.UNKNOWN, age=12.0)]},
            "card 0 (GPU-0) with chat, embed is unknown, last seen 12.0 s ago",
        ),
        (
            {"cards": [card("GPU-0", health=CardHealth.LOST, reason="Xid 79")]},
            "card 0 (GPU-0) with chat, embed is lost: Xid 79",
        ),
    ],
)
def test_what_cannot_be_known_is_said(fields, words):
    assert look(*UP, **fields) == (BoxState.UNKNOWN, words)


def test_a_process_that_cannot_be_killed_makes_the_box_unknown():
    state, reason = look(replace(UP[0], unkillable=(666,)), UP[1])
    assert (state, reason) == (BoxState.UNKNOWN, "process 666 of chat survives SIGKILL")


def test_an_idle_card_that_does_not_answer_is_no_reason():
    cards = [card("GPU-0"), card("GPU-1", health=CardHealth.LOST)]
    assert look(*UP, cards=cards)[0] is BoxState.SETTLED
