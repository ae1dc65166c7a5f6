"""Switches as sentences: what stays, what goes where, and every reason why not. Sizes are GiB."""

import re
from dataclasses import replace

import pytest

from gpumod.core.cards import CardHealth, DriverState, PortHolder
from gpumod.core.footprint import Source
from gpumod.core.lease import Lease, holder_of_job
from gpumod.core.names import BLANK, HOST_CARD, LeaseId, ServiceId
from gpumod.core.plan import RefusalCode
from gpumod.core.spec import DeclaredMemory
from gpumod.core.states import ServiceState
from gpumod.core.units import parse_size
from gpumod.planner.switch import plan_switch
from tests.planner.boxes import (
    LOST,
    NOW,
    box,
    card,
    codes,
    footprint,
    foreign,
    gib,
    in_mode,
    placed,
    planned,
    refused,
    running,
    spec,
    target,
    wanting,
    words,
)

A, B, C = spec("a"), spec("b"), spec("c")
TWO = (card("GPU-0"), card("GPU-1"))


def lease(*services, until=NOW + 600, holder="agent"):
    return Lease(LeaseId("l1"), holder, services, until, NOW, "a long run")


# --- what stays and what changes ----------------------------------------------------------------


def test_what_both_sides_share_is_kept():
    facts = wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (A, footprint(20)), (B, footprint(20)))
    plan = planned(plan_switch(facts, target(A, B)))
    assert (plan.keeps, plan.stops, plan.starts) == (("a",), (), ("b",))
    assert placed(plan) == {"b": ("GPU-1",)}


def test_switching_to_the_present_mode_does_nothing():
    facts = in_mode(wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (A, footprint(20))))
    assert planned(plan_switch(facts, target(A))).empty


def test_a_mode_of_the_same_services_and_another_name_is_committed_and_touches_nothing():
    facts = in_mode(wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (A, footprint(20))), mode="other")
    assert words(planned(plan_switch(facts, target(A))).steps) == ["commit"]


def test_a_changed_launch_record_restarts_the_service():
    facts = wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (A, footprint(20)), same=False)
    plan = planned(plan_switch(facts, target(A)))
    assert (plan.stops, plan.starts, plan.moves) == (("a",), ("a",), ())
    assert placed(plan) == {"a": ("GPU-0",)}, "where it was before, if it fits there"


def test_a_restart_that_was_asked_for_happens_with_an_equal_record():
    facts = wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (A, footprint(20)))
    plan = planned(plan_switch(facts, target(A, restart=("a",))))
    assert (plan.keeps, plan.stops, plan.starts) == ((), ("a",), ("a",))


@pytest.mark.parametrize("state", [ServiceState.FAILED, ServiceState.READY])
def test_a_service_without_processes_is_started_again(state):
    dead = running(A, ["GPU-0"], 20, state=state, held=None, alive=False)
    facts = in_mode(wanting(box(TWO, [dead]), (A, footprint(20))))
    assert planned(plan_switch(facts, target(A))).starts == ("a",)


def test_a_service_that_failed_and_left_nothing_needs_no_stop():
    dead = running(A, ["GPU-0"], 20, state=ServiceState.FAILED, held=None, alive=False, admitting=False)
    assert planned(plan_switch(box(TWO, [dead]), target(mode=BLANK))).empty


def test_processes_that_a_failed_service_left_are_stopped():
    left = running(A, ["GPU-0"], 20, state=ServiceState.FAILED)
    assert planned(plan_switch(box(TWO, [left]), target(mode=BLANK))).stops == ("a",)


def test_a_kept_service_that_is_still_loading_is_waited_for_and_opened():
    loading = running(A, ["GPU-0"], 20, state=ServiceState.LOADING)
    facts = in_mode(wanting(box(TWO, [loading]), (A, footprint(20))))
    assert words(planned(plan_switch(facts, target(A))).steps) == ["ready a", "open a", "commit"]


