"""Every landmine: a launch that steps on it, and one beside it that does not."""

# ruff: noqa: E501 - the table of cases is read by rows

from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from gpumod.core.cards import HOST_MODEL, CardModel
from gpumod.core.footprint import KvPool, Part
from gpumod.core.names import PresetId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.spec import (
    CommandOptions,
    ContainerOptions,
    Draft,
    EngineKind,
    KvCache,
    LlamaOptions,
    ServiceSpec,
    Split,
    Task,
    VllmOptions,
)
from gpumod.core.units import GIB
from gpumod.estimate.errors import ModelFileError
from gpumod.estimate.gguf.header import GgufHeader, Tensor
from gpumod.estimate.landmines import (
    TRAPS,
    HostFacts,
    Launch,
    Trap,
    common,
    find_landmines,
    llama,
    vllm,
    vllm_types,
)
from gpumod.estimate.prediction import Prediction
from gpumod.estimate.vllm.checkpoint import Checkpoint, TensorGroup
from gpumod.estimate.vllm.model import Attention, Experts, Latent, Model, Quantization, State

ADA = CardModel("RTX 4090", 24 * GIB, (8, 9), 128)
AMPERE = CardModel("RTX 3090", 24 * GIB, (8, 6), 82)
PASCAL = CardModel("P40", 24 * GIB, (6, 1), 30)
BLACKWELL = CardModel("B200", 180 * GIB, (10, 0), 148)
HOPPER = CardModel("H200", 140 * GIB, (9, 0), 132)


def spec(engine: EngineKind, **changes: Any) -> ServiceSpec:
    settled: dict[str, Any] = {"context": 8192}
    if engine is EngineKind.VLLM:
        settled["vllm"] = VllmOptions(gpu_memory_utilization=0.9)
    return ServiceSpec(ServiceId("a"), PresetId("a"), engine, **(settled | changes))


def header(*layers: int, nextn: int = 0, **metadata: Any) -> GgufHeader:
    found: dict[str, Any] = {
        "general.architecture": "qwen35",
        "qwen35.block_count": 4,
        "qwen35.context_length": 32768,
    }
    found |= {f"qwen35.{key.replace('__', '.')}": value for key, value in metadata.items()}
    if nextn:
        found["qwen35.nextn_predict_layers"] = nextn
    names = [f"blk.{layer}.attn_norm.weight" for layer in layers or range(4)]
    return GgufHeader("/m.gguf", found, tuple(Tensor(name, 0, (8,)) for name in names))


def with_head(source: GgufHeader) -> GgufHeader:
    return replace(source, tensors=(*source.tensors, Tensor("blk.3.nextn.eh_proj.weight", 0, (8, 8))))


def model(**changes: Any) -> Checkpoint:
    base = Model("Qwen3ForCausalLM", "qwen3", "bfloat16", 4096, 36, 151936, 12288, 32, 8, 128, 40960)
    attention = (Attention(8, 128, 128),) * 36
    return Checkpoint("/m", replace(base, **({"attention": attention} | changes)))


def llama_launch(card: CardModel = ADA, count: int = 1, **changes: Any) -> Launch:
    names = ("build", "gguf", "trouble", "prediction", "host")
    facts: dict[str, Any] = {"gguf": header()}
    facts |= {key: changes.pop(key) for key in names if key in changes}
    return Launch(spec(EngineKind.LLAMA_CPP, **changes), count, card, **facts)


def vllm_launch(card: CardModel = ADA, count: int = 1, **changes: Any) -> Launch:
    names = ("build", "checkpoint", "trouble", "prediction", "host")
    facts: dict[str, Any] = {"checkpoint": model()}
    facts |= {key: changes.pop(key) for key in names if key in changes}
    options = {key: changes.pop(key) for key in VllmOptions.__dataclass_fields__ if key in changes}
    if options:
        changes["vllm"] = VllmOptions(**({"gpu_memory_utilization": 0.9} | options))
    return Launch(spec(EngineKind.VLLM, **changes), count, card, **facts)


def command_launch(*words: str) -> Launch:
    asked = spec(EngineKind.COMMAND, command=CommandOptions(words))
    return Launch(asked, 1, ADA)


