"""Cards and drivers that fail under a real daemon: what still works, and what users are told."""

import json
import select
import shutil

import pytest

from gpumod.core.cards import CardHealth, DriverState
from gpumod.core.events import EventKind
from gpumod.core.plan import StepKind
from gpumod.core.switch import BoxState
from tests.e2e.cards_box import step, used
from tests.nvml import standin
from tests.nvml.standin import GIB

pytestmark = pytest.mark.shared_processes


@pytest.fixture(scope="module")
def module_box(make_cards_box):
    """A service on each card, and one on both."""
    box = make_cards_box()
    box.engine("left", 12, cards=["0"])
    box.engine("right", 12, cards=["1"], restart={"when": "failure", "at_most": 100})
    box.engine("wide", 16, cards=2)
    box.mode("pair", "left", "right")
    for name in ("left", "right", "wide"):
        box.mode(f"only-{name}", name)
    box.start()
    return box


@pytest.fixture
def box(module_box):
    yield module_box
    module_box.calm_down()


def messages(box, kind):
    with box.client() as client:
        return [event.message for event in client.events() if event.kind is kind]


# --- a card ----------------------------------------------------------------------------------------


def test_a_card_that_is_lost_fails_its_service_and_no_other_until_it_is_back(box):
    box.go("pair")
    left = box.engines()["left"]
    box.gpus.lose(1)
    box.wait_until("it is noticed", lambda: box.status().state is BoxState.DEGRADED)
    status = box.status()
    assert box.state("right") == "failed"
    assert "has fallen off the bus" in next(one.reason for one in status.services if one.id == "right")
    assert status.reading.cards[1].health is CardHealth.LOST
    assert "right" not in box.engines()
    assert box.engines()["left"] == left
    assert any("has fallen off the bus" in one for one in messages(box, EventKind.CARD))

    assert "lost: the card has fallen off the bus" in box.ctl("cards").out
    refused = box.ctl("switch", "only-right")
    assert refused.code == 3
    assert "has fallen off the bus" in refused.err
    assert "card 1" in refused.err
    too_few = box.ctl("switch", "only-wide")
    assert too_few.code == 3
    assert "1 of 2 cards can be used" in too_few.err
    assert box.engines()["left"] == left

    box.gpus.bring_back()
    box.wait_for("right", "ready")
    box.wait_until("the box has recovered", lambda: box.status().state is BoxState.SETTLED)
    assert box.engines()["left"] == left
    assert used(box.cards()[1]) == 12 * GIB


def test_a_driver_call_that_hangs_delays_nobody_who_does_not_need_the_driver(box):
    box.go("only-left")
    box.gpus.hang("nvmlDeviceGetMemoryInfo_v2", 0)
    with box.ask("switches", {"mode": "only-wide", "dry_run": True}) as plan, box.client() as client:
        assert client.status().mode == "only-left"
        assert client.services()[0].id == "left"
        assert select.select([plan], [], [], 0)[0] == [], "these answered while the plan waits for the driver"
        assert b" 409 " in plan.recv(64)
    refused = box.ctl("switch", "only-wide", "--dry-run")
    assert refused.code == 3
    assert "has not answered for" in refused.err

    box.wait_until("it is known", lambda: box.cards()[0].health is CardHealth.UNKNOWN)
    status = box.status()
    card = status.reading.cards[0]
    assert (used(card), status.state) == (12 * GIB, BoxState.UNKNOWN), "the numbers last seen"
    assert card.age > 0
    assert "the numbers are the last ones seen" in card.reason
    shown = box.ctl("status").out
    assert "not answering" in shown
    assert " ago" in shown

    assert box.go("blank").left == "in mode blank", "the way out needs no driver"
    assert box.engines() == {}
    box.gpus.unhang()
    box.wait_until("the card answers", lambda: all(one.usable for one in box.cards()))
    box.go("only-wide")


def test_an_xid_is_told_in_the_events(box):
    assert "Xid 79: the GPU has fallen off the bus" in xid(box)


def test_an_xid_is_kept_in_the_notes_of_the_status(box):
    xid(box)
    assert noted(box, "Xid 79")
    assert "Xid 79" in box.ctl("status").out


def xid(box):
    """The driver reports an error of card 0; what is told of it."""

    def told():
        return [one for one in messages(box, EventKind.CARD) if "xid 79" in one]

    before = len(told())
    box.wait_until("events are awaited", lambda: box.gpus.watched(0))
    box.gpus.xid(0, 79)
    box.wait_until("it is told", lambda: len(told()) > before)
    return told()[-1]


# --- the driver ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def late_box(make_cards_box, nvml_library):
    """Its library is a copy that can be taken away; a driver that fails is tried again soon."""
    box = make_cards_box(oddities=("in_a_hurry",))
    (box.root / "lib").mkdir()
    box.environment["LD_LIBRARY_PATH"] = str(box.root / "lib")
    box.library = box.root / "lib" / standin.LIBRARY
    box.engine("chat", 12)
    box.mode("chat", "chat")
    return box