@pytest.mark.parametrize("state", [ServiceState.DRAINING, ServiceState.READY])
def test_a_kept_service_that_was_closed_is_opened_again(state):
    closed = running(A, ["GPU-0"], 20, state=state, admitting=False)
    facts = in_mode(wanting(box(TWO, [closed]), (A, footprint(20))))
    assert words(planned(plan_switch(facts, target(A))).steps) == ["open a", "commit"]


def test_a_service_that_is_being_stopped_is_stopped_and_then_started():
    stopping = running(A, ["GPU-0"], 20, state=ServiceState.STOPPING)
    facts = wanting(box(TWO, [stopping]), (A, footprint(20)))
    plan = planned(plan_switch(facts, target(A)))
    assert (plan.stops, plan.starts, plan.backing) == (("a",), ("a",), ())


def test_the_backing_puts_back_what_ran_as_it_ran():
    old = running(A, ["GPU-0"], 20)
    plan = planned(plan_switch(box(TWO, [old]), target(mode=BLANK)))
    (order,) = plan.backing
    assert (order.launch, order.cards, order.port) == (old.record.launch, ("GPU-0",), 18000)


# --- where it goes ------------------------------------------------------------------------------


def test_a_start_takes_the_tightest_card_that_has_room():
    facts = wanting(box([card("GPU-0"), card("GPU-1", 12)]), (A, footprint(10)))
    assert placed(planned(plan_switch(facts, target(A)))) == {"a": ("GPU-1",)}


def test_cards_are_named_by_uuid_or_index_and_keep_their_order():
    for exact in (("GPU-1", "GPU-0"), ("1", "0")):
        one = spec("a", exact=exact)
        facts = wanting(box(TWO), (one, footprint(3, 2)))
        assert placed(planned(plan_switch(facts, target(one)))) == {"a": ("GPU-1", "GPU-0")}


def test_a_kept_service_that_is_asked_to_be_elsewhere_goes_there():
    moved = spec("a", exact=("1",))
    facts = wanting(box(TWO, [running(A, ["GPU-0"], 20)]), (moved, footprint(20)))
    plan = planned(plan_switch(facts, target(moved)))
    assert placed(plan) == {"a": ("GPU-1",)}


def test_tensor_parallelism_takes_cards_of_one_model():
    one = spec("a", cards=2)
    cards = [card("GPU-0", 24), card("GPU-1", 12, model="RTX 3060"), card("GPU-2", 24)]
    facts = wanting(box(cards), (one, footprint(10, 10)), a={"multi_card_same_model": True})
    assert placed(planned(plan_switch(facts, target(one)))) == {"a": ("GPU-0", "GPU-2")}


def test_a_split_model_may_take_cards_of_two_models_where_it_takes_the_same_on_both():
    one = spec("a", cards=2)
    cards = [card("GPU-0", 24), card("GPU-1", 12, model="RTX 3060")]
    assert placed(planned(plan_switch(wanting(box(cards), (one, footprint(10, 10))), target(one))))
    sizes = {"RTX 4090": footprint(10, 10), "RTX 3060": footprint(11, 9)}
    assert codes(plan_switch(wanting(box(cards), (one, sizes)), target(one))) == ["does_not_fit"]


def test_named_cards_of_two_models_are_charged_each_by_its_own_model():
    one = spec("a", exact=("0", "1"))
    cards = [card("GPU-0", 24), card("GPU-1", 12, model="RTX 3060")]
    sizes = {"RTX 4090": footprint(20, 20), "RTX 3060": footprint(11, 9)}
    plan = planned(plan_switch(wanting(box(cards), (one, sizes)), target(one)))
    assert [one.charged for one in plan.after] == [gib(20), gib(9)]


def test_a_larger_first_slot_finds_the_larger_card():
    one = spec("a", cards=2)
    facts = wanting(box([card("GPU-0", 12), card("GPU-1", 24)]), (one, footprint(20, 8)))
    assert placed(planned(plan_switch(facts, target(one)))) == {"a": ("GPU-1", "GPU-0")}


# --- moving -------------------------------------------------------------------------------------


