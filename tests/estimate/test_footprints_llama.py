"""Footprints of llama.cpp by its formula and by what launches took; the files have shapes of real models."""

from dataclasses import replace

import pytest

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.footprint import Source
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import DeclaredMemory, Draft, EngineKind, KvCache, LlamaOptions, ServiceSpec, Split
from gpumod.core.units import GIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.estimate.learning import with_margin
from gpumod.planner.spreading import divide
from gpumod.testing.gguf_format import TensorInfo
from gpumod.testing.shapes import shape, write_shape

CARD = CardModel("NVIDIA GeForce RTX 4090", 24067 * MIB, (8, 9), 128)
BUILD = EngineBuild("/llama-server", "b9000")
NOW = 4_000_000_000.0


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return str(write_shape("llama31-8b", tmp_path_factory.mktemp("dense") / "m.gguf"))


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    return str(write_shape("qwen3-30b-a3b", tmp_path_factory.mktemp("experts") / "m.gguf"))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return str(write_shape("qwen3-4b", tmp_path_factory.mktemp("split") / "m-00001-of-00003.gguf", parts=3))


def llama(model, **fields):
    return ServiceSpec(
        id=ServiceId("s"),
        preset=PresetId("s"),
        engine=EngineKind.LLAMA_CPP,
        model=model,
        context=fields.pop("context", 16384),
        **fields,
    )


def expected(spec, count=1) -> tuple[int, ...]:
    """What the formula says, without the margin."""
    found: tuple[int, ...] | None = formula(spec, count).formula
    assert found is not None
    return found


def formula(spec, count=1, card=CARD):
    return ModelFootprints().footprint(spec, count, card, BUILD)


def learn(store, spec, *used, stage="warm", at=NOW, split=(), card=CARD):
    store.learn(store.measured(spec, card, BUILD, stage=stage, used=used, host=0, at=at, split=split))


def part(footprint, name):
    return next(one for one in footprint.parts if one.name == name)


def test_every_part_is_there_and_they_add_up(dense):
    found = formula(llama(dense))
    assert found.source is Source.ESTIMATED
    assert found.formula == (sum(one.cards[0] for one in found.parts),)
    assert found.cards == (with_margin(found.formula[0]),)
    assert {"weights", "KV cache", "compute buffer"} <= {one.name for one in found.parts}
    # 16,384 cells of 32 layers with 8 heads of 128 values, keys and values, in half precision.
    assert part(found, "KV cache").cards == (16384 * 32 * 8 * 128 * 2 * 2,)
    assert found.resident == sum(one.host for one in found.parts)


def test_all_parts_of_a_split_file_count(split):
    found = formula(llama(split))
    assert found.formula is not None
    assert part(found, "weights").cards[0] > 2 * GIB


def test_for_a_larger_context_the_formulas_difference_is_added_to_what_was_seen(dense):
    store, before, after = ModelFootprints(), llama(dense), llama(dense, context=32768)
    learn(store, before, expected(before)[0] + 300 * MIB)
    found = store.footprint(after, 1, CARD, BUILD)
    least = expected(after)[0] + 300 * MIB
    assert (found.source, found.learned_peak) == (Source.LEARNED, None)
    assert least + 32 * MIB <= found.cards[0] <= least * 1.02


@pytest.mark.parametrize(
    "changed",
    [
        {"context": 4096},
        {"slots": 4},
        {"kv_cache": KvCache("q8_0", "q8_0")},
        {"llama": LlamaOptions(ubatch=128)},
        {"llama": LlamaOptions(flash_attention=False)},
        {"llama": LlamaOptions(gpu_layers=10)},
    ],
)
def test_every_parameter_is_carried_over_with_its_own_difference(dense, changed):
    store, before = ModelFootprints(), llama(dense)
    learn(store, before, expected(before)[0] + 100 * MIB)
    after = llama(dense, **changed)
    found = store.footprint(after, 1, CARD, BUILD)
    assert found.source is Source.LEARNED
    least = expected(after)[0] + 100 * MIB
    assert least <= found.cards[0] <= least * 1.03 + 64 * MIB


