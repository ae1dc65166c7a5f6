"""The check directly before any start (invariant 1). Sizes are GiB."""

from gpumod.core.cards import CardHealth, DriverState, PortHolder
from gpumod.core.facts import TargetFinding
from gpumod.core.names import HOST_CARD
from gpumod.core.plan import StartOrder
from gpumod.core.states import ServiceState
from gpumod.planner.fits import fits_now
from tests.planner.boxes import LOST, box, card, footprint, foreign, gib, running, spec


def order(*sizes, cards=("GPU-0",), **fields):
    return StartOrder(spec("new"), cards, 18000, footprint(*sizes, **fields))


def reasons(facts, wish):
    return [one.code.value for one in fits_now(facts, wish)]


def test_it_fits():
    assert fits_now(box([card("GPU-0")]), order(24)) == ()


def test_somebody_took_memory_since_the_plan():
    (reason,) = fits_now(box([card("GPU-0", processes=[foreign(7, 5)])]), order(20))
    assert (reason.code.value, reason.need, reason.have) == ("does_not_fit", gib(20), gib(19))
    assert "process 7 (python, alice) 5120 MiB" in reason.detail


def test_what_another_start_has_reserved_is_taken():
    claimed = running("other", ["GPU-0"], 5, state=ServiceState.STARTING, held=None, alive=False)
    assert reasons(box([card("GPU-0")], [claimed]), order(20)) == ["does_not_fit"]


def test_its_own_reservation_is_not_held_against_it():
    own = running("new", ["GPU-0"], 20, state=ServiceState.STARTING, held=None, alive=False)
    assert fits_now(box([card("GPU-0")], [own]), order(20)) == ()


def test_the_host_has_to_have_the_loading_peak():
    facts = box([card("GPU-0")], host=(64, 10), headroom=1)
    assert reasons(facts, order(1, resident=2, loading=8)) == ["host_memory"]
    assert reasons(facts, order(1, resident=2, loading=7)) == []


def test_the_host_card_and_the_host_budget_are_both_checked():
    facts = box([card(HOST_CARD, 16, index=0, free=16)], host=(64, 12))
    assert reasons(facts, order(9, resident=2, cards=(HOST_CARD,))) == []
    assert reasons(facts, order(9, resident=2, loading=2, cards=(HOST_CARD,))) == ["host_memory"]
    assert reasons(facts, order(16, resident=2, cards=(HOST_CARD,))) == ["does_not_fit", "host_memory"]


def test_cards_that_went_away_meanwhile():
    assert reasons(box([]), order(1)) == ["no_such_card"]
    assert reasons(box([card("GPU-0", health=LOST)]), order(1)) == ["card_lost"]
    assert reasons(box([card("GPU-0", health=CardHealth.UNKNOWN)]), order(1)) == ["card_unknown"]


def test_a_driver_that_stopped_answering():
    facts = box([card("GPU-0")], driver=DriverState.FAILED, reason="GPU is lost")
    assert reasons(facts, order(1)) == ["driver"]


def test_a_port_that_was_taken_meanwhile():
    finding = TargetFinding(18000, PortHolder(18000, 7, "nginx"))
    facts = box([card("GPU-0")], findings={"new": finding})
    assert reasons(facts, order(1)) == ["port_taken"]