def test_a_kept_service_moves_only_if_nothing_else_fits_and_the_smaller_one_does():
    """6 and 8 sit on a card each; 20 fits nowhere until one of them makes room."""
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 6), running(B, ["GPU-1"], 8, port=18001)]),
        (A, footprint(6)),
        (B, footprint(8)),
        (C, footprint(20)),
    )
    plan = planned(plan_switch(facts, target(A, B, C)))
    assert (plan.moves, plan.keeps) == (("a",), ("b",))
    assert placed(plan) == {"a": ("GPU-1",), "c": ("GPU-0",)}
    assert set(plan.stops) & set(plan.starts) == {"a"}


def test_a_service_that_is_to_stay_is_not_moved_and_the_target_is_refused_instead():
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 6), running(B, ["GPU-1"], 8, port=18001)]),
        (A, footprint(6)),
        (B, footprint(8)),
        (C, footprint(20)),
    )
    assert planned(plan_switch(facts, target(A, B, C, stay=(ServiceId("a"),)))).moves == ("b",)
    both = target(A, B, C, stay=(ServiceId("a"), ServiceId("b")))
    assert codes(plan_switch(facts, both)) == ["does_not_fit"]


def test_a_leased_service_is_not_moved_when_another_can_be():
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 6), running(B, ["GPU-1"], 8, port=18001)]),
        (A, footprint(6)),
        (B, footprint(8)),
        (C, footprint(20)),
    )
    leased = replace(facts, leases=(lease("a"),))
    assert planned(plan_switch(leased, target(A, B, C))).moves == ("b",)


def test_a_plan_that_has_to_move_a_leased_service_is_refused_for_the_lease():
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 6), running(B, ["GPU-1"], 8, port=18001)]),
        (A, footprint(6)),
        (B, footprint(8)),
        (C, footprint(20)),
    )
    both = replace(facts, leases=(lease("a", "b"),))
    (reason,) = refused(plan_switch(both, target(A, B, C)))
    assert (reason.code, reason.service) == (RefusalCode.LEASED, "a")
    assert "would move it" in reason.detail
    assert planned(plan_switch(both, target(A, B, C, force=True))).moves == ("a",)


@pytest.mark.parametrize(
    ("holder", "way"),
    [("agent", "release the lease"), (holder_of_job("J7"), "`gpumodctl job cancel J7`")],
)
def test_a_refusal_for_a_lease_names_what_ends_it(holder, way):
    facts = replace(wanting(box(TWO, [running(A, ["GPU-0"], 6)])), leases=(lease("a", holder=holder),))
    (reason,) = refused(plan_switch(facts, target()))
    assert way in reason.detail
    assert "--force" in reason.detail


# --- no room ------------------------------------------------------------------------------------


def test_a_refusal_for_room_has_the_numbers_of_every_card():
    cards = [card("GPU-0", processes=[foreign(77, 2)]), card("GPU-1", 12)]
    pinned = spec("b", exact=("0",))
    facts = wanting(box(cards, [running(pinned, ["GPU-0"], 6)]), (A, footprint(20)), (pinned, footprint(6)))
    reasons = refused(plan_switch(facts, target(A, pinned)))
    assert [(one.code, one.card, one.need, one.have) for one in reasons] == [
        (RefusalCode.DOES_NOT_FIT, "GPU-0", gib(20), gib(16)),
        (RefusalCode.DOES_NOT_FIT, "GPU-1", gib(20), gib(12)),
    ]
    first, second = reasons
    assert [(one.service, one.pid, one.size) for one in first.holders] == [
        ("b", None, gib(6)),
        (None, 77, gib(2)),
    ]
    for part in ("20.0 GiB", "16.0 GiB", "b 6144 MiB", "process 77 (python, alice)"):
        assert part in first.detail
    assert first.would_fit == "stopping b (6144 MiB) would make room there"
    assert second.would_fit == "a card of 20.0 GiB would do"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source.ESTIMATED, "(estimated; `vram:` declares it)"),
        (Source.LEARNED, "(as earlier"),
        (Source.DECLARED, ""),
    ],
)
def test_a_refusal_for_room_says_where_the_need_is_known_from(source, words):
    facts = wanting(box([card("GPU-0", 12)]), (A, footprint(20, source=source)))
    (reason,) = refused(plan_switch(facts, target(A)))
    assert words in reason.detail
    assert ("(" in reason.detail.split(" on ")[0]) == bool(words)


