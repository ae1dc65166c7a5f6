"""Another `vram:` for what runs. Sizes are GiB."""

from dataclasses import replace

from gpumod.core.spec import DeclaredMemory
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import (
    box,
    card,
    codes,
    footprint,
    gib,
    in_mode,
    placed,
    planned,
    running,
    spec,
    target,
    wanting,
)

A, B = spec("a"), spec("b")


def declaring(size):
    return replace(A, vram=DeclaredMemory((gib(size),)))


def facts_of(cards, size, *others):
    """A runs on the first card with 10 GiB, and its file says `size` by now."""
    facts = box(cards, [running(A, ["GPU-0"], 10)])
    return in_mode(wanting(facts, (declaring(size), footprint(size)), *others))


ONE, TWO = (card("GPU-0"),), (card("GPU-0"), card("GPU-1"))


def test_what_stays_is_charged_what_its_file_declares_now():
    plan = planned(plan_switch(facts_of(ONE, 20), target(declaring(20))))
    assert plan.empty
    assert plan.charges == (("a", footprint(20)),)
    assert plan.after[0].charged == gib(20)


def test_nothing_is_admitted_against_less_than_is_declared():
    wish = (B, footprint(10))
    assert codes(plan_switch(facts_of(ONE, 20, wish), target(declaring(20), B))) == ["does_not_fit"]
    fits = planned(plan_switch(facts_of(TWO, 20, wish), target(declaring(20), B)))
    assert placed(fits) == {"b": ("GPU-1",)}


def test_a_smaller_declaration_counts_for_no_less_than_what_is_held():
    plan = planned(plan_switch(facts_of(ONE, 5, (B, footprint(14))), target(declaring(5), B)))
    assert (plan.keeps, plan.charges) == (("a",), (("a", footprint(5)),))
    assert plan.after[0].charged == gib(24)


def test_what_has_outgrown_its_card_goes_where_it_fits_or_is_refused():
    assert codes(plan_switch(facts_of(ONE, 30), target(declaring(30)))) == ["does_not_fit"]
    larger = (card("GPU-0"), card("GPU-1", 48))
    plan = planned(plan_switch(facts_of(larger, 30), target(declaring(30))))
    assert (plan.stops, placed(plan), plan.charges) == (("a",), {"a": ("GPU-1",)}, ())


def test_a_size_that_nobody_has_changed_is_as_it_was_reserved():
    facts = in_mode(wanting(box(ONE, [running(A, ["GPU-0"], 10)]), (A, footprint(12))))
    plan = planned(plan_switch(facts, target(A)))
    assert (plan.charges, plan.after[0].charged) == ((), gib(10))
