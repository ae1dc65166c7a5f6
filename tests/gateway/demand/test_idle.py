"""What is stopped because nobody asks, and what never is."""

from dataclasses import replace

import pytest

from gpumod.core.names import BLANK, ModeId, ServiceId, SwitchId
from gpumod.core.spec import Idle, IdleAction
from gpumod.core.switch import SwitchRecord, SwitchRequest, SwitchState
from gpumod.gateway.demand.idle import (
    LOOK_AGAIN,
    Idled,
    IdleService,
    IdleSight,
    IdleTurn,
    idle_turn,
    idled_by,
)

CHAT = ModeId("chat")
A, B = ServiceId("a"), ServiceId("b")
STOP = Idle(100.0, IdleAction.STOP)
TO_BLANK = Idle(100.0, IdleAction.BLANK)


def sight(*services: IdleService, idle: Idle | None = None) -> IdleSight:
    return IdleSight(CHAT, idle, services, settled=0.0, residency=0.0, held=False)


def service(name: str, used: float = 0.0, idle: Idle | None = None, in_flight: int = 0) -> IdleService:
    return IdleService(ServiceId(name), idle, used, in_flight)


def test_a_service_is_stopped_after_its_time_and_not_before():
    box = sight(service("a", 10.0, STOP), service("b"))
    assert idle_turn(box, 109.0) == IdleTurn(again=110.0)
    assert idle_turn(box, 110.0) == IdleTurn(SwitchRequest(stop=A, by="idle"))


def test_nothing_is_stopped_without_a_policy():
    assert idle_turn(sight(service("a")), 1e9) == IdleTurn()


def test_a_service_with_a_request_inside_is_in_use():
    assert idle_turn(sight(service("a", 0.0, STOP, in_flight=1)), 500.0) == IdleTurn(again=600.0)


def test_a_service_that_another_needs_stays():
    needed = replace(service("a", 0.0, STOP), needed_by=frozenset({B}))
    assert idle_turn(sight(needed, service("b")), 1e9) == IdleTurn()


def test_a_mode_is_left_when_none_of_its_services_was_asked():
    box = sight(service("a", 0.0), service("b", 50.0), idle=TO_BLANK)
    assert idle_turn(box, 149.0) == IdleTurn(again=150.0)
    assert idle_turn(box, 150.0) == IdleTurn(SwitchRequest(mode=BLANK, by="idle"))


def test_a_mode_with_a_request_inside_stays():
    box = sight(service("a", 0.0), service("b", 0.0, in_flight=1), idle=TO_BLANK)
    assert idle_turn(box, 1000.0).request is None


def test_a_modes_policy_to_stop_is_that_of_each_service_without_its_own():
    own = Idle(1000.0, IdleAction.STOP)
    box = sight(service("a", 0.0, own), service("b", 0.0), idle=STOP)
    assert idle_turn(box, 100.0) == IdleTurn(SwitchRequest(stop=B, by="idle"))


def test_a_mode_with_nothing_running_is_left_as_it_is():
    assert idle_turn(sight(idle=TO_BLANK), 1e9) == IdleTurn()


def test_nothing_is_taken_from_a_mode_within_its_residency():
    box = replace(sight(service("a", 0.0, Idle(1.0, IdleAction.STOP))), settled=50.0, residency=60.0)
    assert idle_turn(box, 109.0) == IdleTurn(again=110.0)
    assert idle_turn(box, 110.0).request is not None


def test_a_service_that_a_request_brought_back_stays_for_the_residency():
    back = replace(service("a", 200.0, Idle(1.0, IdleAction.STOP)), since=200.0)
    box = replace(sight(back), residency=60.0)
    assert idle_turn(box, 259.0) == IdleTurn(again=260.0)
    whole = replace(sight(back, idle=Idle(1.0, IdleAction.BLANK)), residency=60.0)
    assert idle_turn(whole, 259.0).again == 260.0


def test_what_is_held_is_looked_at_again():
    box = replace(sight(service("a", 0.0, STOP)), held=True)
    assert idle_turn(box, 200.0) == IdleTurn(again=200.0 + LOOK_AGAIN)


def test_sleep_is_not_stop():
    assert idle_turn(sight(service("a", 0.0, Idle(1.0, IdleAction.SLEEP))), 1e9) == IdleTurn()


# --- what idleness has taken away -------------------------------------------------------------------


def record(state: SwitchState = SwitchState.COMMITTED, source: ModeId = CHAT, **wish: object) -> SwitchRecord:
    request = SwitchRequest(**wish)  # type: ignore[arg-type]
    return SwitchRecord(SwitchId("S"), request, source, request.mode or source, state, 0.0, 1.0)


IDLE_STOP = record(stop=A, by="idle")


@pytest.mark.parametrize(
    ("journal", "expected"),
    [
        ([IDLE_STOP], Idled(frozenset({A}))),
        ([record(SwitchState.ROLLED_BACK, stop=A, by="idle")], Idled()),
        ([record(stop=A, by="ada")], Idled()),
        ([IDLE_STOP, record(stop=A, by="ada")], Idled()),
        ([IDLE_STOP, record(start=A)], Idled()),
        ([IDLE_STOP, record(stop=B, by="ada")], Idled(frozenset({A}))),
        ([IDLE_STOP, record(mode=ModeId("code"))], Idled()),
        ([record(mode=BLANK, by="idle")], Idled(mode=CHAT)),
        ([record(mode=BLANK, by="idle"), record(mode=BLANK, source=BLANK, by="ada")], Idled()),
    ],
)
def test_the_journal_tells_what_idleness_took_away(journal, expected):
    assert idled_by(journal) == expected