def test_a_service_bound_to_a_full_card_is_told_which_one_has_room():
    one = spec("a", exact=("0",))
    facts = wanting(box([card("GPU-0", processes=[foreign(7, 10)]), card("GPU-1")]), (one, footprint(20)))
    (reason,) = refused(plan_switch(facts, target(one)))
    assert "card 1 (GPU-1) has room" in reason.would_fit


def test_memory_that_others_hold_is_named_as_what_would_make_room():
    facts = wanting(box([card("GPU-0", processes=[foreign(7, 10)])]), (A, footprint(20)))
    (reason,) = refused(plan_switch(facts, target(A)))
    assert reason.would_fit == "6144 MiB of the 10.0 GiB that others hold would do"


def test_a_service_that_would_fit_on_two_cards_is_told_so():
    facts = wanting(
        box(TWO), (A, footprint(30)), (replace(A, cards=spec("x", cards=2).cards), footprint(16, 16))
    )
    (first, *_) = refused(plan_switch(facts, target(A)))
    assert first.would_fit == "a card of 30.0 GiB would do, or cards: 2 would"


def test_a_service_whose_slots_fit_each_and_no_choice_of_cards_fits_all():
    one = spec("a", cards=2)
    facts = wanting(box([card("GPU-0", 12), card("GPU-1", 12)]), (one, footprint(14, 8)))
    (reason,) = refused(plan_switch(facts, target(one)))
    assert (reason.need, reason.have) == (gib(22), gib(24))
    assert "a needs 14.0 GiB and 8192 MiB on 2 cards; there is on card 0 (GPU-0) 12.0 GiB" in reason.detail


def test_a_service_whose_footprint_is_not_known():
    other = wanting(box([card("GPU-0")]), (A, {"RTX 3090": footprint(1)}))
    (reason,) = refused(plan_switch(other, target(A)))
    assert reason.detail == "a: what it takes on 1 of these cards is not known"


def test_services_that_fit_alone_and_not_together_are_refused_together():
    facts = wanting(box([card("GPU-0")]), (A, footprint(14)), (B, footprint(12)))
    (reason,) = refused(plan_switch(facts, target(A, B)))
    assert (reason.need, reason.have) == (gib(26), gib(24))
    assert reason.would_fit == "without b the others would fit"


def test_a_search_that_gives_up_is_no_verdict_about_room():
    sizes = (14, 13, 11, 10, 9, 9, 8, 8, 7, 7)
    specs = [spec(f"s{number}") for number in range(len(sizes))]
    cards = [card(f"GPU-{number}") for number in range(4)]
    facts = wanting(box(cards), *zip(specs, map(footprint, sizes), strict=True))
    assert codes(plan_switch(facts, target(*specs), node_limit=5)) == ["search_limit"]


# --- every reason, not only the first -----------------------------------------------------------


