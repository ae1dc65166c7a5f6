"""Footprints: declared, else learned, else estimated."""

from dataclasses import replace

import pytest

from gpumod.core.cards import HOST_CARD_NAME, CardModel
from gpumod.core.footprint import Source
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild, Footprints
from gpumod.core.service import FileIdentity
from gpumod.core.spec import (
    PROMPT_CACHE,
    CardRequest,
    DeclaredMemory,
    Draft,
    EngineKind,
    KvCache,
    LlamaOptions,
    ServiceSpec,
    VllmOptions,
)
from gpumod.core.units import GIB, MIB
from gpumod.estimate import ModelFootprints
from gpumod.estimate.files import OnDisk
from gpumod.estimate.learning import with_margin
from gpumod.estimate.sizes import ALLOWANCE, VLLM_COMMUNICATION, VLLM_OUTSIDE
from gpumod.hardware import host as hardware_host

CARD = CardModel("NVIDIA GeForce RTX 4090")
HOST = CardModel(HOST_CARD_NAME, 64 * GIB)
SIZES = {"/m.gguf": 10 * GIB, "/p.gguf": GIB, "/d.gguf": 2 * GIB, "/dir": 16 * GIB}


def llama(**fields):
    return ServiceSpec(
        id=ServiceId("s"), preset=PresetId("s"), engine=EngineKind.LLAMA_CPP, model="/m.gguf", **fields
    )


def vllm(model="/dir", **fields):
    return ServiceSpec(
        id=ServiceId("s"),
        preset=PresetId("s"),
        engine=EngineKind.VLLM,
        model=model,
        vllm=VllmOptions(**fields),
    )


def footprints(sizes=SIZES):
    return ModelFootprints(look_at=lambda path: on_disk(sizes, path))


def on_disk(sizes, path):
    return OnDisk(sizes[path], ((sizes[path], 1, hash(path)),)) if path in sizes else None


def measured(store, spec, *used, card=CARD, build=None, stage="warm", at=1.0):
    return store.measured(spec, card, build, stage=stage, used=used, host=0, at=at)


def card_of(total):
    return replace(CARD, total=total)


def test_it_is_the_port():
    port: Footprints = footprints()
    assert port.footprint(llama(), 1, CARD).cards


def test_an_estimate_is_the_files_and_an_allowance_and_says_so():
    spec = llama(mmproj="/p.gguf", draft=Draft("model", "/d.gguf"))
    found = footprints().footprint(spec, 1, CARD)
    assert found.source is Source.ESTIMATED
    assert found.cards == (pytest.approx(13 * GIB * 1.05 + GIB, abs=1),)
    assert found.learned_peak is None
    assert found.note == "estimated: the files' size and 5% more, 1024 MiB per card for cache and buffers"
    assert sum(part.size for part in found.parts) == found.cards[0]
    assert sum(part.host for part in found.parts) == found.resident


def test_several_cards_share_the_weights_and_have_an_allowance_each():
    found = footprints().footprint(llama(), 2, CARD)
    assert found.cards == (pytest.approx(5 * GIB * 1.05 + GIB, abs=1),) * 2
    assert "over 2 cards" in found.note


def test_without_a_file_there_is_the_allowance_and_advice():
    found = footprints({}).footprint(llama(), 1, CARD)
    assert found.cards == (ALLOWANCE,)
    assert "declare `vram:`" in found.note


def test_what_is_declared_is_obeyed():
    found = footprints().footprint(llama(vram=DeclaredMemory((3 * GIB,))), 2, CARD)
    assert (found.cards, found.source) == ((3 * GIB, 3 * GIB), Source.DECLARED)
    found = footprints().footprint(llama(vram=DeclaredMemory((GIB, 2 * GIB))), 2, CARD)
    assert found.cards == (GIB, 2 * GIB)


def test_a_declaration_for_other_cards_counts_with_its_largest():
    found = footprints().footprint(llama(vram=DeclaredMemory((GIB, 2 * GIB))), 3, CARD)
    assert found.cards == (2 * GIB,) * 3


