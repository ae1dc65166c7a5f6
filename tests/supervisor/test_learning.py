"""What is measured of a start and where it is kept, and what footprints make of a switch."""

import asyncio
import time
from dataclasses import replace

import pytest

from gpumod.core.footprint import Footprint, Source, Spread
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import Plan, RefusalCode, Refused
from gpumod.core.spec import CardRequest, EngineKind, ServiceSpec
from gpumod.core.switch import SwitchRequest, SwitchState
from gpumod.core.units import GIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.testing.box import mode, service
from gpumod.testing.shapes import write_shape

A = ServiceId("a")
CARD = CardId("GPU-0")


def stages(box):
    return [(one.stage, one.used) for one in box.footprints.learned]


async def learned(box, seen):
    deadline = time.monotonic() + 60
    while seen not in stages(box):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_a_start_is_measured_before_and_after_its_first_request(make_box):
    box = await make_box(mode("m", service("a")), cards=1)
    answer = box.engine.warm_up

    async def warm_up(spec, launch):
        (pid,) = box.processes.pids(spec.id)
        box.hardware.hold(pid, CARD, 10 * GIB + 120 * MIB)
        return await answer(spec, launch)

    box.engine.warm_up = warm_up
    assert (await box.switch("m")).state is SwitchState.COMMITTED
    assert stages(box)[:2] == [("ready", (10 * GIB,)), ("warm", (10 * GIB + 120 * MIB,))]


async def test_growth_while_it_works_is_measured_as_its_peak(make_box):
    box = await make_box(mode("m", service("a")), cards=1)
    await box.switch("m")
    (pid,) = box.processes.pids(A)
    box.hardware.hold(pid, CARD, 11 * GIB)
    await box.supervisor._watch.refresh()
    await learned(box, ("peak", (11 * GIB,)))


async def test_a_disk_that_hangs_while_a_peak_is_learned_holds_no_switch_up(make_box):
    box = await make_box(mode("m", service("a")), cards=1)
    await box.switch("m")
    box.hardware.hold(*box.processes.pids(A), CARD, 11 * GIB)
    release = asyncio.Event()
    run = box.disk.run

    async def hang(call, bound):
        await release.wait()
        return await run(call, bound)

    box.disk.run = hang
    await box.supervisor._watch.refresh()
    blank = SwitchRequest(mode=ModeId("blank"), force=True)
    begun = await box.supervisor.begin(blank)
    assert (await box.supervisor.wait(begun.id)).state is SwitchState.COMMITTED
    assert ("peak", (11 * GIB,)) not in stages(box)
    release.set()
    await learned(box, ("peak", (11 * GIB,)))


async def test_every_measurement_is_kept_with_what_it_is_of(make_box):
    box = await make_box(mode("m", service("a", model="/m.gguf")), cards=1)
    box.probe.pss = dict.fromkeys(range(1, 10_000), 3 * MIB)
    await box.switch("m")
    kept = await box.store.measurements()
    assert [one.stage for one in kept][:2] == ["ready", "warm"]
    assert {one.spec.model for one in kept} == {"/m.gguf"}
    assert {one.host for one in kept} == {3 * MIB}


async def test_what_was_kept_is_known_to_the_next_daemon(make_box):
    box = await make_box(mode("m", service("a")), cards=1)
    await box.switch("m")
    before = len(box.footprints.learned)
    await box.restart()
    assert len(box.footprints.learned) >= 2 * before


async def test_nothing_is_learned_under_the_name_of_a_file_that_was_replaced_meanwhile(make_box):
    box = await make_box(mode("m", service("a", model="/m.gguf")), cards=1)
    await box.switch("m")
    before = stages(box)
    box.probe.add_file("/m.gguf", 999)
    (pid,) = box.processes.pids(A)
    box.hardware.hold(pid, CARD, 12 * GIB)
    await box.supervisor._watch.refresh()
    assert stages(box) == before


async def test_a_mixture_of_cards_teaches_nothing_about_either_model(make_box):
    box = await make_box(mode("m", service("a", cards=2)), cards=2, start=False)
    box.hardware._cards[CARD].card = replace(box.hardware._cards[CARD].card, name="NVIDIA H200")
    await box.start()
    await box.switch("m")
    assert stages(box) == []


# --- footprints in a switch -----------------------------------------------------------------------


async def test_a_fatal_landmine_is_refused_before_anything_is_stopped(make_box):
    box = await make_box(mode("m", service("a")), mode("n", service("b")), cards=1)
    await box.switch("m")
    trap = Landmine("torn", "/b.gguf is cut off", "fetch it again", fatal=True)
    box.footprints.mined = {ServiceId("b"): (trap,)}
    answer = await box.supervisor.begin(SwitchRequest(mode=ModeId("n")))
    assert isinstance(answer, Refused)
    assert [(one.code, one.detail) for one in answer.reasons] == [
        (RefusalCode.LANDMINE, "b: /b.gguf is cut off: fetch it again")
    ]
    assert box.running() == {"a"}


