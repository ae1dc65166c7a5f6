"""A service that can be divided between its layers: where it goes, and how many each card takes. GiB."""

from dataclasses import replace

import pytest

from gpumod.core.footprint import Footprint, Source, Spread
from gpumod.core.landmine import Landmine
from gpumod.core.plan import RefusalCode, StepKind
from gpumod.planner.fits import fits_now
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import (
    box,
    card,
    codes,
    footprint,
    foreign,
    gib,
    placed,
    planned,
    refused,
    running,
    spec,
    target,
    wanting,
)

BIG = spec("big", cards=2)
SMALL = spec("small")
SLOW, FAST = "RTX 3090", "RTX 5090"


def divisible(layers=32, each=1, fixed=(1, 1)):
    """A model of so many layers; halves where nothing else is chosen."""
    spread = Spread((gib(each),) * layers, tuple(map(gib, fixed)))
    half = (layers // 2, layers - layers // 2)
    return Footprint(spread.cards(half), Source.ESTIMATED, spread=spread, split=half)


def order(plan, name):
    return next(one.order for one in plan.steps if one.kind is StepKind.START and one.service == name)


def test_equal_cards_take_equal_halves():
    plan = planned(plan_switch(wanting(box([card("GPU-0"), card("GPU-1")]), (BIG, divisible())), target(BIG)))
    found = order(plan, "big")
    assert found.footprint.split == (16, 16)
    assert found.footprint.cards == (gib(17), gib(17))


def test_a_card_that_others_use_takes_fewer_layers():
    cards = [card("GPU-0"), card("GPU-1", processes=[foreign(7, 14)])]
    facts = wanting(box(cards), (BIG, divisible()))
    found = order(planned(plan_switch(facts, target(BIG))), "big")
    assert dict(zip(found.cards, found.footprint.split, strict=True)) == {"GPU-0": 23, "GPU-1": 9}
    assert fits_now(facts, found) == ()


def test_what_starts_beside_it_has_its_room_first():
    cards = [card("GPU-0"), card("GPU-1")]
    facts = wanting(box(cards), (BIG, divisible()), (SMALL, footprint(12)))
    plan = planned(plan_switch(facts, target(BIG, SMALL)))
    taken = dict(zip(order(plan, "big").cards, order(plan, "big").footprint.cards, strict=True))
    assert taken[placed(plan)["small"][0]] <= gib(12)
    assert all(one.available >= 0 for one in plan.after)


def test_cards_of_different_models_share_it_each_with_what_it_takes_there():
    cards = [card("GPU-0", 24, model=SLOW), card("GPU-1", 32, model=FAST)]
    by_model = {SLOW: divisible(44, fixed=(1, 1)), FAST: divisible(44, fixed=(3, 3))}
    plan = planned(plan_switch(wanting(box(cards), (BIG, by_model)), target(BIG)))
    found = order(plan, "big")
    sizes = dict(zip(found.cards, found.footprint.cards, strict=True))
    layers = dict(zip(found.cards, found.footprint.split, strict=True))
    assert sizes == {"GPU-0": gib(layers["GPU-0"] + 1), "GPU-1": gib(layers["GPU-1"] + 3)}
    assert sum(layers.values()) == 44


def test_cards_of_one_model_are_preferred_to_a_mixture():
    cards = [card("GPU-0", 24, model=SLOW), card("GPU-1", 32, model=FAST), card("GPU-2", 24, model=SLOW)]
    by_model = {SLOW: divisible(), FAST: divisible()}
    plan = planned(plan_switch(wanting(box(cards), (BIG, by_model)), target(BIG)))
    assert placed(plan) == {"big": ("GPU-0", "GPU-2")}


def test_cards_that_the_user_names_keep_their_order():
    named = replace(BIG, cards=replace(BIG.cards, exact=("1", "0")))
    cards = [card("GPU-0", processes=[foreign(7, 20)]), card("GPU-1", 48)]
    plan = planned(plan_switch(wanting(box(cards), (named, divisible())), target(named)))
    assert placed(plan) == {"big": ("GPU-1", "GPU-0")}
    assert order(plan, "big").footprint.split == (29, 3)


def test_a_ratio_that_the_user_wrote_is_not_changed():
    """The formula says then what each card takes, and leaves nothing to divide."""
    written = replace(divisible(), spread=None)
    cards = [card("GPU-0"), card("GPU-1", processes=[foreign(7, 14)])]
    assert codes(plan_switch(wanting(box(cards), (BIG, written)), target(BIG))) == ["does_not_fit"]


def test_a_refusal_says_what_is_needed_however_it_is_divided():
    cards = [card("GPU-0"), card("GPU-1", processes=[foreign(7, 14)])]
    (reason,) = refused(plan_switch(wanting(box(cards), (BIG, divisible(40))), target(BIG)))
    assert reason.code is RefusalCode.DOES_NOT_FIT
    assert (reason.need, reason.have) == (gib(42), gib(34))
    assert "42.0 GiB together on 2 cards, however its layers are divided" in reason.detail
    assert reason.holders[0].pid == 7


def test_with_a_third_card_the_refusal_says_so():
    cards = [card(f"GPU-{number}", 12) for number in range(3)]
    (reason,) = refused(plan_switch(wanting(box(cards), (BIG, divisible(30))), target(BIG)))
    assert reason.would_fit == "cards: 3 may"


# --- landmines ----------------------------------------------------------------------------------

TRAP = Landmine("no-fp8", "the card has no FP8", "take an INT4 checkpoint", fatal=True)


def mined(facts, service, *traps, models=None):
    keys = [key for key in facts.footprints if key.service == service.id]
    return replace(facts, landmines={key: traps for key in keys if models is None or key.card_name in models})


def test_a_fatal_landmine_is_refused_before_anything_is_stopped():
    facts = wanting(box([card("GPU-0")], [running(SMALL, ["GPU-0"], 20)]), (SMALL, footprint(20)))
    facts = wanting(facts, (spec("b"), footprint(5)))
    (reason,) = refused(plan_switch(mined(facts, spec("b"), TRAP), target(spec("b"))))
    assert reason.code is RefusalCode.LANDMINE
    assert reason.detail == "b: the card has no FP8: take an INT4 checkpoint"


def test_what_runs_already_is_not_refused_for_it():
    facts = wanting(box([card("GPU-0")], [running(SMALL, ["GPU-0"], 20)]), (SMALL, footprint(20)))
    assert planned(plan_switch(mined(facts, SMALL, TRAP), target(SMALL))).keeps == ("small",)


def test_a_card_on_which_it_cannot_work_is_passed_over():
    cards = [card("GPU-0", 24, model=SLOW), card("GPU-1", 80, model=FAST)]
    facts = mined(wanting(box(cards), (SMALL, footprint(20))), SMALL, TRAP, models={SLOW})
    assert placed(planned(plan_switch(facts, target(SMALL)))) == {"small": ("GPU-1",)}


def test_a_named_card_on_which_it_cannot_work_is_refused():
    named = spec("small", exact=["0"])
    cards = [card("GPU-0", 24, model=SLOW), card("GPU-1", 80, model=FAST)]
    facts = mined(wanting(box(cards), (named, footprint(20))), named, TRAP, models={SLOW})
    assert codes(plan_switch(facts, target(named))) == ["landmine"]


@pytest.mark.parametrize("model", [SLOW, FAST])
def test_a_warning_is_one_of_the_plan_for_the_cards_that_it_is_about(model):
    facts = wanting(box([card("GPU-0", model=SLOW)]), (SMALL, footprint(5)))
    trap = replace(TRAP, fatal=False)
    keys = {key._replace(card_name=model): (trap,) for key in facts.footprints}
    plan = planned(plan_switch(replace(facts, landmines=keys), target(SMALL)))
    assert (f"small: {trap.sentence}" in plan.warnings) == (model == SLOW)


def test_what_a_footprint_warns_of_is_in_the_plan():
    facts = wanting(box([card("GPU-0")]), (SMALL, footprint(5, warnings=("5 GiB are not 7 GiB",))))
    assert "small: 5 GiB are not 7 GiB" in planned(plan_switch(facts, target(SMALL))).warnings