def test_the_largest_launch_is_learned_with_a_margin():
    store = footprints()
    for used in (4 * GIB, 5 * GIB, 3 * GIB):
        store.learn(measured(store, llama(), used))
    found = store.footprint(llama(), 1, CARD)
    assert found.source is Source.LEARNED
    assert found.learned_peak == (5 * GIB,)
    assert found.cards == (with_margin(5 * GIB),)
    assert "earlier launches" in found.note


def test_peaks_are_learned_card_by_card():
    store = footprints()
    store.learn(measured(store, llama(), 4 * GIB, GIB))
    store.learn(measured(store, llama(), 3 * GIB, 2 * GIB))
    assert store.footprint(llama(), 2, CARD).learned_peak == (4 * GIB, 2 * GIB)


def test_earlier_measurements_count_from_the_start():
    store = footprints()
    again = ModelFootprints([measured(store, llama(), 5 * GIB)], look_at=lambda path: on_disk(SIZES, path))
    assert again.footprint(llama(), 1, CARD).source is Source.LEARNED


def test_a_declaration_below_the_learned_peak_can_be_seen():
    store = footprints()
    store.learn(measured(store, llama(), 5 * GIB))
    found = store.footprint(llama(vram=DeclaredMemory((GIB,))), 1, CARD)
    assert (found.cards, found.source, found.learned_peak) == ((GIB,), Source.DECLARED, (5 * GIB,))


@pytest.mark.parametrize(
    "other",
    [
        llama(context=4096),
        llama(slots=2),
        llama(kv_cache=KvCache("q8_0", "q8_0")),
        llama(draft=Draft("mtp", n_max=2)),
        llama(llama=LlamaOptions(ubatch=64)),
        llama(args=("--swa-full",)),
        llama(env=(("GGML_CUDA_FORCE_MMQ", "1"),)),
        llama(mmproj="/p.gguf"),
        replace(llama(), model="/other.gguf"),
        replace(llama(), binary="/opt/llama-server"),
    ],
)
def test_another_configuration_has_learned_nothing(other):
    store = footprints()
    store.learn(measured(store, llama(), 5 * GIB))
    assert store.footprint(other, 1, CARD).source is Source.ESTIMATED


@pytest.mark.parametrize(
    "same",
    [
        llama(port=9000),
        llama(aliases=("x",)),
        llama(sampler=(("temperature", 1.0),)),
        llama(startup_timeout=1.0),
        llama(slots=1),
        llama(kv_cache=KvCache("f16", "f16")),
        llama(llama=LlamaOptions(ubatch=512, batch=2048, threads=4, prompt_cache=0)),
        llama(cards=CardRequest(1, ("0",))),
        replace(llama(), id=ServiceId("other")),
    ],
)
def test_what_changes_no_memory_keeps_what_was_learned(same):
    store = footprints()
    store.learn(measured(store, llama(), 5 * GIB))
    assert store.footprint(same, 1, CARD).source is Source.LEARNED


def test_other_cards_and_other_builds_have_learned_nothing():
    store = footprints()
    store.learn(measured(store, llama(), 5 * GIB))
    assert store.footprint(llama(), 2, CARD).source is Source.ESTIMATED
    assert store.footprint(llama(), 1, CardModel("NVIDIA H200")).source is Source.ESTIMATED
    program = FileIdentity("/llama-server", 1, 1, 1)
    build = EngineBuild("/llama-server", "b1", identity=program)
    assert store.footprint(llama(), 1, CARD, build).source is Source.ESTIMATED
    store.learn(measured(store, llama(), 5 * GIB, build=build))
    assert store.footprint(llama(), 1, CARD, build).source is Source.LEARNED
    for other in (replace(build, version="b2"), replace(build, identity=replace(program, inode=2))):
        assert store.footprint(llama(), 1, CARD, other).source is Source.ESTIMATED


def test_a_replaced_file_has_learned_nothing(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 100)
    store, spec = ModelFootprints(), replace(llama(), model=str(path))
    store.learn(measured(store, spec, 5 * GIB))
    moved = path.rename(tmp_path / "moved.gguf")
    assert store.footprint(replace(spec, model=str(moved)), 1, CARD).source is Source.LEARNED
    path.write_bytes(b"y" * 100)
    assert store.footprint(spec, 1, CARD).source is Source.ESTIMATED


