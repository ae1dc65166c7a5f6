"""Properties of every plan, tried on random boxes that carry the plans out in random order."""

from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from gpumod.core.names import BLANK
from gpumod.core.plan import Plan, RefusalCode, Refused, StepKind, Target
from gpumod.core.states import ServiceState
from gpumod.planner.switch import plan_switch
from gpumod.planner.undo import plan_blank, unplan
from tests.planner.strategies import CARD_MODELS, modes, worlds
from tests.planner.world import model
from tests.tries import tries

pytestmark = pytest.mark.filterwarnings("error")
ODD_BOXES = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
TRIES = tries(25, suppress_health_check=ODD_BOXES)


def decide(world, names, mode="m"):
    return plan_switch(world.facts(), world.target(names, mode))


def run(world, steps, data, upto=None):
    """Carry out steps in a random order that their edges allow; answers with those that were done."""
    done: set[int] = set()
    waiting = {step.index: step for step in steps}
    world.doomed = frozenset(step.service for step in steps if step.kind is StepKind.STOP)
    while waiting and (upto is None or len(done) < upto):
        free = [index for index, step in waiting.items() if done.issuperset(step.after)]
        index = data.draw(st.sampled_from(free), label="next step")
        world.act(waiting.pop(index), growth=data.draw(st.sampled_from([0.0, 0.5, 1.0]), label="growth"))
        done.add(index)
    return done


def reach(world, names, data, mode="m"):
    """Bring a box into a mode, if there is a plan."""
    plan = decide(world, names, mode)
    assume(isinstance(plan, Plan))
    run(world, plan.steps, data)
    world.commit(plan.target)
    return plan


@st.composite
def boxes_at_work(draw, least_cards=1):
    """A box in some mode, another mode for it, and perhaps a service whose file has changed."""
    world = draw(worlds(least_cards=least_cards))
    first, second = draw(modes(world)), draw(modes(world))
    return world, first, second


def change_some(world, data):
    for name in data.draw(st.sets(st.sampled_from(sorted(world.models)), max_size=2), label="changed"):
        world.models[name] = world.models[name].changed()


def is_in(world, names):
    up = {name for name, one in world.services.items() if one.record.state is ServiceState.READY}
    return up == set(world.services) == set(names) and all(
        one.record.admitting for one in world.services.values()
    )


@TRIES
@given(boxes_at_work(), st.data())
def test_budgets_hold_at_every_prefix_and_the_target_is_reached(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    change_some(world, data)
    reach(world, second, data, "n")
    assert is_in(world, second)


@TRIES
@given(boxes_at_work(), st.data())
def test_planning_in_the_target_state_is_empty(boxes, data):
    world, first, _ = boxes
    reach(world, first, data)
    assert decide(world, first).empty


@TRIES
@given(boxes_at_work(), st.data())
def test_planning_again_after_any_prefix_reaches_the_same_end(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    change_some(world, data)
    plan = decide(world, second, "n")
    assume(isinstance(plan, Plan) and not plan.empty)
    run(world, plan.steps, data, upto=data.draw(st.integers(0, len(plan.steps) - 1), label="prefix"))
    # Where the driver does not tell what a starting service holds already, that counts twice until it is
    # ready: such a box may have to wait for that before it can be planned anew.
    assume(world.told or not any(one.record.state.is_starting for one in world.services.values()))
    again = decide(world, second, "n")
    assert isinstance(again, Plan), [one.detail for one in again.reasons]
    run(world, again.steps, data)
    assert is_in(world, second)


@TRIES
@given(boxes_at_work(), st.data())
def test_taking_back_any_prefix_restores_the_former_placement(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    former = world.where()
    change_some(world, data)
    plan = decide(world, second, "n")
    assume(isinstance(plan, Plan) and not plan.empty)
    done = run(world, plan.steps, data, upto=data.draw(st.integers(0, len(plan.steps)), label="prefix"))
    run(world, unplan(plan, done, world.facts()), data)
    assert world.where() == former
    assert is_in(world, first)


@TRIES
@given(boxes_at_work(), st.data())
def test_blank_can_be_planned_and_reached_from_any_prefix(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    plan = decide(world, second, "n")
    if isinstance(plan, Plan) and plan.steps:
        run(world, plan.steps, data, upto=data.draw(st.integers(0, len(plan.steps)), label="prefix"))
    last_resort = deepcopy(world)
    run(last_resort, plan_blank(last_resort.facts()), data)
    assert not last_resort.services
    blank = plan_switch(world.facts(), Target(BLANK, ()))
    assert isinstance(blank, Plan)
    run(world, blank.steps, data)
    assert not world.services


@TRIES
@given(boxes_at_work(), st.data())
def test_more_free_memory_never_turns_a_plan_into_a_refusal(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    plan = decide(world, second, "n")
    assume(isinstance(plan, Plan))
    for name in data.draw(st.sets(st.sampled_from(sorted(world.cards))), label="freed"):
        world.foreign[name] = 0
        card_model, capacity = world.cards[name]
        world.cards[name] = (card_model, capacity + data.draw(st.integers(0, 8)))
    world.host += data.draw(st.integers(0, 8))
    more = decide(world, second, "n")
    assert isinstance(more, Plan)
    assert len(more.moves) <= len(plan.moves)


@TRIES
@given(boxes_at_work(), st.data())
def test_equal_inputs_in_another_order_give_an_equal_answer(boxes, data):
    world, first, second = boxes
    reach(world, first, data)
    change_some(world, data)
    answer = decide(world, second, "n")
    world.reversed = True
    other = decide(world, second, "n")
    same_target = replace(other, target=answer.target)
    assert same_target == answer


def add_one(world, data):
    """Everything that runs and a newcomer, which may have to be where something else runs."""
    new = data.draw(st.sampled_from(sorted(set(world.models) - set(world.services))), label="new")
    size = data.draw(st.integers(1, 24), label="size")
    exact = data.draw(st.lists(st.sampled_from(sorted(world.cards)), max_size=1), label="exact")
    world.models[new] = model(int(new[1:]), dict.fromkeys(CARD_MODELS, (size,)), exact=exact)
    return frozenset({*world.services, new})


@tries(12, suppress_health_check=ODD_BOXES)
@given(boxes_at_work(least_cards=2), st.data())
def test_a_service_is_only_moved_when_nothing_else_fits(boxes, data):
    """With everything that runs pinned to where it is, there is no plan."""
    world, first, second = boxes
    assume(first and first != set(world.models))
    reach(world, first, data)
    if data.draw(st.booleans(), label="crowd"):
        second = add_one(world, data)
    plan = decide(world, second, "n")
    assume(isinstance(plan, Plan) and plan.moves)
    for name in world.services:
        asked = world.models[name].spec
        pinned = replace(asked, cards=replace(asked.cards, exact=tuple(world.where()[name])))
        world.models[name] = replace(world.models[name], spec=pinned)
    answer = decide(world, second, "n")
    assert isinstance(answer, Refused)
    assert {one.code for one in answer.reasons} == {RefusalCode.DOES_NOT_FIT}