def test_every_reason_is_reported():
    one = spec("a", needs=("gone",))
    shapeless = spec("s", vram=DeclaredMemory((1, 2)))
    holder = PortHolder(18500, 4242, "nginx", "root")
    facts = wanting(
        box([card("GPU-0", 12)], [running(B, ["GPU-0"], 1)], host=(16, 8), leases=(lease("b"),)),
        (one, footprint(20, resident=2, loading=10)),
        (shapeless, footprint(1, 2)),
        a={
            "missing_files": (("/models/a-00002-of-00002.gguf", "no such file"),),
            "binary_problem": "llama-server is not installed",
            "contradictions": ("--ctx-size in args contradicts context",),
            "not_built": ("leave: sleep is not built yet",),
            "port_holder": holder,
        },
    )
    reasons = refused(plan_switch(facts, target(one, shapeless)))
    assert {reason.code.value for reason in reasons} == {
        "binary_missing",
        "contradiction",
        "declared_shape",
        "dependency",
        "does_not_fit",
        "file_missing",
        "host_memory",
        "leased",
        "not_built",
        "port_taken",
    }
    said = "\n".join(reason.detail for reason in reasons)
    for part in (
        "/models/a-00002-of-00002.gguf",
        "llama-server is not installed",
        "contradicts context",
        "leave: sleep",
        "process 4242 (nginx, user root)",
        "agent holds lease l1 on b for a long run for another 10 min",
        "a depends on gone",
        "vram for 2 cards and runs on 1",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("health", "code"),
    [
        (LOST, "card_lost"),
        (CardHealth.UNKNOWN, "card_unknown"),
        (CardHealth.UNMANAGED, "card_unmanaged"),
    ],
)
def test_a_card_that_was_named_and_cannot_be_used(health, code):
    one = spec("a", exact=("1",))
    facts = wanting(
        box([card("GPU-0"), card("GPU-1", health=health, reason="as it is")]), (one, footprint(1))
    )
    (reason,) = refused(plan_switch(facts, target(one)))
    assert (reason.code, reason.card) == (code, "GPU-1")
    assert "as it is" in reason.detail


def test_a_card_that_is_not_there():
    one = spec("a", exact=("GPU-9",))
    (reason,) = refused(plan_switch(wanting(box(TWO), (one, footprint(1))), target(one)))
    assert reason.code is RefusalCode.NO_SUCH_CARD
    assert "0 = GPU-0, 1 = GPU-1" in reason.detail


def test_a_card_that_is_named_twice():
    one = spec("a", exact=("0", "GPU-0"))
    assert codes(plan_switch(wanting(box(TWO), (one, footprint(1, 1))), target(one))) == ["contradiction"]


def test_named_cards_of_two_models_for_an_engine_that_needs_one_model():
    one = spec("a", exact=("0", "1"))
    cards = [card("GPU-0"), card("GPU-1", model="RTX 3090")]
    facts = wanting(box(cards), (one, footprint(1, 1)), a={"multi_card_same_model": True})
    assert codes(plan_switch(facts, target(one))) == ["contradiction"]


def test_more_cards_than_can_be_used():
    one = spec("a", cards=2)
    facts = wanting(box([card("GPU-0"), card("GPU-1", health=LOST)]), (one, footprint(1, 1)))
    (reason,) = refused(plan_switch(facts, target(one)))
    assert reason.code is RefusalCode.NO_CARDS
    assert "card 1 (GPU-1) is lost" in reason.detail


def test_a_lost_card_is_no_place_to_go_and_its_neighbour_is():
    facts = wanting(box([card("GPU-0", health=LOST), card("GPU-1")]), (A, footprint(20)))
    assert placed(planned(plan_switch(facts, target(A)))) == {"a": ("GPU-1",)}


def test_a_service_stays_on_a_card_that_does_not_answer_for_a_moment():
    cards = [card("GPU-0", health=CardHealth.UNKNOWN, free=4), card("GPU-1")]
    facts = wanting(box(cards, [running(A, ["GPU-0"], 20)]), (A, footprint(20)), (B, footprint(2)))
    plan = planned(plan_switch(facts, target(A, B)))
    assert plan.keeps == ("a",)
    assert placed(plan) == {"b": ("GPU-1",)}


def test_without_a_driver_only_blank_can_be_planned():
    cards = [card("GPU-0", health=CardHealth.UNKNOWN, free=4)]
    facts = box(cards, [running(A, ["GPU-0"], 20)], driver=DriverState.NOT_ANSWERING, reason="timed out")
    (reason,) = refused(plan_switch(wanting(facts, (A, footprint(20))), target(A)))
    assert reason.code is RefusalCode.DRIVER
    assert "timed out" in reason.detail
    plan = planned(plan_switch(facts, target(mode=BLANK)))
    assert words(plan.steps) == ["close a", "drain a", "stop a", "commit"]


# --- ports --------------------------------------------------------------------------------------


