"""Where each service of a target was looked at, and what there is for it."""

import pytest

from gpumod.core.names import CardId, ServiceId
from gpumod.core.plan import Plan, Refused
from gpumod.core.units import GIB
from gpumod.planner.preflight import looks
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import box, card, footprint, running, spec, target, wanting


def look(facts, *specs):
    asked = target(*specs)
    outcome = plan_switch(facts, asked)
    return outcome, {one.spec.id: one for one in looks(facts, asked, outcome)}


def gib(one):
    return {name: round(size / GIB, 1) for name, size in one.room}


def test_a_start_is_looked_at_where_it_would_go_with_all_that_is_there():
    facts = wanting(box([card("GPU-0", free=10), card("GPU-1", free=20)]), (spec("a"), footprint(15)))
    outcome, found = look(facts, spec("a"))
    assert isinstance(outcome, Plan)
    assert (found["a"].cards, found["a"].runs) == ((CardId("GPU-1"),), False)
    assert gib(found["a"]) == {"GPU-0": 10, "GPU-1": 20}


def test_what_the_others_of_the_target_take_is_not_there_for_it():
    facts = wanting(box([card("GPU-0")]), (spec("a"), footprint(15)), (spec("b"), footprint(4)))
    _, found = look(facts, spec("a"), spec("b"))
    assert gib(found["a"]) == {"GPU-0": 20}
    assert gib(found["b"]) == {"GPU-0": 9}


def test_what_does_not_fit_is_looked_at_on_the_roomiest_card():
    facts = wanting(box([card("GPU-0", free=10), card("GPU-1", free=12)]), (spec("a"), footprint(15)))
    outcome, found = look(facts, spec("a"))
    assert isinstance(outcome, Refused)
    assert found["a"].cards == (CardId("GPU-1"),)
    assert found["a"].footprint == footprint(15)


def test_of_two_that_do_not_fit_together_each_has_what_the_other_leaves():
    facts = wanting(box([card("GPU-0")]), (spec("a"), footprint(15)), (spec("b"), footprint(14)))
    outcome, found = look(facts, spec("a"), spec("b"))
    assert isinstance(outcome, Refused)
    assert gib(found["a"]) == {"GPU-0": 10}
    assert gib(found["b"]) == {"GPU-0": 9}


def test_one_that_never_fits_does_not_take_the_others_room():
    facts = wanting(box([card("GPU-0")]), (spec("a"), footprint(40)), (spec("b"), footprint(4)))
    _, found = look(facts, spec("a"), spec("b"))
    assert gib(found["a"]) == {"GPU-0": 20}
    assert gib(found["b"]) == {"GPU-0": 24}


def test_what_leaves_makes_room():
    facts = wanting(box([card("GPU-0")], [running("old", ["GPU-0"], 20)]), (spec("a"), footprint(40)))
    _, found = look(facts, spec("a"))
    assert gib(found["a"]) == {"GPU-0": 24}


def test_a_kept_service_is_looked_at_where_it_runs_and_has_its_own_room():
    facts = wanting(box([card("GPU-0")], [running("a", ["GPU-0"], 10)]), (spec("a"), footprint(10)))
    _, found = look(facts, spec("a"))
    assert (found["a"].runs, found["a"].cards) == (True, (CardId("GPU-0"),))
    assert gib(found["a"]) == {"GPU-0": 24}


def test_named_cards_are_looked_at_even_if_others_are_roomier():
    asked = spec("a", exact=["GPU-0"])
    facts = wanting(box([card("GPU-0", free=10), card("GPU-1")]), (asked, footprint(15)))
    _, found = look(facts, asked)
    assert found["a"].cards == (CardId("GPU-0"),)


def test_what_nothing_is_known_of_has_no_footprint():
    facts = wanting(box([card("GPU-0")]), (spec("a"), {}))
    _, found = look(facts, spec("a"))
    assert (found["a"].footprint, found["a"].cards) == (None, ())


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_services_come_in_the_targets_order(order):
    facts = wanting(box([card("GPU-0")]), (spec("a"), footprint(1)), (spec("b"), footprint(1)))
    asked = target(*map(spec, order))
    found = looks(facts, asked, plan_switch(facts, asked))
    assert [one.spec.id for one in found] == list(map(ServiceId, order))


def test_the_hosts_memory_is_what_the_other_starts_leave():
    facts = wanting(
        box([card("GPU-0")], host=(64, 64)),
        (spec("a"), footprint(1, resident=4)),
        (spec("b"), footprint(1, resident=10)),
    )
    _, found = look(facts, spec("a"), spec("b"))
    assert found["a"].host == 54 * GIB
