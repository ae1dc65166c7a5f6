"""Who is charged what. Sizes are GiB; a card has 24."""

import pytest

from gpumod.core.cards import CardHealth
from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.plan import StartOrder
from gpumod.core.states import ServiceState
from gpumod.planner.budget import budgets, budgets_after, host_ledger, overcommitted
from tests.planner.boxes import box, card, footprint, foreign, gib, running, spec

READY, LOADING, STARTING = ServiceState.READY, ServiceState.LOADING, ServiceState.STARTING


def only(facts):
    (budget,) = budgets(facts)
    return budget


@pytest.mark.parametrize(
    ("state", "held", "charged", "available", "why"),
    [
        (READY, (10,), 10, 14, "holds what it reserved"),
        (READY, (6,), 10, 14, "may still take the rest of its reservation"),
        (READY, (13,), 13, 11, "took more than it reserved and is charged that"),
        (LOADING, (4,), 10, 14, "is charged in full while it loads"),
        (STARTING, (0,), 10, 14, "is charged in full before it holds anything"),
        (ServiceState.DRAINING, (10,), 10, 14, "is charged until it is gone"),
        (ServiceState.STOPPING, (10,), 10, 14, "is charged until it is gone"),
        (ServiceState.SLEEPING, (1,), 1, 23, "is charged what it left on the card"),
        (ServiceState.PARKED, (0,), 0, 24, "left nothing on the card"),
    ],
)
def test_a_service_that_reserved_ten(state, held, charged, available, why):
    budget = only(box([card("GPU-0")], [running("a", ["GPU-0"], 10, state=state, held=held)]))
    assert (budget.charged, budget.available) == (gib(charged), gib(available)), why
    assert budget.foreign == 0


def test_a_start_is_charged_before_its_first_process_exists():
    claimed = running("a", ["GPU-0"], 10, state=STARTING, held=None, alive=False)
    assert only(box([card("GPU-0")], [claimed])).available == gib(14)


def test_a_service_whose_processes_are_gone_is_charged_nothing():
    crashed = running("a", ["GPU-0"], 10, held=None, alive=False)
    budget = only(box([card("GPU-0")], [crashed]))
    assert (budget.charged, budget.available) == (0, gib(24))


def test_where_the_driver_does_not_tell_a_ready_service_holds_what_was_last_seen():
    seen = running("a", ["GPU-0"], 10, held=None, observed={"GPU-0": 8})
    budget = only(box([card("GPU-0", free=16)], [seen]))
    assert (budget.charged, budget.foreign, budget.available) == (gib(10), 0, gib(14))


def test_where_nothing_was_ever_seen_a_ready_service_holds_its_reservation():
    budget = only(box([card("GPU-0", free=14)], [running("a", ["GPU-0"], 10, held=None)]))
    assert (budget.charged, budget.foreign, budget.available) == (gib(10), 0, gib(14))


def test_a_loading_service_that_is_not_told_may_still_take_everything():
    loading = running("a", ["GPU-0"], 10, held=None, state=LOADING)
    assert only(box([card("GPU-0", free=18)], [loading])).available == gib(8)


def test_foreign_is_what_is_used_and_not_ours():
    facts = box([card("GPU-0", processes=[foreign(7, 5)])], [running("a", ["GPU-0"], 10)])
    budget = only(facts)
    assert (budget.foreign, budget.available) == (gib(5), gib(9))


def test_headroom_and_the_drivers_reserve_are_left_alone():
    facts = box([card("GPU-0", headroom=1, reserved=gib(0.5), free=23.5)])
    assert only(facts).available == gib(22.5)
    assert only(facts).foreign == 0


def test_after_a_plan_the_leaving_give_back_what_they_hold_and_the_starts_are_charged():
    facts = box(
        [card("GPU-0", processes=[foreign(7, 2)])],
        [running("a", ["GPU-0"], 10), running("b", ["GPU-0"], 4, held=(3,))],
    )
    order = StartOrder(spec("c"), (CardId("GPU-0"),), 1, footprint(12))
    (after,) = budgets_after(facts, frozenset({ServiceId("a")}), [order])
    assert (after.charged, after.foreign, after.available) == (gib(16), gib(2), gib(6))


def test_a_leaving_service_cannot_give_back_more_than_the_card_has():
    old = running("a", ["GPU-0"], 10, held=None, observed={"GPU-0": 10})
    facts = box([card("GPU-0", free=20)], [old])
    (after,) = budgets_after(facts, frozenset({ServiceId("a")}), [])
    assert after.available == gib(24)


# --- overcommitted ----------------------------------------------------------------------------


def test_foreign_growth_overcommits_a_card():
    services = [running("a", ["GPU-0"], 10, held=(6,))]
    assert overcommitted(box([card("GPU-0", processes=[foreign(7, 14)])], services)) == ()
    assert overcommitted(box([card("GPU-0", processes=[foreign(7, 15)])], services)) == ("GPU-0",)


def test_a_service_that_loads_unseen_does_not_overcommit_its_card():
    loading = running("a", ["GPU-0"], 14, held=None, state=LOADING)
    assert overcommitted(box([card("GPU-0", free=11)], [loading])) == ()


def test_a_card_that_does_not_answer_is_not_called_overcommitted():
    facts = box([card("GPU-0", headroom=2, free=1, health=CardHealth.UNKNOWN)])
    assert overcommitted(facts) == ()


# --- the host ---------------------------------------------------------------------------------


def test_the_host_is_charged_resident_bytes_and_peaks_of_those_that_load():
    facts = box(
        [card("GPU-0")],
        [
            running("a", ["GPU-0"], 1, host=(2, 9)),
            running("b", ["GPU-0"], 1, host=(1, 4), state=LOADING),
        ],
        host=(64, 40),
        headroom=3,
    )
    budget = host_ledger(facts).budget()
    assert budget.charged == gib(2 + 1 + 4)
    assert budget.available == gib(40 - 3 - 5), "what is ready is in the 40 already"


def test_on_the_host_card_resident_and_card_bytes_are_one_charge():
    """10 on the card and 2 resident are 12 of one memory, on both budgets, once each."""
    one = running("a", [HOST_CARD], 10, host=(2, 0), held=(12,))
    facts = box([card(HOST_CARD, 32, index=0, free=20)], [one], host=(64, 40))
    assert only(facts).charged == gib(12)
    assert only(facts).available == gib(20)
    assert host_ledger(facts).budget().charged == gib(12)
    assert host_ledger(facts).budget().available == gib(40)


def test_a_start_on_the_host_card_is_charged_both_before_it_holds_anything():
    one = running("a", [HOST_CARD], 10, host=(2, 5), held=None, state=STARTING)
    facts = box([card(HOST_CARD, 32, index=0, free=32)], [one], host=(64, 40))
    assert only(facts).available == gib(20)
    assert host_ledger(facts).budget().available == gib(40 - 17)
