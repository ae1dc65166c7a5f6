"""The order of steps: free before take per card, parallel where cards are disjoint."""

import pytest

from gpumod.core.cards import CardHealth
from gpumod.core.names import BLANK
from gpumod.core.states import ServiceState
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import (
    box,
    card,
    follows,
    footprint,
    gib,
    in_mode,
    planned,
    running,
    spec,
    step,
    target,
    wanting,
    words,
)

A, B, C = spec("a"), spec("b"), spec("c")
ALONE = {"exclusive_start": True}


def cards(count, **fields):
    return [card(f"GPU-{number}", **fields) for number in range(count)]


def steps_of(facts, *specs, **fields):
    return planned(plan_switch(facts, target(*specs, **fields))).steps


def on(number, name=None, **fields):
    """A spec that is bound to a card."""
    return spec(name or f"on{number}", exact=(str(number),), **fields)


def test_one_out_one_in():
    facts = wanting(box(cards(1), [running(A, ["GPU-0"], 20)]), (B, footprint(20)))
    steps = steps_of(facts, B)
    assert words(steps) == [
        "close a", "drain a", "stop a", "release b", "start b", "ready b", "open b", "commit",
    ]  # fmt: skip
    assert all(one.after == (one.index - 1,) for one in steps[1:])
    release = step(steps, "release", "b")
    assert (release.gone, release.need) == (("a",), (gib(20),))


def test_the_first_start_also_proves_that_memory_is_free():
    steps = steps_of(wanting(box(cards(1)), (A, footprint(20))), A)
    assert words(steps)[0] == "release a"
    assert step(steps, "release", "a").gone == ()


def test_cards_that_share_nothing_proceed_in_parallel():
    first, second = on(0, "a"), on(1, "b")
    old = [running("x", ["GPU-0"], 20), running("y", ["GPU-1"], 20, port=18001)]
    steps = steps_of(
        wanting(box(cards(2), old), (first, footprint(20)), (second, footprint(20))), first, second
    )
    assert follows(steps, ("start", "a"), ("stop", "x"))
    assert follows(steps, ("start", "b"), ("stop", "y"))
    assert not follows(steps, ("start", "a"), ("stop", "y"))
    assert not follows(steps, ("start", "b"), ("stop", "x"))
    assert not follows(steps, ("start", "b"), ("start", "a"))


def test_a_start_on_two_cards_waits_for_all_that_leave_them():
    both = spec("a", exact=("0", "1"))
    old = [running("x", ["GPU-0"], 20), running("y", ["GPU-1"], 20, port=18001)]
    steps = steps_of(wanting(box(cards(2), old), (both, footprint(20, 20))), both)
    assert step(steps, "release", "a").gone == ("x", "y")
    assert follows(steps, ("start", "a"), ("stop", "x"))
    assert follows(steps, ("start", "a"), ("stop", "y"))


def test_a_card_that_only_loses_services_is_proven_free_too():
    both = running("x", ["GPU-0", "GPU-1"], 20, 20)
    first = on(0, "a")
    steps = steps_of(wanting(box(cards(2), [both]), (first, footprint(20))), first)
    (rest,) = [one for one in steps if one.kind == "release" and one.service is None]
    assert (rest.cards, rest.gone, rest.need) == (("GPU-1",), ("x",), (0,))
    assert rest.index in steps[-1].after, "the commit waits for it"


def test_starts_on_one_card_follow_each_other_and_load_together():
    """Each is charged before the next one looks; loading is not waited for."""
    steps = steps_of(wanting(box(cards(1)), (A, footprint(8)), (B, footprint(8))), A, B)
    assert follows(steps, ("release", "b"), ("start", "a"))
    assert not follows(steps, ("start", "b"), ("ready", "a"))


@pytest.mark.parametrize("which", ["a", "b"])
def test_an_engine_that_measures_its_card_loads_alone_on_it(which):
    facts = wanting(box(cards(1)), (A, footprint(8)), (B, footprint(8)), **{which: ALONE})
    assert follows(steps_of(facts, A, B), ("release", "b"), ("ready", "a"))


def test_an_engine_that_measures_its_card_does_not_hold_up_other_cards():
    first, second = on(0, "a"), on(1, "b")
    facts = wanting(box(cards(2)), (first, footprint(8)), (second, footprint(8)), a=ALONE)
    assert not follows(steps_of(facts, first, second), ("start", "b"), ("ready", "a"))


def test_nothing_stops_or_starts_beside_a_kept_engine_that_is_still_measuring():
    loading = running(A, ["GPU-0"], 8, state=ServiceState.LOADING)
    old = running("x", ["GPU-0"], 8, port=18001)
    second = on(0, "b")
    facts = wanting(box(cards(1), [loading, old]), (A, footprint(8)), (second, footprint(8)), a=ALONE)
    steps = steps_of(facts, A, second)
    assert follows(steps, ("stop", "x"), ("ready", "a"))
    assert follows(steps, ("start", "b"), ("ready", "a"))


def test_where_the_driver_tells_no_bytes_starts_on_one_card_wait_for_each_other():
    facts = wanting(box(cards(1, pids_visible=False)), (A, footprint(8)), (B, footprint(8)))
    assert follows(steps_of(facts, A, B), ("release", "b"), ("ready", "a"))


