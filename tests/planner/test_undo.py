"""Taking plans back, step by step. Sizes are GiB."""

from dataclasses import replace

from gpumod.core.cards import CardHealth, DriverState
from gpumod.core.states import ServiceState
from gpumod.planner.switch import plan_switch
from gpumod.planner.undo import plan_blank, unplan
from tests.planner.boxes import (
    box,
    card,
    follows,
    footprint,
    planned,
    running,
    spec,
    step,
    target,
    wanting,
    words,
)

OLD, NEW = spec("old"), spec("new")
CARD = card("GPU-0")


def plan_from(*services, to=(NEW,), cards=(CARD,), **fields):
    facts = wanting(box(cards, services), *((one, footprint(20)) for one in to), **fields)
    return planned(plan_switch(facts, target(*to)))


def indexes(plan, *steps):
    return {step(plan.steps, kind, service).index for kind, service in steps}


def test_before_anything_was_signalled_admission_is_opened_again():
    old = running(OLD, ["GPU-0"], 20)
    plan = plan_from(old)
    draining = replace(old, record=replace(old.record, state=ServiceState.DRAINING, admitting=False))
    assert words(unplan(plan, indexes(plan, ("close", "old")), box([CARD], [draining]))) == ["open old"]


def test_nothing_done_is_nothing_to_take_back():
    old = running(OLD, ["GPU-0"], 20)
    assert unplan(plan_from(old), set(), box([CARD], [old])) == ()


def test_what_was_stopped_is_started_where_and_as_it_was():
    old = running(OLD, ["GPU-0"], 20)
    plan = plan_from(old)
    steps = unplan(plan, indexes(plan, ("close", "old"), ("drain", "old"), ("stop", "old")), box([CARD]))
    assert words(steps) == ["release old", "start old", "ready old", "open old"]
    order = step(steps, "start", "old").order
    assert (order.launch, order.cards, order.port) == (old.record.launch, ("GPU-0",), 18000)


def test_what_was_started_is_stopped_first_and_its_memory_proven_free():
    plan = plan_from(running(OLD, ["GPU-0"], 20))
    done = {one.index for one in plan.steps if one.kind not in {"ready", "open", "commit"}}
    loading = running(NEW, ["GPU-0"], 20, state=ServiceState.LOADING, held=(7,))
    steps = unplan(plan, done, box([CARD], [loading]))
    assert words(steps) == ["stop new", "release old", "start old", "ready old", "open old"]
    assert step(steps, "release", "old").gone == ("new",)


def test_a_start_that_was_only_claimed_is_stopped_too():
    """The daemon reserved, and the program could not be executed: the START step is not done."""
    plan = plan_from(running(OLD, ["GPU-0"], 20))
    done = {one.index for one in plan.steps if one.kind in {"close", "drain", "stop", "release"}}
    claimed = running(NEW, ["GPU-0"], 20, state=ServiceState.STARTING, held=None, alive=False)
    assert "stop new" in words(unplan(plan, done, box([CARD], [claimed])))


def test_a_stop_that_was_only_begun_is_finished_and_then_taken_back():
    old = running(OLD, ["GPU-0"], 20, state=ServiceState.STOPPING)
    plan = plan_from(running(OLD, ["GPU-0"], 20))
    steps = unplan(plan, indexes(plan, ("close", "old"), ("drain", "old")), box([CARD], [old]))
    assert words(steps) == ["stop old", "release old", "start old", "ready old", "open old"]


def test_a_restarted_service_whose_old_attempt_still_runs_is_left_alone():
    old = running(NEW, ["GPU-0"], 20)
    plan = plan_from(old, same=False)
    assert unplan(plan, set(), box([CARD], [old])) == ()


def test_a_restarted_service_whose_new_attempt_runs_is_put_back_to_the_old_one():
    plan = plan_from(running(NEW, ["GPU-0"], 20), same=False)
    new = running(replace(NEW, context=9), ["GPU-0"], 20, state=ServiceState.LOADING)
    done = {one.index for one in plan.steps if one.kind not in {"ready", "open", "commit"}}
    steps = unplan(plan, done, box([CARD], [new]))
    assert words(steps) == ["stop new", "release new", "start new", "ready new", "open new"]
    assert step(steps, "start", "new").order.spec == NEW


def test_what_was_kept_is_not_touched():
    kept = running(spec("kept"), ["GPU-1"], 20, port=18001)
    plan = plan_from(
        running(OLD, ["GPU-0"], 20), kept, to=(NEW, kept.record.spec), cards=(CARD, card("GPU-1"))
    )
    steps = unplan(plan, indexes(plan, ("stop", "old")), box([CARD, card("GPU-1")], [kept]))
    assert {one.service for one in steps} == {"old"}


def test_former_services_come_back_in_the_order_of_their_dependencies():
    needy = spec("needy", needs=("old",))
    cards = (CARD, card("GPU-1"))
    old = [running(OLD, ["GPU-0"], 20), running(needy, ["GPU-1"], 20, port=18001)]
    plan = plan_from(*old, to=(), cards=cards)
    steps = unplan(plan, {one.index for one in plan.steps}, box(cards))
    assert follows(steps, ("start", "needy"), ("open", "old"))


def test_former_services_that_may_measure_their_card_come_back_one_after_the_other():
    """No finding says how they start, so they are taken to."""
    old = [running(OLD, ["GPU-0"], 8), running(spec("second"), ["GPU-0"], 8, port=18001)]
    plan = plan_from(*old, to=())
    steps = unplan(plan, {one.index for one in plan.steps}, box([CARD]))
    assert follows(steps, ("start", "second"), ("ready", "old"))


def test_a_service_that_had_failed_before_is_not_brought_back():
    failed = running(OLD, ["GPU-0"], 20, state=ServiceState.FAILED)
    plan = plan_from(failed)
    assert unplan(plan, {one.index for one in plan.steps if one.kind == "stop"}, box([CARD])) == ()


# --- blank --------------------------------------------------------------------------------------


def test_blank_stops_everything_that_is_there():
    services = [
        running(OLD, ["GPU-0"], 20),
        running(spec("loading"), ["GPU-1"], 8, state=ServiceState.LOADING),
        running(spec("left"), ["GPU-1"], 2, state=ServiceState.FAILED),
        running(
            spec("gone"), ["GPU-1"], 2, state=ServiceState.FAILED, held=None, alive=False, admitting=False
        ),
    ]
    steps = plan_blank(box([CARD, card("GPU-1")], services))
    assert {one.service for one in steps if one.kind == "stop"} == {"old", "loading", "left"}
    assert [one.cards for one in steps if one.kind == "release"] == [("GPU-0",), ("GPU-1",)]


def test_blank_needs_no_card_and_no_driver():
    lost = card("GPU-0", health=CardHealth.LOST, free=0)
    facts = box([lost], [running(OLD, ["GPU-0"], 20, held=None)], driver=DriverState.FAILED)
    assert words(plan_blank(facts)) == ["close old", "drain old", "stop old"]


def test_blank_cuts_through_dependencies_in_a_circle():
    """Old files can have left what no plan would start."""
    one, two = spec("a", needs=("b",)), spec("b", needs=("a",))
    services = [running(one, ["GPU-0"], 2), running(two, ["GPU-0"], 2, port=18001)]
    stops = [step.service for step in plan_blank(box([CARD], services)) if step.kind == "stop"]
    assert set(stops) == {"a", "b"}
