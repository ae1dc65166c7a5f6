"""A preflight on a simulated box: parts, landmines, advice and second opinions, and nothing is changed."""

import re
from dataclasses import replace

import pytest

from gpumod.core.footprint import Footprint, Part, Source
from gpumod.core.landmine import Landmine
from gpumod.core.names import CardId
from gpumod.core.plan import Plan, RefusalCode, Refused
from gpumod.core.preflight import OracleAnswer, OracleDevice
from gpumod.core.spec import CardRequest, EngineKind, KvCache
from gpumod.core.units import GIB, KIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.testing.box import DeclaredFootprints, mode, service
from gpumod.testing.shapes import write_shape


class Formula(DeclaredFootprints):
    """10 GiB of weights, half of them for experts, and 128 KiB for each token of context."""

    def footprint(self, spec, count, card, build=None):
        del card, build
        cache = (spec.context or 131072) * 128 * KIB
        parts = (
            Part("weights", (10 * GIB // count,) * count, host=MIB),
            Part("KV cache", (cache // count,) * count),
            Part("CUDA context", (512 * MIB,) * count),
        )
        sizes = tuple(map(sum, zip(*(part.cards for part in parts), strict=True)))
        return Footprint(sizes, Source.ESTIMATED, parts=parts, formula=sizes)

    def trained_context(self, spec):
        del spec
        return 131072


class Oracle:
    """Answers with the formula's buffers, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    async def ask(self, spec, build, cards, split):
        self.asked.append((spec.id, cards, split))
        devices = tuple(OracleDevice(f"CUDA{at}", 10 * GIB, GIB, GIB) for at in range(len(cards)))
        return OracleAnswer("fit", (*devices, OracleDevice("Host", 2 * MIB, 0, 0)))


def llama(name, context):
    return replace(service(name, context=context), engine=EngineKind.LLAMA_CPP, vram=None)


LARGE = mode("large", llama("large", 131072))
SMALL = mode("small", llama("small", 8192))


@pytest.fixture
async def make(make_box):
    async def made(*modes, **fields):
        formula = Formula()
        box = await make_box(*modes, footprints=formula, **fields)
        box.footprints = formula
        return box

    return made


async def test_what_fits_has_its_parts_and_no_advice(make):
    box = await make(SMALL)
    found = await box.supervisor.preflight("small")
    assert isinstance(found.outcome, Plan)
    (small,) = found.services
    assert [part.name for part in small.footprint.parts] == ["weights", "KV cache", "CUDA context"]
    assert (small.cards, small.available) == ((CardId("GPU-0"),), (24 * GIB,))
    assert small.advice == ()
    assert small.fitted is None
    assert small.oracle is None
    assert box.running() == set()


async def test_what_does_not_fit_has_its_parts_and_advice_that_would_do(make):
    box = await make(LARGE)
    found = await box.supervisor.preflight("large")
    assert isinstance(found.outcome, Refused)
    (large,) = found.services
    assert large.footprint.cards == (26 * GIB + 512 * MIB,)
    advice = {one.key: one for one in large.advice}
    assert advice["cards"].line == "cards: 2"
    assert advice["context"].line == "context: 110592"
    assert [one.loss for one in large.advice] == sorted(one.loss for one in large.advice)


async def test_the_largest_context_is_what_would_start(make):
    box = await make(LARGE)
    (large,) = (await box.supervisor.preflight("large", fit_context=True)).services
    assert large.fitted.context == 110592
    fits = mode("fits", llama("large", large.fitted.context))
    box = await make(fits)
    assert isinstance((await box.supervisor.preflight("fits")).outcome, Plan)


async def test_the_largest_context_of_a_service_that_runs_counts_its_own_memory(make):
    box = await make(SMALL, cards=1)
    await box.switch("small")
    (small,) = (await box.supervisor.preflight("small", fit_context=True)).services
    assert small.runs
    assert small.fitted.context == 110592


async def test_the_largest_context_leaves_the_others_of_the_mode_their_room(make):
    both = mode("both", llama("a", 8192), llama("b", 1024))
    box = await make(both, cards=1)
    found = await box.supervisor.preflight("both", fit_context=True)
    (first, second) = found.services
    free = 24 * GIB - second.footprint.cards[0]
    assert first.available == (free,)
    assert first.fitted.cards[0] <= free < first.fitted.cards[0] + 256 * 128 * KIB


async def test_landmines_are_shown_and_fatal_ones_refuse(make):
    box = await make(SMALL)
    box.footprints.mined["small"] = (Landmine("x", "it crashes", "do not", fatal=True),)
    found = await box.supervisor.preflight("small")
    assert [one.code for one in found.outcome.reasons] == [RefusalCode.LANDMINE]
    assert [one.id for one in found.services[0].landmines] == ["x"]
    assert found.services[0].footprint is not None


async def test_a_refusal_that_is_not_about_memory_gives_no_advice(make):
    box = await make(SMALL)
    box.llama.of("small").build_problem = "it is not installed"
    found = await box.supervisor.preflight("small")
    assert found.services[0].advice == ()


async def test_the_oracle_is_asked_for_the_cards_of_the_plan_and_stands_beside_the_formula(make):
    box = await make(SMALL)
    box.oracles[EngineKind.LLAMA_CPP] = oracle = Oracle()
    (small,) = (await box.supervisor.preflight("small", oracle=True)).services
    assert oracle.asked == [("small", (CardId("GPU-0"),), ())]
    card, host = small.oracle.devices
    assert card.formula == 11 * GIB  # the CUDA context is not in its table
    assert host.formula == MIB


async def test_an_engine_without_an_oracle_says_so(make):
    box = await make(SMALL)
    (small,) = (await box.supervisor.preflight("small", oracle=True)).services
    assert small.oracle.trouble == "llama.cpp has no estimator of its own"


async def test_the_oracle_is_not_asked_on_a_card_that_is_almost_full(make):
    box = await make(SMALL, cards=1)
    box.oracles[EngineKind.LLAMA_CPP] = oracle = Oracle()
    box.hardware.hold(4711, CardId("GPU-0"), 24 * GIB - 512 * MIB)
    (small,) = (await box.supervisor.preflight("small", oracle=True)).services
    assert oracle.asked == []
    assert "are free" in small.oracle.trouble


# --- with the real formulas -------------------------------------------------------------------


async def test_the_largest_context_of_a_real_model_starts_and_one_step_more_does_not(make_box, tmp_path):
    model = str(write_shape("qwen3-4b", tmp_path / "model.gguf"))

    async def look(context, *, fit_context=False):
        spec = replace(llama("a", context), model=model, slots=4)
        box = await make_box(mode("m", spec), cards=1, card_size=8 * GIB, predicts=ModelFootprints)
        box.probe.add_file(model, 1)
        return await box.supervisor.preflight("m", fit_context=fit_context)

    found = await look(40960, fit_context=True)
    assert isinstance(found.outcome, Refused)
    (service,) = found.services
    assert {"weights", "KV cache", "compute buffer", "CUDA context"} <= {
        part.name for part in service.footprint.parts
    }
    context = service.fitted.context
    assert {one.key: one.value for one in service.advice}["context"] == str(context)
    assert isinstance((await look(context)).outcome, Plan)
    assert isinstance((await look(context + 256)).outcome, Refused)


async def test_advice_for_a_real_model_starts_when_it_is_followed(make_box, tmp_path):
    model = str(write_shape("qwen3-4b", tmp_path / "model.gguf"))

    async def look(spec):
        box = await make_box(mode("m", spec), cards=2, card_size=5 * GIB + 64 * MIB, predicts=ModelFootprints)
        box.probe.add_file(model, 1)
        return await box.supervisor.preflight("m")

    asked = replace(llama("a", 16384), model=model, slots=2)
    (service,) = (await look(asked)).services
    found = {one.key: one.value for one in service.advice}
    assert {"cards", "context", "slots", "kv_cache"} <= found.keys()
    for followed in (
        replace(asked, cards=CardRequest(int(found["cards"]))),
        replace(asked, context=int(found["context"])),
        replace(asked, slots=int(found["slots"])),
        replace(asked, kv_cache=KvCache(*re.findall(r": (\w+)", found["kv_cache"]))),
    ):
        assert isinstance((await look(followed)).outcome, Plan), followed
