"""One reading of the memory barrier: proven free, or who holds it. Sizes are GiB."""

from dataclasses import replace

import pytest

from gpumod.core.cards import CardHealth, CardProcess
from gpumod.core.names import ServiceId
from gpumod.core.plan import Step, StepKind
from gpumod.core.states import ServiceState
from gpumod.planner.release import ProofLevel, consecutive, released
from tests.planner.boxes import box, card, foreign, gib, running


def release(need=20, *, cards=("GPU-0",), gone=("old",), service="new"):
    return Step(0, StepKind.RELEASE, (), service, cards, gone, (gib(need),) * len(cards))


def test_gone_and_free_is_proof():
    verdict = released(box([card("GPU-0")]), release(), gone_pids={41, 42})
    assert verdict.free
    assert verdict.level.value == "pid+free"
    assert verdict.reason == ""


def test_free_is_no_proof_while_a_process_is_still_on_the_card():
    facts = box([card("GPU-0", processes=[foreign(42, 1, "llama-server")])])
    verdict = released(facts, release(), gone_pids={42})
    assert not verdict.free
    assert verdict.reason == "process 42 (llama-server, alice) 1024 MiB still on card 0 (GPU-0)"
    assert [one.pid for one in verdict.holders] == [42]


def test_a_process_that_is_still_in_a_gone_services_tree_is_no_foreigner():
    facts = box([card("GPU-0", free=23, processes=[CardProcess(42, gib(1), service=ServiceId("old"))])])
    assert not released(facts, release()).free


def test_gone_is_no_proof_while_the_memory_is_not_back():
    """The driver lingers: nobody is on the card, and its memory is not free."""
    verdict = released(box([card("GPU-0", free=15)]), release(), gone_pids={42})
    assert not verdict.free
    assert "new needs 20.0 GiB on card 0 (GPU-0), which has 15.0 GiB to give" in verdict.reason
    assert "held by no visible process" in verdict.reason


def test_a_foreign_grab_is_named():
    facts = box([card("GPU-0", processes=[foreign(77, 9, "train.py", "bob")])])
    verdict = released(facts, release())
    assert not verdict.free
    assert "process 77 (train.py, bob) 9216 MiB" in verdict.reason


def test_what_others_have_reserved_and_not_taken_yet_is_not_free():
    loading = running("other", ["GPU-0"], 8, state=ServiceState.LOADING, held=(2,))
    assert not released(box([card("GPU-0")], [loading]), release(17)).free
    assert released(box([card("GPU-0")], [loading]), release(16)).free


def test_the_services_own_reservation_is_not_held_against_it():
    own = running("new", ["GPU-0"], 20, state=ServiceState.STARTING, held=None, alive=False)
    assert released(box([card("GPU-0")], [own]), release()).free


def test_headroom_is_left_alone():
    assert not released(box([card("GPU-0", headroom=5)]), release()).free


def test_a_service_that_is_still_being_stopped_is_not_gone():
    stopping = running("old", ["GPU-0"], 1, state=ServiceState.STOPPING, held=None)
    verdict = released(box([card("GPU-0", free=24)], [stopping]), release())
    assert not verdict.free
    assert "old still has processes" in verdict.reason


def test_a_gone_service_that_was_started_again_is_no_leftover_but_is_charged():
    """It left two cards, went back to one of them, and another start shares that one."""
    again = running("old", ["GPU-0"], 6, state=ServiceState.LOADING, held=(1,))
    listed = card("GPU-0", free=23, processes=[CardProcess(50, gib(1), service=ServiceId("old"))])
    assert released(box([listed], [again]), release(18), gone_pids={42}).free
    assert not released(box([listed], [again]), release(19), gone_pids={42}).free


def test_where_pids_cannot_be_seen_the_proof_says_so():
    verdict = released(box([card("GPU-0", pids_visible=False)]), release())
    assert verdict.free
    assert verdict.level.value == "tree-gone+free"


def test_the_weakest_card_decides():
    cards = [card("GPU-0"), card("GPU-1", pids_visible=False)]
    assert released(box(cards), release(cards=("GPU-0", "GPU-1"))).level is ProofLevel.TREE_AND_FREE
    cards = [card("GPU-0"), card("GPU-1", free=1)]
    assert not released(box(cards), release(cards=("GPU-0", "GPU-1"))).free


@pytest.mark.parametrize("health", [CardHealth.UNKNOWN, CardHealth.LOST])
def test_what_cannot_be_read_is_not_proven(health):
    verdict = released(box([card("GPU-0", health=health, reason="Xid 79")]), release())
    assert not verdict.free
    assert "cannot be read: Xid 79" in verdict.reason
    assert not released(box([]), release()).free


def test_a_lost_card_has_nothing_left_to_give_back():
    lost = box([card("GPU-0", health=CardHealth.LOST)])
    verdict = released(lost, replace(release(0), service=None))
    assert (verdict.free, verdict.level) == (True, ProofLevel.CARD_LOST)


def test_a_card_over_its_budget_still_proves_that_processes_are_gone():
    over = box([card("GPU-0", headroom=2, processes=[foreign(7, 23)])])
    assert released(over, replace(release(0), service=None)).free


def test_good_readings_count_in_a_row_only():
    good = released(box([card("GPU-0")]), release())
    bad = released(box([card("GPU-0", free=1)]), release())
    count = 0
    for verdict in (good, good, bad, good, good, good):
        count = consecutive(count, verdict)
    assert count == 3
