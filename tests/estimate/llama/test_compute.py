"""Compute buffers: by hand where they are simple, by what must hold where they are not."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from gpumod.core.ports import EngineBuild
from gpumod.core.spec import KvCache, LlamaOptions, Split, Task
from gpumod.estimate.gguf.reader import read_gguf
from gpumod.estimate.llama.compute import (
    compute_buffers,
    has_pipeline,
    output_buffer,
    representative_layers,
    reserved,
)
from gpumod.estimate.llama.graph.layers import decoder
from gpumod.estimate.llama.graph.source import Source, largest_batch, mixes_inputs
from gpumod.estimate.llama.layout import place
from gpumod.estimate.llama.model import llama_model
from gpumod.testing.shapes import write_shape
from tests.estimate.llama.headers import model as by_hand
from tests.estimate.llama.headers import setting
from tests.tries import tries

MIB = 1 << 20
OLD = EngineBuild("llama-server", "version 1", frozenset())
NAMES = (
    "llama31-8b",
    "qwen3-30b-a3b",
    "qwen35-2b",
    "gemma3-1b",
    "gptoss-20b",
    "dsv2-lite",
    "mamba2-2.7b",
    "qwen3next-80b",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return {name: llama_model(read_gguf(write_shape(name, folder / f"{name}.gguf"))) for name in NAMES}


def buffers(of, launch):
    return compute_buffers(of, launch, place(of, launch))


def launch(of, count=1, *, build=None, **keys):
    return replace(setting(of, count, **keys), build=build or EngineBuild("x", "1", frozenset()))


def test_an_8b_with_flash_attention(models):
    found = buffers(models["llama31-8b"], launch(models["llama31-8b"], context=32768))
    tokens = 512
    mask, ids = 2 * tokens * 32768, 4 * tokens + 2 * 8 * tokens + 128
    # The input's copy, mask and indices; residual, norm, and three tensors of the feed-forward part.
    inputs = 4 * tokens * 4096 + mask + ids
    assert found.cards[0] == inputs + 4 * tokens * (2 * 4096 + 3 * 14336)
    assert found.host == pytest.approx(inputs + 4 * tokens * 4096, rel=0.01)


def test_without_flash_attention_the_scores_are_the_largest_tensor(models):
    plain = models["llama31-8b"]
    found = buffers(plain, launch(plain, context=8192, llama=LlamaOptions(flash_attention=False)))
    assert found.cards[0] - 4 * 512 * 8192 * 32 == pytest.approx(52 * MIB, rel=0.01)


def test_a_quantised_cache_has_one_layer_in_half_precision_beside_it_on_cards_only(models):
    plain = models["llama31-8b"]
    keys = {"context": 131072, "kv_cache": KvCache("q8_0", "q8_0")}
    grown = (
        buffers(plain, launch(plain, **keys)).cards[0]
        - buffers(plain, launch(plain, context=131072)).cards[0]
    )
    # Beyond what the feed-forward part needs anyway.
    assert 430 * MIB < grown < 2 * 2 * 1024 * 131072
    plainly = buffers(plain, launch(plain, on_host=True, context=131072)).cards[0]
    assert buffers(plain, launch(plain, on_host=True, **keys)).cards[0] < plainly


def test_embeddings_have_logits_of_every_token(models):
    plain = models["llama31-8b"]
    found = buffers(plain, launch(plain, context=4096, task=Task.EMBEDDING))
    assert found.cards[0] > 4 * 512 * 128256
    outputs = output_buffer(plain, launch(plain, context=4096, task=Task.EMBEDDING))
    assert outputs.host == 4 * 512 * (128256 + 4096)


def test_experts_on_the_host_pass_through_the_card_one_matrix_at_a_time(models):
    routed = models["qwen3-30b-a3b"]
    whole = buffers(routed, launch(routed, context=16384)).cards[0]
    spread = buffers(routed, launch(routed, context=16384, llama=LlamaOptions(cpu_moe_layers=24))).cards[0]
    largest = 128 * 2048 * 768 * 210 // 256
    assert 0.8 * largest < spread - whole < 1.1 * largest


def test_several_cards_keep_four_copies_of_the_inputs(models):
    plain = models["llama31-8b"]
    one, two = launch(plain, context=32768), launch(plain, 2, context=32768)
    assert has_pipeline(plain, two, place(plain, two))
    embeddings = 4 * 512 * 4096
    inputs = 2 * 512 * 32768 + embeddings + 20 * 512
    # Three more copies of each, and the first card's result cannot be given back either.
    grown = buffers(plain, two).cards[0] - buffers(plain, one).cards[0]
    assert grown == pytest.approx(3 * inputs + embeddings, rel=0.01)
    apart = launch(plain, 2, context=32768, split=Split("none"))
    assert not has_pipeline(plain, apart, place(plain, apart))
    assert buffers(plain, apart).cards[1] == 0


def test_later_builds_have_tokens_and_pictures_in_one_batch(models):
    plain = models["llama31-8b"]
    builds = {
        "1 (unknown)": False,
        "b11548-abc": False,
        "11549 (abc)": True,
        "embedded (xllamacpp 2026.10.11549)": True,
    }
    for version, mixes in builds.items():
        assert mixes_inputs(launch(plain, build=EngineBuild("x", version, frozenset()))) is mixes, version
    assert mixes_inputs(setting(plain))
    before = buffers(plain, launch(plain, context=4096)).cards[0]
    assert buffers(plain, launch(plain, context=4096, build=EngineBuild("x", "12000"))).cards[0] > before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("on_host", [False, True])
def test_some_layers_of_each_kind_are_enough(models, name, on_host):
    of = models[name]
    chosen = launch(of, on_host=on_host, context=8192, slots=2)
    where = place(of, chosen)
    source = Source(of, chosen, where, largest_batch(of, chosen))
    decoder(source)
    assert len(representative_layers(of, where)) < len(of.trunk)
    every = reserved(source, pipeline=False)
    some = compute_buffers(of, chosen, where)
    # Small tensors fall into other gaps.
    assert some.cards[0] == pytest.approx(every.cards[0], rel=0.001)
    assert some.host == every.host


def test_layers_of_a_kind_that_is_not_known_are_bounded():
    strange = by_hand("rwkv7", time_mix="x", token_shift_count=2, wkv__head_size=64)
    found = buffers(strange, launch(strange, context=4096))
    assert found.cards[0] > 4 * 512 * 3 * 14336


@tries(10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(NAMES),
    context=st.integers(1, 128),
    slots=st.integers(1, 4),
    ubatch=st.sampled_from([64, 128, 512, 1024]),
)
def test_more_of_anything_never_takes_less(models, name, context, slots, ubatch):
    of = models[name]

    def size(context, ubatch):
        options = LlamaOptions(ubatch=ubatch)
        return buffers(of, launch(of, context=context * 256, slots=slots, llama=options)).cards[0]

    # A gap may fit a little better or worse than before.
    slack = 2 * MIB
    assert size(context, ubatch) <= size(context + 16, ubatch) + slack
    assert size(context, ubatch) <= size(context, ubatch * 2) + slack
