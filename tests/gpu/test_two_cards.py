"""Two real cards: a model over both, and two models that come at the same time."""

import pytest

from gpumod.core.units import MIB
from tests.gpu.report import mib, ms
from tests.gpu.witness import Witness

pytestmark = pytest.mark.gpu

BACK = 64 * MIB


@pytest.fixture
def pair(cards):
    if len(cards) < 2:
        pytest.skip("needs two cards")
    return cards[:2]


@pytest.fixture
def witnesses(pair):
    with Witness(pair[0].uuid) as first, Witness(pair[1].uuid) as second:
        yield first, second


def test_a_model_over_two_cards_is_on_both_and_leaves_both(make_box, inputs, needs, pair, witnesses, report):
    scene = report.scene("One model over two cards")
    box = make_box()
    share = needs["b"] * 2 // 3
    box.service("wide", inputs.b, [one.uuid for one in pair], share)
    box.start()
    before = [witness.free for witness in witnesses]

    record = box.switch("wide")
    scene.switch("to wide", record, witnesses[0])
    assert record.state == "committed", record.reason
    with box.client() as client:
        held = dict(client.service("wide").observed)
    taken = [was - witness.free for was, witness in zip(before, witnesses, strict=True)]
    for one, seen in zip(pair, taken, strict=True):
        scene.note(
            f"on card {one.index}: held, and taken by the witness", f"{mib(held[one.uuid])}, {mib(seen)}"
        )
    record = box.switch("blank")
    scene.switch("to blank", record, witnesses[0])

    assert record.state == "committed", record.reason
    assert all(needs["b"] // 4 < held[one.uuid] <= share for one in pair)
    assert all(abs(held[one.uuid] - seen) <= BACK for one, seen in zip(pair, taken, strict=True))
    assert all(witness.free >= was - BACK for was, witness in zip(before, witnesses, strict=True))


def test_models_on_disjoint_cards_start_at_the_same_time(make_box, inputs, needs, pair, witnesses, report):
    scene = report.scene("Two models on two cards")
    box = make_box()
    box.service("a", inputs.a, [pair[0].uuid], needs["a"])
    box.service("b", inputs.b, [pair[1].uuid], needs["b"])
    box.mode("both", "a", "b")
    box.start()

    record = box.switch("both")
    scene.switch("to both", record, witnesses[0])

    assert record.state == "committed", record.reason
    loads = {one.service: one for one in record.steps if one.kind == "ready"}
    assert max(one.started for one in loads.values()) < min(one.ended for one in loads.values())
    took = sum(one.seconds for one in loads.values())
    scene.note("loading one after the other would take", ms(took))
    with box.client() as client:
        assert {name: client.service(name).cards for name in "ab"} == {
            "a": (pair[0].uuid,),
            "b": (pair[1].uuid,),
        }