def test_two_services_of_the_target_with_one_port():
    facts = wanting(box(TWO), (A, footprint(1)), (B, footprint(1)), a={"port": 18100}, b={"port": 18100})
    (reason,) = refused(plan_switch(facts, target(A, B)))
    assert (reason.code, reason.service) == (RefusalCode.PORT_TAKEN, "b")
    assert "b and a both ask for port 18100" in reason.detail


def test_a_port_of_a_service_that_stays():
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 1)]), (A, footprint(1)), (B, footprint(1)), b={"port": 18000}
    )
    assert codes(plan_switch(facts, target(A, B))) == ["port_taken"]


def test_a_port_of_a_service_that_leaves_is_free_once_it_has_left():
    holder = PortHolder(18000, 55, "llama-server", "me", service=ServiceId("a"))
    facts = wanting(
        box(TWO, [running(A, ["GPU-0"], 1)]), (B, footprint(20)), b={"port": 18000, "port_holder": holder}
    )
    plan = planned(plan_switch(facts, target(B)))
    stop = next(step for step in plan.steps if step.kind == "stop")
    release = next(step for step in plan.steps if step.kind == "release" and step.service == "b")
    assert stop.index in release.after


# --- declared sizes -----------------------------------------------------------------------------


def declared(size, peak, *, force=False):
    one = spec("a", vram=DeclaredMemory((gib(size),), force))
    taken = footprint(size, learned_peak=(gib(peak),))
    return one, wanting(box(TWO), (one, taken))


def test_a_declared_size_below_the_learned_peak_is_refused_unless_forced():
    one, facts = declared(10, 12)
    (reason,) = refused(plan_switch(facts, target(one)))
    assert (reason.code, reason.need, reason.have) == (RefusalCode.DECLARED_TOO_SMALL, gib(12), gib(10))
    one, facts = declared(10, 12, force=True)
    plan = planned(plan_switch(facts, target(one)))
    assert any("by force" in sentence for sentence in plan.warnings)


def test_the_size_that_such_a_refusal_asks_for_is_accepted():
    peak = gib(11.4) + 12345  # "11.4 GiB" in words, which would be too small again
    one = spec("a", vram=DeclaredMemory((gib(6),)))
    facts = wanting(box(TWO), (one, footprint(6, learned_peak=(peak,))))
    (reason,) = refused(plan_switch(facts, target(one)))
    (said,) = re.findall(r"at least (\S+),", reason.detail)
    asked = parse_size(said)
    assert peak <= asked < peak + gib(1)
    enough = replace(footprint(6, learned_peak=(peak,)), cards=(asked,))
    planned(plan_switch(wanting(box(TWO), (one, enough)), target(one)))


def test_a_declared_size_far_above_the_learned_peak_is_obeyed_with_a_warning():
    one, facts = declared(20, 10)
    plan = planned(plan_switch(facts, target(one)))
    assert plan.after[0].charged == gib(20)
    assert any("never seen to take more than 10.0 GiB" in sentence for sentence in plan.warnings)
    one, facts = declared(11, 10)
    assert planned(plan_switch(facts, target(one))).warnings == ()


def test_an_estimate_is_marked_as_one():
    facts = wanting(box(TWO), (A, footprint(20, source=Source.ESTIMATED, note="file size and 1 GiB")))
    (sentence,) = planned(plan_switch(facts, target(A))).warnings
    assert "estimate: file size and 1 GiB" in sentence


# --- the host's memory --------------------------------------------------------------------------


def test_a_model_that_the_host_cannot_load_is_refused_with_its_numbers():
    facts = wanting(box(TWO, host=(32, 10)), (A, footprint(20, resident=2, loading=9)))
    (reason,) = refused(plan_switch(facts, target(A)))
    assert (reason.code, reason.need, reason.have) == (RefusalCode.HOST_MEMORY, gib(11), gib(10))


def test_what_stays_resident_of_others_is_counted():
    facts = wanting(
        box(TWO, host=(32, 10)),
        (A, footprint(1, resident=2, loading=6)),
        (B, footprint(1, resident=3, loading=1)),
    )
    reasons = refused(plan_switch(facts, target(A, B)))
    assert [(one.service, one.have) for one in reasons] == [("a", gib(7))]