TROUBLES = {
    DriverState.NO_LIBRARY: "libnvidia-ml.so.1 is not installed",
    DriverState.NOT_LOADED: "the NVIDIA kernel module is not loaded: run `modprobe nvidia`",
    DriverState.VERSION_MISMATCH: "have different versions, as after an upgrade: reboot",
    DriverState.NO_PERMISSION: "this user may not open the NVIDIA device files",
}
CODES = {
    DriverState.NOT_LOADED: standin.DRIVER_NOT_LOADED,
    DriverState.VERSION_MISMATCH: standin.VERSION_MISMATCH,
    DriverState.NO_PERMISSION: standin.NO_PERMISSION,
}


def install(box, nvml_library):
    partial = box.library.with_suffix(".new")
    shutil.copy(nvml_library / standin.LIBRARY, partial)
    partial.replace(box.library)


def break_driver(box, nvml_library, state):
    if state is DriverState.NO_LIBRARY:
        box.library.unlink(missing_ok=True)
        box.library.touch()  # what cannot be loaded is not there; a real one elsewhere is not found instead
    else:
        install(box, nvml_library)
        box.gpus.no_driver(CODES[state])


def mend_driver(box, nvml_library):
    install(box, nvml_library)
    box.gpus.answer_all()
    box.wait_until("the driver is noticed", lambda: box.status().reading.driver is DriverState.OK)


@pytest.mark.parametrize("state", TROUBLES)
def test_a_daemon_without_a_driver_says_why_and_notices_one_that_arrives_later(late_box, nvml_library, state):
    box, words = late_box, TROUBLES[state]
    break_driver(box, nvml_library, state)
    box.start()
    status = box.status()
    assert (status.reading.driver, status.reading.cards) == (state, ())
    assert words in status.reading.reason
    assert words in box.ctl("status").out
    checks = {one["check"]: one for one in json.loads(box.ctl("doctor", "--json").out)["checks"]}
    assert checks["driver"]["verdict"] == "bad"
    assert words in checks["driver"]["detail"]
    refused = box.ctl("switch", "chat")
    assert refused.code == 3
    assert words in refused.err
    assert "only blank can be planned" in refused.err
    assert box.ctl("switch", "blank").code == 0
    assert box.engines() == {}
    try:
        mend_driver(box, nvml_library)
        box.go("chat")
        box.go("blank")
    finally:
        box.kill()


def test_a_daemon_that_starts_without_its_driver_keeps_what_runs(late_box, nvml_library):
    box = late_box
    install(box, nvml_library)
    box.start()
    try:
        box.go("chat")
        engines, generation = box.engines(), box.generation("chat")
        box.kill()
        box.gpus.no_driver()
        box.start()
        box.wait_until("recovery is done", lambda: noted(box, "mode chat cannot be reached", "not loaded"))
        assert noted(box, "chat", "still runs and is adopted")
        assert box.engines() == engines
        assert box.status().state is BoxState.UNKNOWN
        mend_driver(box, nvml_library)
        box.wait_until("the box is settled", lambda: box.status().state is BoxState.SETTLED)
        assert (box.engines(), box.generation("chat")) == (engines, generation)
        box.go("blank")
    finally:
        box.kill()


def noted(box, *words):
    """Whether one of the status's notes has all these words."""
    return any(all(word in note for word in words) for note in box.status().notes)


# --- pids ------------------------------------------------------------------------------------------


def test_in_a_container_that_shows_no_pids_memory_is_proven_free_by_the_tree(make_cards_box):
    box = make_cards_box(oddities=("in_a_container",))
    hidden = {"card_keys": {"listed": False}, "cards": ["0"]}
    box.engine("chat", 18, **hidden)
    box.engine("code", 20, **hidden)
    box.mode("chat", "chat")
    box.mode("code", "code")
    box.start()
    box.go("chat")
    box.look()
    card, budget = box.cards()[0], box.status().budgets[0]
    assert (card.pids_visible, card.processes) == (False, ())
    assert (budget.charged, budget.foreign) == (18 * GIB, 0), "charged by reservation"
    record = box.go("code")
    assert step(record, StepKind.RELEASE, "code").detail.startswith("tree-gone+free after ")
    record = box.go("blank")
    assert step(record, StepKind.RELEASE).detail.startswith("tree-gone+free after ")


# --- many ------------------------------------------------------------------------------------------


def test_eight_cards_are_shared_out_and_taken_together(make_cards_box):
    box = make_cards_box(cards=8)
    box.vllm("team", 20, cards=4)
    solos = [f"solo-{number}" for number in range(4)]
    for name in solos:
        box.engine(name, 20)
    box.engine("all", 22, cards=8)
    box.mode("many", "team", *solos)
    box.mode("one", "all")
    box.start()
    box.go("many")
    held = [[process.service for process in card.processes] for card in box.cards()]
    assert sorted(service for services in held for service in services) == [*solos, *["team"] * 4]
    assert all(len(services) == 1 for services in held)
    assert [used(card) for card in box.cards()] == [20 * GIB] * 8
    record = box.go("one")
    assert len(step(record, StepKind.RELEASE, "all").cards) == 8
    assert [used(card) for card in box.cards()] == [22 * GIB] * 8
    assert box.ctl("cards").out.count("  all") == 8
    box.go("blank")
    box.look()
    assert [used(card) for card in box.cards()] == [0] * 8
