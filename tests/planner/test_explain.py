"""Plans and refusals as people read them."""

from gpumod.core.footprint import Source
from gpumod.planner.explain import explain
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import box, card, footprint, in_mode, running, spec, target, wanting

A, B, C = spec("a"), spec("b"), spec("c")


def test_a_plan_reads_as_what_will_happen():
    cards = [card("GPU-0"), card("GPU-1")]
    facts = box(cards, [running(A, ["GPU-0"], 18), running(B, ["GPU-1"], 6, port=18001)])
    facts = wanting(facts, (B, footprint(6)), (C, footprint(20, source=Source.ESTIMATED)))
    assert explain(plan_switch(facts, target(B, C, mode="code"))) == (
        "mode code:",
        "  keep    b",
        "  stop    a",
        "  start   c: 20.0 GiB on GPU-0 (estimated)",
        "cards:",
        "  GPU-0: charged 18.0 GiB -> 20.0 GiB of 24.0 GiB, foreign 0 MiB, left 4096 MiB",
        "  GPU-1: charged 6144 MiB -> 6144 MiB of 24.0 GiB, foreign 0 MiB, left 18.0 GiB",
        "steps:",
        "   1. close admission to a",
        "   2. drain a  (after 1)",
        "   3. stop a  (after 2)",
        "   4. prove that memory is free on GPU-0  (after 3)",
        "   5. start c  (after 4)",
        "   6. wait until c is ready  (after 5)",
        "   7. open admission to c  (after 6)",
        "   8. commit  (after 7)",
        "warning: c: its 20.0 GiB are an estimate",
    )


def test_moves_and_restarts_are_told_apart():
    moved = spec("a", exact=("1",))
    facts = box([card("GPU-0"), card("GPU-1")], [running(A, ["GPU-0"], 6)])
    lines = explain(plan_switch(wanting(facts, (moved, footprint(6))), target(moved)))
    assert "  restart a: 6144 MiB on GPU-1 (declared)" in lines
    facts = box(
        [card("GPU-0"), card("GPU-1")], [running(A, ["GPU-0"], 6), running(B, ["GPU-1"], 8, port=18001)]
    )
    facts = wanting(facts, (A, footprint(6)), (B, footprint(8)), (C, footprint(20)))
    assert "  move    a: 6144 MiB on GPU-1 (declared)" in explain(plan_switch(facts, target(A, B, C)))


def test_an_empty_plan_says_so():
    facts = in_mode(wanting(box([card("GPU-0")], [running(A, ["GPU-0"], 18)]), (A, footprint(18))))
    assert explain(plan_switch(facts, target(A))) == ("mode m: nothing to do, the box already is as asked",)


def test_a_refusal_lists_every_reason():
    facts = wanting(box([card("GPU-0", 12)]), (A, footprint(20)), a={"binary_problem": "no llama-server"})
    assert explain(plan_switch(facts, target(A))) == (
        "mode m: refused, for 2 reasons",
        "  binary_missing: a cannot run: no llama-server",
        (
            "  does_not_fit: a needs 20.0 GiB on card 0 (GPU-0), which has 12.0 GiB to give "
            "(a card of 20.0 GiB would do)"
        ),
    )
