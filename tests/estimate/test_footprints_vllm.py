"""Footprints of vLLM by its formula, by what launches took, and by both."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.footprint import Source
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import DeclaredMemory, EngineKind, ServiceSpec, VllmOptions
from gpumod.core.units import GIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.estimate.learning import with_margin
from tests.estimate.vllm.models import LLAMA_8B, QWEN3_14B, build, write_safetensors

CARD = CardModel("NVIDIA H200", 140 * GIB, (9, 0), 132)
BUILD = build()
NOW = 4_000_000_000.0


def write(folder, config=LLAMA_8B):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    shape = [config["hidden_size"], config["hidden_size"]]
    write_safetensors(folder / "model.safetensors", {"w": ("BF16", shape, 2 * shape[0] ** 2)})
    return str(folder)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "llama")


def pooled(model, pool=8, **fields):
    """A cache of a given size: what it takes is then the sum of its parts."""
    options = {"kv_cache_memory": pool * GIB, "gpu_memory_utilization": 0.01}
    return vllm(model, options, **fields)


def vllm(model, options=None, **fields):
    return ServiceSpec(
        id=ServiceId("s"),
        preset=PresetId("s"),
        engine=EngineKind.VLLM,
        model=model,
        vllm=VllmOptions(**(options or {})),
        context=fields.pop("context", 8192),
        **fields,
    )


def learn(store, spec, *used, stage="warm", at=NOW, card=CARD):
    store.learn(store.measured(spec, card, BUILD, stage=stage, used=used, host=0, at=at))


def expected(spec, count=1) -> tuple[int, ...]:
    """What the formula says, without the margin."""
    found: tuple[int, ...] | None = formula(spec, count).formula
    assert found is not None
    return found


def formula(spec, count=1):
    return ModelFootprints().footprint(spec, count, CARD, BUILD)


def test_the_formula_fills_the_parts_and_what_is_charged(model):
    found = formula(pooled(model))
    assert found.source is Source.ESTIMATED
    assert found.formula == (sum(part.cards[0] for part in found.parts),)
    assert found.formula[0] + 512 * MIB <= found.cards[0] <= found.formula[0] * 1.05
    assert {"weights", "KV cache", "outside vLLM's budget"} <= {part.name for part in found.parts}
    assert found.resident == sum(part.host for part in found.parts) > 0
    assert found.note == "by the formula, and a margin"


def test_a_utilisation_is_charged_whole_for_vllm_starts_with_nothing_less(model):
    found = formula(vllm(model, {"gpu_memory_utilization": 0.5}))
    assert found.cards[0] > 70 * GIB
    with_cache = formula(vllm(model, {"gpu_memory_utilization": 0.5, "kv_cache_memory": GIB}))
    assert with_cache.cards[0] >= 70 * GIB
    assert with_cache.formula[0] < 40 * GIB


def test_what_the_same_launch_took_counts_and_the_formula_is_shown_beside_it(model):
    spec, store = pooled(model), ModelFootprints()
    size = expected(spec)[0]
    learn(store, spec, size + 100 * MIB)
    found = store.footprint(spec, 1, CARD, BUILD)
    assert found.source is Source.LEARNED
    assert found.learned_peak == (size + 100 * MIB,)
    assert found.cards == (with_margin(size + 100 * MIB),)
    assert found.formula == (size,)
    assert found.parts
    assert found.warnings == ()


def test_a_launch_beyond_the_learned_peak_is_learned(model):
    spec, store = pooled(model), ModelFootprints()
    size = expected(spec)[0]
    learn(store, spec, size)
    learn(store, spec, size + GIB, stage="peak", at=NOW + 1)
    learn(store, spec, size - GIB, at=NOW + 2)
    assert store.footprint(spec, 1, CARD, BUILD).learned_peak == (size + GIB,)


def test_for_another_parameter_the_formulas_difference_is_added_to_what_was_seen(model):
    store, small, large = ModelFootprints(), pooled(model, 8), pooled(model, 18)
    more = 300 * MIB
    learn(store, small, expected(small)[0] + more)
    found = store.footprint(large, 1, CARD, BUILD)
    difference = expected(large)[0] - expected(small)[0]
    assert difference == pytest.approx(10 * GIB, rel=0.01)
    least = expected(small)[0] + more + difference
    assert found.source is Source.LEARNED
    assert found.learned_peak is None
    assert least < found.cards[0] <= least * 1.01 + difference * 0.011
    assert "with other parameters" in found.note


def test_of_several_launches_the_nearest_is_carried_over(model):
    store = ModelFootprints()
    learn(store, pooled(model, 2), expected(pooled(model, 2))[0] + 2 * GIB)
    learn(store, pooled(model, 20), expected(pooled(model, 20))[0] + GIB)
    wanted = pooled(model, 19)
    assert store.footprint(wanted, 1, CARD, BUILD).cards[0] < expected(wanted)[0] + 1.5 * GIB


def test_files_that_have_moved_are_the_same_files(model, tmp_path):
    store, before = ModelFootprints(), pooled(model, 8)
    learn(store, before, formula(before).cards[0])
    Path(model).rename(tmp_path / "moved")
    after = pooled(str(tmp_path / "moved"), 9)
    assert store.footprint(after, 1, CARD, BUILD).source is Source.LEARNED


def test_other_files_are_not_related(model, tmp_path):
    store = ModelFootprints()
    learn(store, pooled(model), formula(pooled(model)).cards[0])
    other = pooled(write(tmp_path / "other"))
    assert store.footprint(other, 1, CARD, BUILD).source is Source.ESTIMATED


def test_a_learned_number_far_from_the_formula_is_told(model):
    store, spec = ModelFootprints(), pooled(model)
    learn(store, spec, formula(spec).cards[0] + 3 * GIB)
    found = store.footprint(spec, 1, CARD, BUILD)
    (warning,) = found.warnings
    assert "where the formula says" in warning
    assert found.cards[0] > formula(spec).cards[0] + 3 * GIB


# --- declared -------------------------------------------------------------------------------------


def test_a_declaration_is_obeyed_and_compared_with_the_formula(model):
    spec = pooled(model, vram=DeclaredMemory((4 * GIB,)))
    found = formula(spec)
    assert (found.cards, found.source) == ((4 * GIB,), Source.DECLARED)
    assert found.formula[0] > 8 * GIB
    assert "`vram:` declares 4096 MiB of a card, and it takes " in found.warnings[0]
    assert "by the formula: it may run out of memory" in found.warnings[0]


def test_a_declaration_that_is_right_is_not_commented(model):
    right = formula(pooled(model)).cards[0]
    assert formula(pooled(model, vram=DeclaredMemory((right + 100 * MIB,)))).warnings == ()


def test_a_declaration_is_compared_with_launches_of_other_parameters(model):
    store, other = ModelFootprints(), pooled(model, 12)
    learn(store, other, formula(other).cards[0])
    found = store.footprint(pooled(model, vram=DeclaredMemory((4 * GIB,))), 1, CARD, BUILD)
    assert "by launches with other parameters" in found.warnings[0]


# --- what launches teach about a card --------------------------------------------------------------


@pytest.fixture
def another(tmp_path):
    return write(tmp_path / "qwen", QWEN3_14B)


def context(footprint):
    return next(part.cards[0] for part in footprint.parts if part.name == "outside vLLM's budget")


def launched(store, spec, more, count=1, **fields):
    learn(store, spec, *(size + more for size in expected(spec, count)), **fields)


def test_the_context_of_any_launch_is_taken_for_every_model(model, another):
    store, unseen = ModelFootprints(), pooled(another)
    assumed = context(formula(unseen))
    launched(store, pooled(model), 200 * MIB, stage="ready")
    found = store.footprint(unseen, 1, CARD, BUILD)
    assert found.source is Source.ESTIMATED
    assert assumed + 200 * MIB <= context(found) <= assumed + 202 * MIB
    elsewhere = store.footprint(unseen, 1, replace(CARD, name="NVIDIA A100"), BUILD)
    assert context(elsewhere) < assumed + 200 * MIB


def test_one_disturbed_launch_among_several_changes_nothing(model, another):
    store, unseen = ModelFootprints(), pooled(another)
    for pool, more in ((1, 10), (2, 2000), (3, 12)):
        launched(store, pooled(model, pool), more * MIB, stage="ready")
    more = context(store.footprint(unseen, 1, CARD, BUILD)) - context(formula(unseen))
    assert 12 * MIB <= more <= 14 * MIB


@pytest.mark.parametrize("more", [-3 * GIB, 6 * GIB])
def test_a_context_that_cannot_be_is_not_believed(model, another, more):
    store, unseen = ModelFootprints(), pooled(another)
    launched(store, pooled(model, 12), more, stage="ready")
    assert context(store.footprint(unseen, 1, CARD, BUILD)) == context(formula(unseen))


def test_a_launch_whose_files_have_changed_since_teaches_nothing(model, another):
    store, unseen = ModelFootprints(), pooled(another)
    launched(store, pooled(model), 200 * MIB, stage="ready", at=1.0)
    assert context(store.footprint(unseen, 1, CARD, BUILD)) == context(formula(unseen))


# --- bad files --------------------------------------------------------------------------------------


def test_a_model_that_cannot_be_read_falls_back_to_its_size_and_is_a_fatal_landmine(model):
    with Path(model, "model.safetensors").open("r+b") as file:
        file.write(b"\xff" * 8)
    store, spec = ModelFootprints(), pooled(model)
    found = store.footprint(spec, 1, CARD, BUILD)
    assert found.formula is None
    assert found.source is Source.ESTIMATED
    (trap,) = [one for one in store.landmines(spec, 1, CARD, BUILD) if one.fatal]
    assert trap.id == "model-unreadable"
    assert "model.safetensors" in trap.detail


def test_a_model_on_the_hub_that_is_not_here_yet_is_no_landmine():
    store, spec = ModelFootprints(), pooled("org/model")
    assert store.footprint(spec, 1, CARD, BUILD).formula is None
    assert not [one for one in store.landmines(spec, 1, CARD, BUILD) if one.fatal]


def test_a_model_that_is_fetched_again_is_read_again(model):
    store, spec, config = ModelFootprints(), pooled(model), Path(model, "config.json")
    whole = config.read_text()
    config.write_text(whole[:40])
    assert store.footprint(spec, 1, CARD, BUILD).formula is None
    config.write_text(whole)
    assert store.footprint(spec, 1, CARD, BUILD).formula is not None


def test_on_the_host_vllm_has_no_utilisation(model):
    host = CardModel(HOST_CARD_NAME, 64 * GIB)
    assert ModelFootprints().footprint(pooled(model), 1, host, BUILD).cards[0] < 40 * GIB