def test_a_service_starts_after_what_it_depends_on_is_open_and_stops_before_it():
    needy = spec("a", needs=("b",))
    steps = steps_of(wanting(box(cards(2)), (needy, footprint(20)), (B, footprint(20))), needy, B)
    assert follows(steps, ("start", "a"), ("open", "b"))
    old = [running(needy, ["GPU-0"], 20), running(B, ["GPU-1"], 20, port=18001)]
    steps = steps_of(box(cards(2), old), mode=BLANK)
    assert follows(steps, ("close", "b"), ("stop", "a"))
    assert not follows(steps, ("close", "a"), ("stop", "b"))


def test_a_start_waits_for_a_kept_dependency_that_is_still_loading():
    needy = spec("a", needs=("b",))
    loading = running(B, ["GPU-0"], 8, state=ServiceState.LOADING)
    facts = wanting(box(cards(2), [loading]), (needy, footprint(20)), (B, footprint(8)))
    assert follows(steps_of(facts, needy, B), ("start", "a"), ("open", "b"))


def test_a_dependency_that_restarts_under_a_kept_service_is_said():
    needy = spec("a", needs=("b",))
    old = [running(needy, ["GPU-0"], 8), running(B, ["GPU-1"], 8, port=18001)]
    facts = wanting(box(cards(2), old), (needy, footprint(8)), (B, footprint(8)))
    plan = planned(plan_switch(facts, target(needy, B, restart=("b",))))
    assert plan.keeps == ("a",)
    assert plan.warnings == ("a keeps running while b, which it depends on, is started",)


def test_a_restart_elsewhere_still_waits_for_its_own_stop():
    moved = on(1, "a")
    facts = wanting(box(cards(2), [running(A, ["GPU-0"], 8)]), (moved, footprint(8)))
    assert follows(steps_of(facts, moved), ("start", "a"), ("stop", "a"))


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (ServiceState.READY, ["close a", "drain a", "stop a"]),
        (ServiceState.DRAINING, ["drain a", "stop a"]),
        (ServiceState.STARTING, ["stop a"]),
        (ServiceState.LOADING, ["stop a"]),
        (ServiceState.STOPPING, ["stop a"]),
        (ServiceState.SLEEPING, ["stop a"]),
        (ServiceState.PARKED, ["stop a"]),
    ],
)
def test_how_a_service_leaves(state, steps):
    facts = box(cards(1), [running(A, ["GPU-0"], 8, state=state)])
    assert words(steps_of(facts, mode=BLANK)) == [*steps, "release GPU-0", "commit"]


def test_a_service_that_crashed_is_closed_and_not_drained():
    facts = box(cards(1), [running(A, ["GPU-0"], 8, held=None, alive=False)])
    assert words(steps_of(facts, mode=BLANK)) == ["close a", "stop a", "release GPU-0", "commit"]


def test_a_card_that_cannot_be_read_is_not_waited_for():
    lost = [card("GPU-0", health=CardHealth.LOST)]
    facts = box(lost, [running(A, ["GPU-0"], 8, held=None)])
    assert words(steps_of(facts, mode=BLANK)) == ["close a", "drain a", "stop a", "commit"]


# --- loading ------------------------------------------------------------------------------------


def test_loads_that_do_not_fit_the_host_together_follow_each_other():
    first, second, third = on(0, "a"), on(1, "b"), on(2, "c")
    facts = wanting(
        box(cards(3), host=(64, 20)),
        (first, footprint(8, resident=1, loading=8)),
        (second, footprint(8, resident=1, loading=8)),
        (third, footprint(8, resident=1, loading=8)),
    )
    steps = steps_of(facts, first, second, third)
    assert not follows(steps, ("start", "b"), ("ready", "a")), "two of 8 fit into 20 - 3"
    assert follows(steps, ("start", "c"), ("ready", "a"))
    assert follows(steps, ("start", "c"), ("ready", "b"))


def test_a_start_that_loads_nothing_through_the_host_waits_for_nobody():
    first, second = on(0, "a"), on(1, "b")
    facts = wanting(
        box(cards(2), host=(64, 10)), (first, footprint(8, loading=9)), (second, footprint(8, resident=1))
    )
    assert not follows(steps_of(facts, first, second), ("start", "b"), ("ready", "a"))


def test_a_load_waits_for_a_kept_service_that_is_still_loading():
    loading = running(A, ["GPU-0"], 8, state=ServiceState.LOADING, host=(1, 8), host_held=gib(5))
    second = on(1, "b")
    facts = wanting(
        box(cards(2), [loading], host=(64, 10)), (A, footprint(8)), (second, footprint(8, loading=8))
    )
    assert follows(steps_of(facts, A, second), ("start", "b"), ("ready", "a"))


def test_a_load_that_needs_the_memory_of_those_that_leave_waits_for_their_stops():
    old = running("x", ["GPU-0"], 8, host=(10, 0), host_held=gib(10))
    second = on(1, "b")
    facts = wanting(box(cards(2), [old], host=(20, 10)), (second, footprint(8, resident=1, loading=12)))
    assert follows(steps_of(facts, second), ("start", "b"), ("stop", "x"))
    roomy = wanting(box(cards(2), [old], host=(40, 30)), (second, footprint(8, resident=1, loading=12)))
    assert not follows(steps_of(roomy, second), ("start", "b"), ("stop", "x"))


def test_the_commit_waits_for_everything():
    facts = in_mode(
        wanting(box(cards(2), [running("x", ["GPU-1"], 8)]), (A, footprint(20)), (B, footprint(20)))
    )
    steps = steps_of(facts, A, B)
    reached, todo = set(), [steps[-1]]
    while todo:
        one = todo.pop()
        reached.add(one.index)
        todo += [steps[index] for index in one.after]
    assert reached == {one.index for one in steps}