def test_vllm_takes_its_utilisation_of_the_card_and_a_little_besides():
    found = footprints().footprint(vllm(gpu_memory_utilization=0.5), 1, card_of(24 * GIB))
    assert found.cards == (12 * GIB + VLLM_OUTSIDE,)
    assert "gpu_memory_utilization (0.5)" in found.note
    found = footprints().footprint(vllm(gpu_memory_utilization=0.5), 2, card_of(24 * GIB))
    assert found.cards == (12 * GIB + VLLM_OUTSIDE + VLLM_COMMUNICATION,) * 2


def test_vllm_without_a_utilisation_takes_nearly_all():
    found = footprints().footprint(vllm(), 1, card_of(100 * GIB))
    assert found.cards == (pytest.approx(92 * GIB + VLLM_OUTSIDE, abs=1),)
    assert "vLLM's default of 0.92" in found.note


def test_vllm_is_charged_what_it_asks_for_at_its_start_even_if_it_took_less():
    store = footprints()
    spec = vllm(gpu_memory_utilization=0.5)
    store.learn(measured(store, spec, 3 * GIB))
    found = store.footprint(spec, 1, card_of(24 * GIB))
    assert (found.source, found.cards) == (Source.LEARNED, (12 * GIB + VLLM_OUTSIDE,))


def test_an_explicit_cache_is_counted():
    spec = vllm(gpu_memory_utilization=0.1, kv_cache_memory=8 * GIB)
    found = footprints().footprint(spec, 1, card_of(80 * GIB))
    assert found.cards == (pytest.approx(16 * GIB * 1.05 + 8 * GIB + ALLOWANCE, abs=1),)


def test_without_the_cards_size_vllm_is_estimated_from_its_files():
    found = footprints().footprint(vllm(gpu_memory_utilization=0.5), 1, CARD)
    assert found.cards == (pytest.approx(16 * GIB * 1.05 + ALLOWANCE, abs=1),)


def test_on_the_host_card_everything_is_the_cards_charge():
    found = footprints().footprint(llama(), 1, HOST)
    assert (found.resident, found.loading) == (0, 0)
    assert found.cards == (pytest.approx(10 * GIB * 1.05 + GIB, abs=1),)
    # The utilisation is of a GPU: vLLM's CPU build does not know it.
    found = footprints().footprint(vllm(gpu_memory_utilization=0.9), 1, HOST)
    assert found.cards == (pytest.approx(16 * GIB * 1.05 + ALLOWANCE, abs=1),)


def test_the_host_card_has_the_name_that_the_hardware_gives_it():
    assert hardware_host._NAME == HOST_CARD_NAME


def test_what_a_service_needs_of_the_host():
    found = footprints().footprint(llama(), 1, CARD)
    assert (found.resident, found.loading) == (512 * MIB + PROMPT_CACHE, GIB)
    one = footprints().footprint(vllm(), 1, CARD)
    two = footprints().footprint(vllm(), 2, CARD)
    assert two.resident > one.resident
    assert two.loading > one.loading


def test_weights_that_stay_on_the_host_are_counted_there():
    found = footprints().footprint(llama(llama=LlamaOptions(cpu_moe_layers=10)), 1, CARD)
    assert found.resident == 512 * MIB + PROMPT_CACHE + 10 * GIB
    found = footprints().footprint(llama(llama=LlamaOptions(gpu_layers=0)), 1, CARD)
    assert (found.cards, found.resident) == ((ALLOWANCE,), 512 * MIB + PROMPT_CACHE + 10 * GIB)


def test_declared_host_memory_is_obeyed():
    found = footprints().footprint(llama(ram=3 * GIB, llama=LlamaOptions(cpu_moe_layers=10)), 1, CARD)
    assert found.resident == 3 * GIB
    assert found.loading == GIB


def test_the_prompt_cache_is_part_of_what_stays_on_the_host():
    small, large = (
        footprints().footprint(llama(llama=LlamaOptions(prompt_cache=size)), 1, CARD) for size in (0, 5 * GIB)
    )
    assert large.resident - small.resident == 5 * GIB