def test_on_the_host_card_the_card_and_the_host_budget_are_both_checked():
    host_card = card(HOST_CARD, 16, index=0, free=16)
    facts = wanting(box([host_card], host=(64, 12)), (A, footprint(10, resident=2, loading=1)))
    assert codes(plan_switch(facts, target(A))) == ["host_memory"]
    small = card(HOST_CARD, 11, index=0, free=11)
    facts = wanting(box([small], host=(64, 64)), (A, footprint(10, resident=2)))
    (reason,) = refused(plan_switch(facts, target(A)))
    assert (reason.code, reason.need) == (RefusalCode.DOES_NOT_FIT, gib(12))


# --- leases, dependencies, what cannot be killed ------------------------------------------------


def test_a_plan_that_keeps_a_leases_services_is_admitted():
    facts = box(TWO, [running(A, ["GPU-0"], 20)], leases=(lease("a"),))
    facts = wanting(facts, (A, footprint(20)), (B, footprint(20)))
    assert planned(plan_switch(facts, target(A, B))).starts == ("b",)


@pytest.mark.parametrize("act", ["stop", "restart"])
def test_a_lease_refuses_what_would_disturb_its_service_unless_forced(act):
    facts = wanting(box(TWO, [running(A, ["GPU-0"], 20)], leases=(lease("a"),)), (A, footprint(20)))
    wish = target(mode=BLANK) if act == "stop" else target(A, restart=("a",))
    (reason,) = refused(plan_switch(facts, wish))
    assert (reason.code, reason.service) == (RefusalCode.LEASED, "a")
    assert f"would {act} it" in reason.detail
    assert planned(plan_switch(facts, replace(wish, force=True))).stops == ("a",)


def test_an_expired_lease_binds_nobody():
    facts = box(TWO, [running(A, ["GPU-0"], 20)], leases=(lease("a", until=NOW),))
    assert planned(plan_switch(facts, target(mode=BLANK))).stops == ("a",)


def test_repairing_a_leased_service_that_failed_disturbs_nobody():
    dead = running(A, ["GPU-0"], 20, state=ServiceState.FAILED, held=None, alive=False)
    facts = wanting(box(TWO, [dead], leases=(lease("a"),)), (A, footprint(20)))
    assert planned(plan_switch(facts, target(A))).starts == ("a",)


def test_dependencies_in_a_circle():
    one, two = spec("a", needs=("b",)), spec("b", needs=("a",))
    facts = wanting(box(TWO), (one, footprint(1)), (two, footprint(1)))
    (reason,) = refused(plan_switch(facts, target(one, two)))
    assert reason.code is RefusalCode.DEPENDENCY
    assert "a -> b -> a" in reason.detail


def test_nothing_is_started_beside_a_process_that_cannot_be_killed_and_the_rest_can_be_stopped():
    stuck = running(B, ["GPU-1"], 3, state=ServiceState.FAILED, unkillable=(666,))
    facts = wanting(box(TWO, [stuck]), (A, footprint(1)))
    (reason,) = refused(plan_switch(facts, target(A)))
    assert reason.code is RefusalCode.UNKILLABLE
    assert "process 666 of b" in reason.detail
    assert planned(plan_switch(facts, target(mode=BLANK))).stops == ("b",)


def test_an_overcommitted_card_is_named_with_its_holder():
    facts = box(
        [card("GPU-0", processes=[foreign(7, 6)]), card("GPU-1")], [running(B, ["GPU-0"], 20, held=(17,))]
    )
    facts = wanting(facts, (A, footprint(2)), (B, footprint(20)))
    plan = planned(plan_switch(facts, target(A, B)))
    assert plan.keeps == ("b",), "foreign growth kills nothing"
    assert placed(plan) == {"a": ("GPU-1",)}
    (sentence,) = plan.warnings
    assert "card 0 (GPU-0) is overcommitted by 2048 MiB" in sentence
    assert "process 7 (python, alice)" in sentence