def test_what_is_said_too_much_of_large_buffers_is_not_taken_off_small_ones(dense):
    store, small = ModelFootprints(), llama(dense, context=4096)
    large = llama(dense, context=131072, llama=LlamaOptions(flash_attention=False))
    learn(store, large, formula(large).formula[0] - part(formula(large), "compute buffer").cards[0] // 5)
    least = formula(small).formula[0] - part(formula(small), "compute buffer").cards[0] // 5
    assert store.footprint(small, 1, CARD, BUILD).cards[0] >= least


def test_what_was_learned_never_promises_less_than_weights_and_cache(dense):
    """A launch that was seen in part would otherwise be carried over."""
    store, before, after = ModelFootprints(), llama(dense), llama(dense, context=65536)
    learn(store, before, int(part(formula(before), "weights").cards[0] * 0.95))
    certain = part(formula(after), "weights").cards[0] + part(formula(after), "KV cache").cards[0]
    assert store.footprint(after, 1, CARD, BUILD).cards[0] >= certain


def test_the_context_of_one_launch_is_taken_for_other_models_on_such_cards(dense, experts):
    store, unseen = ModelFootprints(), llama(experts)
    first = formula(llama(dense))
    pools = part(first, "CUDA graphs and pools").cards[0]
    learn(store, llama(dense), expected(llama(dense))[0] - pools + 90 * MIB, stage="ready")
    found = store.footprint(unseen, 1, CARD, BUILD)
    context = part(formula(unseen), "CUDA context").cards[0]
    more = part(found, "CUDA context").cards[0] - context
    assert 90 * MIB <= more <= 92 * MIB
    assert found.formula == (expected(unseen)[0] + more,)


def test_on_the_host_card_there_is_no_cuda(dense):
    host = CardModel(HOST_CARD_NAME, 64 * GIB)
    found = formula(llama(dense), card=host)
    assert found.formula is not None
    assert "CUDA context" not in {one.name for one in found.parts if any(one.cards)}


# --- several cards ------------------------------------------------------------------------------


def test_a_model_on_two_cards_can_be_divided_anywhere(dense):
    found = formula(llama(dense), 2)
    assert found.spread is not None
    assert sum(found.split) == len(found.spread.layers) == 33
    assert found.spread.cards(found.split) == found.cards
    uneven = divide(found.spread, (3 * GIB, 24 * GIB))
    assert uneven is not None
    assert uneven[0] < uneven[1]


def test_what_launches_took_moves_with_the_layers(dense):
    store, spec = ModelFootprints(), llama(dense)
    first = formula(spec, 2)
    assert first.spread is not None
    uneven = divide(first.spread, (4 * GIB, 24 * GIB))
    assert uneven is not None
    took = tuple(size + 70 * MIB for size in first.spread.cards(uneven))
    learn(store, spec, *took, split=uneven)
    found = store.footprint(spec, 2, CARD, BUILD)
    assert found.source is Source.LEARNED
    assert found.spread is not None
    again = found.spread.cards(uneven)
    for charged, size in zip(again, took, strict=True):
        assert with_margin(size) - 64 * MIB <= charged <= with_margin(size) + 64 * MIB


def test_a_ratio_that_the_user_wrote_leaves_nothing_to_divide(dense):
    found = formula(llama(dense, split=Split(ratio=(3.0, 1.0))), 2)
    assert found.spread is None
    assert found.cards[0] > 2 * found.cards[1]


def test_declared_sizes_decide_how_the_layers_are_divided(dense):
    sizes = (3 * GIB, 12 * GIB)
    found = formula(llama(dense, vram=DeclaredMemory(sizes)), 2)
    assert (found.cards, found.spread) == (sizes, None)
    assert found.split[0] < found.split[1]
    assert sum(found.split) == 33


# --- bad files ----------------------------------------------------------------------------------


def test_a_torn_file_falls_back_to_its_size_and_is_a_fatal_landmine(tmp_path):
    path = write_shape("tiny-llama", tmp_path / "m.gguf")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    store, spec = ModelFootprints(), llama(str(path))
    assert store.footprint(spec, 1, CARD, BUILD).formula is None
    (trap,) = [one for one in store.landmines(spec, 1, CARD, BUILD) if one.fatal]
    assert "m.gguf" in trap.sentence


def test_a_torn_drafter_is_one_too(tmp_path, dense):
    (tmp_path / "d.gguf").write_bytes(b"GGUF but not for long")
    spec = llama(dense, draft=Draft("model", str(tmp_path / "d.gguf")))
    assert any(one.fatal and "d.gguf" in one.sentence for one in ModelFootprints().landmines(spec, 1, CARD))


def test_a_service_without_files_is_estimated_without_a_landmine():
    store, spec = ModelFootprints(), replace(llama(None), engine=EngineKind.COMMAND, context=None)
    assert store.footprint(spec, 1, CARD).note.startswith("estimated: no model file is known")
    assert store.landmines(spec, 1, CARD) == ()


# --- hostile numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("tiny-qwen3moe", {"expert_used_count": 2**31 - 1}),
        ("tiny-qwen3", {"block_count": 2**31 - 1}),
        ("tiny-qwen3", {"embedding_length": 0}),
        ("tiny-mamba2", {"ssm.group_count": 0}),
        ("tiny-qwen35", {"ssm.time_step_rank": 0}),
    ],
)
def test_dimensions_that_cannot_be_are_told_and_cost_nothing(tmp_path, name, numbers):
    hostile = shape(name)
    hostile.metadata.update(
        {f"{hostile.metadata['general.architecture']}.{k}": v for k, v in numbers.items()}
    )
    spec = llama(str(hostile.write(tmp_path / "m.gguf")), context=4096)
    store = ModelFootprints()
    assert store.footprint(spec, 1, CARD, BUILD).formula is None
    assert "model-unreadable" in {one.id for one in store.landmines(spec, 1, CARD, BUILD)}


def test_a_tensor_without_dimensions_is_one_value(tmp_path):
    odd = shape("tiny-qwen3")
    at, name = next(
        (at, one.name) for at, one in enumerate(odd.tensors) if one.name.endswith("1.ffn_norm.weight")
    )
    odd.tensors[at] = TensorInfo(name, (), "f32")
    assert formula(llama(str(odd.write(tmp_path / "m.gguf")))).formula is not None


def test_there_is_no_launch_on_two_hosts(dense):
    """The box of a preset for two cards may have none."""
    host = CardModel(HOST_CARD_NAME, 64 * GIB)
    found = ModelFootprints().footprint(llama(dense), 2, host, BUILD)
    assert (len(found.cards), found.formula) == (2, None)


def test_arguments_with_absurd_numbers_are_as_if_not_there(dense):
    args = ("--ctx-checkpoints", "9" * 5000, "-ot", "blk=CUDA" + "9" * 5000)
    assert formula(llama(dense, args=args)).cards == formula(llama(dense)).cards