async def test_a_landmine_that_a_launch_has_disproved_is_told_and_refuses_nothing(make_box):
    box = await make_box(mode("n", service("b")), cards=1)
    trap = Landmine("torn", "/b.gguf is cut off", "fetch it again", fatal=True)
    box.footprints.mined = {ServiceId("b"): (trap,)}
    predict = box.footprints.footprint
    box.footprints.footprint = lambda *args: replace(predict(*args), learned_peak=(GIB,))
    plan = await box.supervisor.plan(SwitchRequest(mode=ModeId("n")))
    assert isinstance(plan, Plan)
    assert any("has worked before" in one for one in plan.warnings)
    assert (await box.switch("n")).state is SwitchState.COMMITTED


async def test_blank_asks_nothing_of_the_disk_that_the_models_lie_on(make_box):
    """It may be what does not answer any more."""
    box = await make_box(mode("m", service("a", model="/m.gguf")), cards=1)
    await box.switch("m")
    asked = []
    box.footprints.footprint = lambda spec, *_: asked.append(spec.id)
    record = await box.blank()
    assert record.state is SwitchState.COMMITTED
    assert asked == []


async def test_the_layers_that_the_planner_chose_are_what_the_engine_is_started_with(make_box):
    box = await make_box(mode("m", service("a", cards=2)), cards=2)
    spread = Spread((GIB,) * 30, (GIB, GIB))
    footprint = Footprint(spread.cards((15, 15)), Source.ESTIMATED, spread=spread, split=(15, 15))
    box.footprints.footprint = lambda *_: footprint
    box.hardware.hold(1, CardId("GPU-1"), 14 * GIB)
    await box.switch("m")
    (request,) = box.processes.requests(A)
    cards = dict(request.env)["CUDA_VISIBLE_DEVICES"].split(",")
    layers = dict(zip(cards, request.argv[3:5], strict=True))
    assert layers == {"GPU-0": "21", "GPU-1": "9"}


# --- with the real footprints ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(write_shape("llama31-8b", tmp_path_factory.mktemp("models") / "m.gguf"))


def llama(name, model, **fields):
    return ServiceSpec(
        ServiceId(name), PresetId(name), EngineKind.LLAMA_CPP, model=model, context=8192, **fields
    )


async def charged(box, name):
    plan = await box.supervisor.plan(SwitchRequest(mode=ModeId(name)))
    return next(step.order.footprint for step in plan.steps if step.order is not None)


async def test_what_one_start_took_decides_the_next_plan_also_after_a_restart(make_box, model):
    small, large = llama("a", model), replace(llama("b", model), context=16384)
    box = await make_box(mode("m", small), mode("n", large), cards=1, predicts=ModelFootprints)
    before = await charged(box, "m")
    assert before.source is Source.ESTIMATED
    box.takes[A] = before.cards[0] + 400 * MIB
    await box.switch("m")
    await box.blank()
    learned = await charged(box, "m")
    assert learned.source is Source.LEARNED
    assert learned.learned_peak[0] >= before.cards[0] + 400 * MIB
    assert (await charged(box, "n")).source is Source.LEARNED
    await box.restart()
    assert await charged(box, "m") == learned


async def test_a_model_larger_than_a_card_is_divided_by_its_layers_and_started_so(make_box, tmp_path):
    model = str(write_shape("qwen25-32b", tmp_path / "m.gguf"))
    service = replace(llama("a", model), cards=CardRequest(2))
    box = await make_box(mode("m", service), cards=2, predicts=ModelFootprints)
    box.hardware.hold(1, CARD, 15 * GIB)
    assert (await box.switch("m")).state is SwitchState.COMMITTED
    (request,) = box.processes.requests(A)
    cards = dict(request.env)["CUDA_VISIBLE_DEVICES"].split(",")
    layers = dict(zip(cards, map(int, request.argv[3:5]), strict=True))
    assert sum(layers.values()) == 65
    assert layers["GPU-0"] < layers["GPU-1"]


async def test_a_torn_model_is_refused_and_what_runs_is_left_alone(make_box, model, tmp_path):
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x00" * 100)
    box = await make_box(
        mode("m", llama("a", model)), mode("n", llama("b", str(torn))), cards=1, predicts=ModelFootprints
    )
    await box.switch("m")
    answer = await box.supervisor.begin(SwitchRequest(mode=ModeId("n")))
    assert isinstance(answer, Refused)
    assert {one.code for one in answer.reasons} == {RefusalCode.LANDMINE}
    assert box.running() == {"a"}