def container_launch(*words: str) -> Launch:
    asked = spec(EngineKind.CONTAINER, container=ContainerOptions("image", command=words))
    return Launch(asked, 1, ADA)


def predicted(resident: int = 0, *, card: int = 8 * GIB, pool: KvPool | None = None) -> Prediction:
    return Prediction((Part("weights", (card,), host=resident),), pool=pool)


def cached(size: int, pool: KvPool) -> Prediction:
    return Prediction((Part("weights", (8 * GIB,)), Part("KV cache", (size,))), pool=pool)


def build(version: str = "0.6.0-dev (build 11434, commit x)", *traits: str) -> EngineBuild:
    return EngineBuild("/bin/x", version, frozenset({"--port"}), traits=frozenset(traits))


FP8 = Quantization("fp8", 8)
NVFP4 = Quantization("modelopt_fp4", 4, 16)
AWQ = Quantization("awq", 4, 128)
PACKED_FP8 = Quantization("compressed-tensors", 8)
MTP = Draft("mtp", n_max=2)
STATES = (State(temporal=5 * 1024 * 1024),)
SMALL_STATES = (State(temporal=1024),)
WINDOW = {"attention__sliding_window": 1024}


class Case(NamedTuple):
    """A landmine, a launch that steps on it, words of what is said, and launches that pass by."""

    id: str
    steps: Launch
    says: str
    passes: tuple[Launch, ...]
    fatal: bool | None = None


CASES = [
    Case("model-unreadable", llama_launch(trouble=ModelFileError("/m.gguf is cut off: fetch it again")),
         "cut off", (llama_launch(),), fatal=True),
    Case("model-unreadable", llama_launch(trouble=ModelFileError("/m.gguf has types of next year", broken=False)),
         "next year", (llama_launch(),), fatal=False),
    Case("model-unreadable", vllm_launch(trouble=ModelFileError("/m/a.safetensors: short")), "a.safetensors",
         (vllm_launch(),)),
    Case("wsl-card-overhead", llama_launch(host=HostFacts(wsl=True)), "1.3 GiB",
         (llama_launch(), llama_launch(HOST_MODEL, host=HostFacts(wsl=True)))),
    Case("wsl-card-overhead", vllm_launch(host=HostFacts(wsl=True)), "0.95", (vllm_launch(),)),
    Case("server-fit", command_launch("/usr/bin/llama-server", "-m", "x"), "adjusts",
         (command_launch("llama-server", "--fit", "off"), command_launch("python", "serve.py"))),
    Case("server-fit", container_launch("llama-server", "-c", "4096"), "adjusts",
         (container_launch("llama-server", "-fit", "off"),)),
    Case("server-repetition-penalty", command_launch("llama-server", "--fit", "off", "--repetition-penalty", "1.1"),
         "repetition", (command_launch("vllm", "--repetition-penalty", "1.1"),
                        command_launch("llama-server", "--fit", "off", "--repeat-penalty", "1.1"))),
    Case("llama-not-first-shard", llama_launch(model="/m-00002-of-00003.gguf"), "part 2 of 3",
         (llama_launch(model="/m-00001-of-00003.gguf"), llama_launch(model="/m.gguf"))),
    Case("llama-phantom-layers", llama_launch(gguf=header(0, 1, 3)), "none of layer 2",
         (llama_launch(gguf=header()), llama_launch(gguf=None),
          llama_launch(gguf=header(0, 1, 3), args=("--override-kv", "qwen35.block_count=int:3")))),
    Case("llama-phantom-layers", llama_launch(gguf=header(0, 1, 2, nextn=1)), "multi-token prediction",
         (llama_launch(gguf=with_head(header(nextn=1))),)),
    Case("llama-mtp-absent", llama_launch(draft=MTP), "multi-token prediction",
         (llama_launch(draft=MTP, gguf=with_head(header(nextn=1))), llama_launch(),
          llama_launch(draft=Draft("mtp", model="/d.gguf")), llama_launch(draft=MTP, gguf=None))),
    Case("llama-quantised-v-without-flash-attention",
         llama_launch(kv_cache=KvCache("f16", "q8_0"), llama=LlamaOptions(flash_attention=False)), "q8_0",
         (llama_launch(kv_cache=KvCache("q8_0", "f16"), llama=LlamaOptions(flash_attention=False)),
          llama_launch(kv_cache=KvCache("q8_0", "q8_0"), llama=LlamaOptions(flash_attention=True)),
          llama_launch(kv_cache=KvCache("q8_0", "q8_0"), build=build("x", "flash-value")))),
    Case("llama-quantised-v-without-flash-attention",
         llama_launch(kv_cache=KvCache("q8_0", "q8_0"), build=build("b4000")), "unless told", (llama_launch(),)),
    Case("llama-kv-type-does-not-divide-head",
         llama_launch(kv_cache=KvCache("q8_0", "f16"), gguf=header(attention__key_length=80)), "80",
         (llama_launch(kv_cache=KvCache("f16", "f16"), gguf=header(attention__key_length=80)),
          llama_launch(kv_cache=KvCache("q8_0", "f16"), gguf=header(attention__key_length=128)))),
    Case("llama-kv-type-does-not-divide-head",
         llama_launch(kv_cache=KvCache("f16", "q8_0"),
                      gguf=header(embedding_length=1000, attention__head_count=(25, 25))), "40",
         (llama_launch(kv_cache=KvCache("f16", "q8_0"),
                       gguf=header(embedding_length=1024, attention__head_count=16)),)),
    Case("llama-mla-one-kv-type",
         llama_launch(kv_cache=KvCache("q8_0", "f16"), gguf=header(attention__key_length_mla=192)), "one cache",
         (llama_launch(kv_cache=KvCache("q8_0", "q8_0"), gguf=header(attention__key_length_mla=192)),
          llama_launch(kv_cache=KvCache("q8_0", "f16")))),
    Case("llama-context-beyond-training", llama_launch(context=65536), "32768",
         (llama_launch(context=32768), llama_launch(context=65536, args=("--rope-scaling", "yarn")))),
    Case("llama-no-context", llama_launch(context=None), "(32768 tokens)", (llama_launch(),)),
    Case("llama-no-context", llama_launch(context=None, gguf=None), "not set", (llama_launch(gguf=None),)),
    Case("llama-row-split", llama_launch(count=2, split=Split("row"), build=build()), "11434",
         (llama_launch(count=2, split=Split("layer")), llama_launch(HOST_MODEL, count=2, split=Split("row")),
          llama_launch(count=1, split=Split("row"))), fatal=True),
    Case("llama-row-split", llama_launch(count=2, split=Split("row"), build=build("unknown")), "rows",
         (llama_launch(count=2),), fatal=False),
    Case("llama-embedded-on-gpu", llama_launch(build=build("x", "embedded")), "RTX 4090",
         (llama_launch(HOST_MODEL, build=build("x", "embedded")), llama_launch(build=build()))),
    Case("llama-swa-full", llama_launch(args=("--swa-full",), slots=4, gguf=header(**WINDOW)), "each of 4 slots",
         (llama_launch(args=("--swa-full",)), llama_launch(gguf=header(**WINDOW)),
          llama_launch(args=("--swa-full",), context=1024, gguf=header(**WINDOW)))),
    Case("llama-pinned-host-memory",
         llama_launch(prediction=predicted(20 * GIB), host=HostFacts(memory=32 * GIB)), "20.0 GiB",
         (llama_launch(prediction=predicted(12 * GIB), host=HostFacts(memory=32 * GIB)),
          llama_launch(prediction=predicted(20 * GIB)),
          llama_launch(prediction=predicted(20 * GIB), host=HostFacts(memory=32 * GIB),
                       env=(("GGML_CUDA_NO_PINNED", "1"),)))),
    Case("llama-override-tensor-order", llama_launch(llama=LlamaOptions(cpu_moe_layers=8), args=("-ot", "exps=CPU")),
         "first match", (llama_launch(args=("-ot", "exps=CPU")), llama_launch(llama=LlamaOptions(cpu_moe_layers=8)))),
    Case("llama-embedding-ubatch", llama_launch(task=Task.EMBEDDING), "512",
         (llama_launch(task=Task.EMBEDDING, llama=LlamaOptions(ubatch=8192)), llama_launch(task=Task.CHAT))),
    Case("vllm-align-batch", vllm_launch(mamba_cache_mode="align", checkpoint=model(states=STATES)), "2048",
         (vllm_launch(mamba_cache_mode="align", max_num_batched_tokens=8192, checkpoint=model(states=STATES)),
          vllm_launch(HOPPER, mamba_cache_mode="align", checkpoint=model(states=STATES)),
          # Blocks as small as these states go with the smaller batch.
          vllm_launch(mamba_cache_mode="align", checkpoint=model(states=SMALL_STATES)),
          # Without a prefix cache vLLM puts the mode aside.
          vllm_launch(mamba_cache_mode="align", checkpoint=model(states=STATES), args=("--no-enable-prefix-caching",)),
          vllm_launch(mamba_cache_mode="align"), vllm_launch(checkpoint=model(states=STATES))), fatal=True),
    Case("vllm-align-batch", vllm_launch(mamba_cache_mode="align", max_num_batched_tokens=2048, checkpoint=None), "may be",
         (vllm_launch(mamba_cache_mode="align", max_num_batched_tokens=8192, checkpoint=None),), fatal=False),
    Case("vllm-fp8-weights", vllm_launch(AMPERE, checkpoint=model(quantization=FP8)), "8.6",
         (vllm_launch(ADA, checkpoint=model(quantization=FP8)), vllm_launch(AMPERE)), fatal=False),
    Case("vllm-fp8-weights", vllm_launch(PASCAL, quantization="fp8"), "6.1", (vllm_launch(PASCAL),), fatal=True),
    Case("vllm-nvfp4-weights", vllm_launch(ADA, checkpoint=model(quantization=NVFP4)), "8.9",
         (vllm_launch(BLACKWELL, checkpoint=model(quantization=NVFP4)),
          vllm_launch(ADA, checkpoint=model(quantization=AWQ))), fatal=False),
    Case("vllm-fp8-kv-cache", vllm_launch(AMPERE, kv_cache_dtype="fp8"), "8.6",
         (vllm_launch(AMPERE, kv_cache_dtype="fp8_e5m2"), vllm_launch(ADA, kv_cache_dtype="fp8"))),
    Case("vllm-e5m2-on-fp8", vllm_launch(kv_cache_dtype="fp8_e5m2", checkpoint=model(quantization=FP8)), "fp8",
         (vllm_launch(kv_cache_dtype="fp8_e5m2", checkpoint=model(quantization=AWQ)),
          vllm_launch(kv_cache_dtype="fp8_e4m3", checkpoint=model(quantization=FP8))), fatal=True),
    Case("vllm-e5m2-on-fp8", vllm_launch(kv_cache_dtype="fp8_e5m2", checkpoint=model(quantization=PACKED_FP8)),
         "compressed-tensors", (vllm_launch(kv_cache_dtype="fp8_e5m2"),), fatal=False),
    Case("vllm-nvfp4-kv-cache", vllm_launch(kv_cache_dtype="nvfp4", build=build("0.20.2")), "10.x",
         (vllm_launch(kv_cache_dtype="nvfp4", build=build("0.33.0")),
          vllm_launch(BLACKWELL, kv_cache_dtype="nvfp4", build=build("0.20.2")))),
    Case("vllm-nvfp4-kv-cache",
         vllm_launch(BLACKWELL, kv_cache_dtype="nvfp4", checkpoint=model(latent=Latent(512, 64, 128, 128))), "latent",
         (vllm_launch(BLACKWELL, kv_cache_dtype="nvfp4"),)),
    Case("vllm-turboquant-drafting", vllm_launch(kv_cache_dtype="turboquant_3bit_nc", draft=MTP), "loops",
         (vllm_launch(kv_cache_dtype="turboquant_3bit_nc"), vllm_launch(kv_cache_dtype="fp8", draft=MTP))),
    Case("vllm-hybrid-drafting", vllm_launch(draft=MTP, checkpoint=model(states=STATES, drafter_layers=1)),
         "illegal memory", (vllm_launch(checkpoint=model(states=STATES)),
                            vllm_launch(draft=MTP, checkpoint=model(drafter_layers=1)),
                            vllm_launch(draft=MTP, checkpoint=model(states=STATES, drafter_layers=1),
                                        args=("--no-async-scheduling",)))),
    Case("vllm-mtp-absent", vllm_launch(draft=MTP), "multi-token prediction",
         (vllm_launch(draft=MTP, checkpoint=model(drafter_layers=1)), vllm_launch(draft=MTP, checkpoint=None))),
    Case("vllm-mtp-absent",
         vllm_launch(draft=MTP, checkpoint=replace(model(drafter_layers=1), tensors=(
             TensorGroup("model.layers.#.mlp.up_proj.qweight", "I32", (8, 8)),))), "no module",
         (vllm_launch(draft=MTP, checkpoint=replace(model(), tensors=(
             TensorGroup("mtp.fc.weight", "BF16", (8, 8)),))),)),
    Case("vllm-bundled-tower", vllm_launch(checkpoint=replace(model(has_vision=True), tensors=(
        TensorGroup("model.visual.blocks.#.attn.qkv.weight", "BF16", (1024, 3072), 171),
        TensorGroup("model.layers.#.mlp.up_proj.weight", "BF16", (1024, 3072), 999)))), "1026 MiB",
         (vllm_launch(), vllm_launch(checkpoint=model(has_vision=True), args=("--language-model-only",)),
          vllm_launch(checkpoint=model(has_vision=True), args=("--limit-mm-per-prompt", '{"image": 0}')))),
    Case("vllm-bundled-tower",
         vllm_launch(checkpoint=model(has_vision=True), args=("--limit-mm-per-prompt", '{"image": 2}')), "tower",
         (vllm_launch(),)),
    Case("vllm-tp-heads", vllm_launch(count=3), "32 attention heads", (vllm_launch(count=4), vllm_launch())),
    Case("vllm-tp-kv-heads", vllm_launch(count=16), "8 KV heads", (vllm_launch(count=8),), fatal=False),
    Case("vllm-tp-kv-heads", vllm_launch(count=2, checkpoint=model(latent=Latent(512, 64, 128, 128))), "whole",
         (vllm_launch(checkpoint=model(latent=Latent(512, 64, 128, 128))),), fatal=False),
    Case("vllm-tp-kv-heads", vllm_launch(count=4, checkpoint=model(kv_heads=3, heads=24)), "3 KV heads",
         (vllm_launch(count=3, checkpoint=model(kv_heads=3, heads=24)),), fatal=True),
    Case("vllm-tp-groups", vllm_launch(count=2, checkpoint=model(
        quantization=AWQ, experts=Experts(64, 8, 704))), "704",
         (vllm_launch(count=2, checkpoint=model(quantization=AWQ)),
          vllm_launch(count=2, checkpoint=model(experts=Experts(64, 8, 704))))),
    Case("vllm-context-beyond-model", vllm_launch(context=65536), "40960",
         (vllm_launch(context=40960), vllm_launch(context=65536, env=(("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),)))),
    Case("vllm-default-utilisation", vllm_launch(vllm=VllmOptions()), "0.92 of every card", (vllm_launch(),)),
    Case("vllm-default-utilisation",
         vllm_launch(vllm=VllmOptions(kv_cache_memory=GIB), prediction=predicted(card=6 * GIB)), "to start",
         (vllm_launch(kv_cache_memory=GIB),)),
    Case("vllm-high-utilisation", vllm_launch(gpu_memory_utilization=0.97), "0.97",
         (vllm_launch(gpu_memory_utilization=0.92),)),
    Case("vllm-pool-too-small", vllm_launch(prediction=cached(2 * GIB, KvPool(4096, 0.5, 4096))), "4096 tokens",
         (vllm_launch(prediction=predicted(pool=KvPool(8192, 1.0, 8192))), vllm_launch(prediction=predicted())), fatal=True),
    # The formula may be wrong by as much as is lacking, unless the cache was given a size.
    Case("vllm-pool-too-small", vllm_launch(prediction=cached(GIB // 2, KvPool(4096, 0.5, 4096))), "4096 tokens", (), fatal=False),
    Case("vllm-pool-too-small", vllm_launch(kv_cache_memory=GIB, prediction=cached(GIB // 2, KvPool(4096, 0.5, 4096))),
         "4096 tokens", (), fatal=True),
    Case("vllm-pool-too-small", vllm_launch(prediction=predicted(card=22 * GIB, pool=KvPool(0, 0.0, 0))), "0 tokens", (), fatal=False),
    Case("vllm-pool-too-small", vllm_launch(prediction=predicted(card=23 * GIB, pool=KvPool(0, 0.0, 0))), "0 tokens", (), fatal=True),
    Case("vllm-022-kernels", vllm_launch(build=build("0.22.1")), "0.22.1", (vllm_launch(build=build("0.20.2")),)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{one.id}-{at}" for at, one in enumerate(CASES)])
def test_a_landmine_goes_off_where_it_lies_and_nowhere_else(case: Case) -> None:
    found = {one.id: one for one in find_landmines(case.steps)}
    assert case.id in found
    assert case.says in found[case.id].sentence
    if case.fatal is not None:
        assert found[case.id].fatal is case.fatal
    for launch in case.passes:
        assert case.id not in {one.id for one in find_landmines(launch)}


def test_only_landmines_that_say_so_differ_from_launch_to_launch() -> None:
    traps = {one.id: one for one in TRAPS}
    for case in CASES:
        found = next(one for one in find_landmines(case.steps) if one.id == case.id)
        assert traps[case.id].varies or found.fatal is traps[case.id].fatal


def test_every_landmine_is_tried() -> None:
    assert {case.id for case in CASES} == {one.id for one in TRAPS}


def test_every_trap_of_every_file_is_found_by_the_search() -> None:
    written = {
        one.id
        for room in (common, llama, vllm, vllm_types)
        for one in vars(room).values()
        if isinstance(one, Trap)
    }
    assert written == {one.id for one in TRAPS}
    assert len({one.id for one in TRAPS}) == len(TRAPS)


def test_the_fatal_ones_come_first() -> None:
    launch = vllm_launch(count=3, context=65536, vllm=VllmOptions(), checkpoint=model(has_vision=True))
    fatal = [one.fatal for one in find_landmines(launch)]
    assert fatal == sorted(fatal, reverse=True)
    assert {True, False} == set(fatal)


@pytest.mark.parametrize("engine", [EngineKind.LLAMA_CPP, EngineKind.VLLM])
def test_a_launch_of_which_nothing_is_known_steps_on_nothing(engine: EngineKind) -> None:
    assert find_landmines(Launch(spec(engine), 1, CardModel("a card"))) == ()


def test_a_landmine_of_another_engine_does_not_count() -> None:
    asked = spec(EngineKind.VLLM, args=("--swa-full",), kv_cache=KvCache("q8_0", "q8_0"),
                 llama=LlamaOptions(flash_attention=False))  # fmt: skip
    assert find_landmines(Launch(asked, 1, ADA)) == ()


def test_the_fix_names_the_number_to_write() -> None:
    found = find_landmines(llama_launch(context=65536))
    assert [one.fix for one in found] == ["set `context: 32768`"]
    share = find_landmines(
        vllm_launch(vllm=VllmOptions(kv_cache_memory=GIB), prediction=predicted(card=6 * GIB))
    )
    assert [one.fix for one in share] == ["set `vllm.gpu_memory_utilization: 0.25`"]


def test_the_counts_to_override_are_those_of_the_file() -> None:
    found = find_landmines(llama_launch(gguf=header(0, 1, 2, nextn=1)))
    assert "--override-kv qwen35.block_count=int:3,qwen35.nextn_predict_layers=int:0" in found[0].fix


def test_layers_without_attention_and_feed_forward_are_not_missing() -> None:
    """Nemotron Ultra counts layers that have no tensors at all."""
    lists: dict[str, Any] = {"attention__head_count": (8, 8, 0, 8), "feed_forward_length": (64, 64, 0, 64)}
    assert find_landmines(llama_launch(gguf=header(0, 1, 3, **lists))) == ()
    lists["feed_forward_length"] = (64, 64, 64, 64)
    found = find_landmines(llama_launch(gguf=header(0, 1, 3, **lists)))
    assert [one.id for one in found] == ["llama-phantom-layers"]


def test_a_header_that_counts_more_layers_than_memory_has_bytes_is_stepped_over() -> None:
    assert find_landmines(llama_launch(gguf=header(block_count=2**62))) == ()
