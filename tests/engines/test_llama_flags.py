"""Keys become the flags of the build at hand, and nothing contradicts them."""

from dataclasses import replace

import pytest

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import EngineBuild
from gpumod.core.service import FileIdentity
from gpumod.core.spec import DeclaredMemory, Draft, EngineKind, KvCache, Leave, LlamaOptions, Split, Task
from gpumod.engines.llama_cpp import LlamaCppEngine, shards
from gpumod.engines.llama_flags import traits
from tests.engines.processes import Listeners, spec_of

GPU_A, GPU_B = CardId("GPU-aaaa"), CardId("GPU-bbbb")

RECENT = EngineBuild(
    "/opt/llama-server",
    "11434",
    frozenset(
        {
            "--fit", "--load-mode", "--device", "--no-kv-unified", "--cache-ram", "--spec-type",
            "--spec-draft-n-max", "--draft-max", "--n-gpu-layers-draft", "--jinja", "-v",
        }
    ),
    traits=frozenset({"flash-value", "verbosity-trace", "spec:draft-mtp", "spec:draft-simple", "spec:none"}),
)  # fmt: skip
OLD = EngineBuild("/opt/old", "6000", frozenset({"--no-mmap", "--device", "--draft-max", "--jinja"}))


@pytest.fixture
def engine():
    return LlamaCppEngine(Listeners())


def compose(engine, build=RECENT, cards=(GPU_A,), port=18000, split=(), files=(), **keys):
    keys.setdefault("model", "/models/m.gguf")
    keys.setdefault("llama", LlamaOptions())
    indexes = {GPU_A: 0, GPU_B: 1}
    return engine.compose(
        spec_of(**keys), build, cards=cards, card_indexes=indexes, port=port, files=files, generation=1,
        split=split,
    )  # fmt: skip


def value(launch, flag):
    """What follows the last occurrence of a flag; None where it does not occur."""
    argv = list(launch.argv)
    if flag not in argv:
        return None
    return argv[len(argv) - argv[::-1].index(flag)]


def test_it_listens_on_loopback_on_its_port_with_its_name(engine):
    launch = compose(engine, port=18123, served_name="hermes")
    assert launch.argv[0] == "/opt/llama-server"
    assert value(launch, "--host") == "127.0.0.1"
    assert value(launch, "--port") == "18123"
    assert value(launch, "--alias") == "hermes"
    assert "--metrics" in launch.argv


def test_the_context_of_a_preset_is_per_slot(engine):
    launch = compose(engine, context=4096, slots=3)
    assert value(launch, "--ctx-size") == "12288"
    assert value(launch, "--parallel") == "3"
    assert "--no-kv-unified" in launch.argv


def test_the_number_of_slots_is_never_left_to_the_engine(engine):
    assert value(compose(engine), "--parallel") == "1"


def test_nothing_is_shrunk_to_fit(engine):
    assert value(compose(engine), "--fit") == "off"
    assert "--fit" not in compose(engine, OLD).argv


def test_a_gpu_is_shown_by_uuid_and_named_so_that_a_build_without_cuda_fails(engine):
    launch = compose(engine, cards=(GPU_B,))
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
    assert value(launch, "--device") == "CUDA0"
    assert int(value(launch, "--n-gpu-layers")) > 200
    assert "--load-mode" not in launch.argv


def test_on_the_host_card_no_gpu_is_seen_and_weights_are_anonymous_memory(engine):
    launch = compose(engine, cards=(HOST_CARD,))
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == ""
    assert value(launch, "--device") == "none"
    assert value(launch, "--n-gpu-layers") == "0"
    assert value(launch, "--load-mode") == "none"
    assert value(launch, "--cache-ram") == "0"


@pytest.mark.parametrize(("cache", "mib"), [(None, "2048"), (0, "0"), (512 << 20, "512")])
def test_the_prompt_cache_beside_a_gpu_has_a_size_that_is_known(engine, cache, mib):
    launch = compose(engine, cards=(GPU_A,), llama=LlamaOptions(prompt_cache=cache))
    assert value(launch, "--cache-ram") == mib


def test_a_build_without_load_mode_gets_no_mmap(engine):
    launch = compose(engine, OLD, cards=(HOST_CARD,))
    assert "--no-mmap" in launch.argv
    assert "--load-mode" not in launch.argv


def test_a_load_mode_in_args_does_not_win_on_the_host_card_and_that_is_said(engine):
    spec = {"args": ("--load-mode", "mmap"), "cards": (HOST_CARD,)}
    assert value(compose(engine, **spec), "--load-mode") == "none"
    warnings = engine.check(spec_of(model="/m.gguf", args=spec["args"]), RECENT).warnings
    assert any("without mmap" in one for one in warnings)


def test_several_cards_always_get_an_explicit_split(engine):
    launch = compose(engine, cards=(GPU_B, GPU_A), split=(2_000_001, 10))
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb,GPU-aaaa"
    assert value(launch, "--device") == "CUDA0,CUDA1"
    assert value(launch, "--split-mode") == "layer"
    assert value(launch, "--tensor-split") == "2000001,10"
    assert value(launch, "--main-gpu") == "0"
    assert value(compose(engine, cards=(GPU_A, GPU_B)), "--tensor-split") == "1,1"


def test_a_split_that_the_user_wrote_is_obeyed(engine):
    spec = spec_of(model="/m.gguf", split=Split("row", (3.0, 1.5)))
    launch = engine.compose(
        spec, RECENT, cards=(GPU_A, GPU_B), card_indexes={}, port=1, files=(), generation=1, split=(5, 5)
    )
    assert value(launch, "--split-mode") == "row"
    assert value(launch, "--tensor-split") == "3,1.5"


def test_an_explicit_number_of_layers_is_obeyed(engine):
    launch = compose(engine, llama=LlamaOptions(gpu_layers=12, cpu_moe_layers=7, batch=1024, ubatch=256))
    assert value(launch, "--n-gpu-layers") == "12"
    assert value(launch, "--n-cpu-moe") == "7"
    assert value(launch, "--batch-size") == "1024"
    assert value(launch, "--ubatch-size") == "256"


@pytest.mark.parametrize(
    ("build", "on", "words"),
    [
        (RECENT, True, ("--flash-attn", "on")),
        (RECENT, False, ("--flash-attn", "off")),
        (OLD, True, ("--flash-attn", "--n-gpu-layers")),
        (OLD, False, ()),
    ],
)
def test_flash_attention_in_the_spelling_of_the_build(engine, build, on, words):
    argv = compose(engine, build, llama=LlamaOptions(flash_attention=on)).argv
    if not words:
        assert "--flash-attn" not in argv
    else:
        at = argv.index(words[0])
        assert argv[at : at + len(words)] == words


def test_kv_types_and_projector(engine):
    launch = compose(engine, kv_cache=KvCache("q8_0", "q4_0"), mmproj="/models/mm.gguf")
    assert value(launch, "--cache-type-k") == "q8_0"
    assert value(launch, "--cache-type-v") == "q4_0"
    assert value(launch, "--mmproj") == "/models/mm.gguf"


def test_an_mtp_draft(engine):
    launch = compose(engine, draft=Draft("mtp", n_max=2))
    assert value(launch, "--spec-type") == "draft-mtp"
    assert value(launch, "--spec-draft-n-max") == "2"
    assert "--model-draft" not in launch.argv


def test_a_draft_model_names_its_type_since_alone_it_does_nothing(engine):
    launch = compose(engine, draft=Draft("model", model="/models/d.gguf", n_max=4), cards=(HOST_CARD,))
    assert value(launch, "--model-draft") == "/models/d.gguf"
    assert value(launch, "--spec-type") == "draft-simple"
    assert value(launch, "--n-gpu-layers-draft") == "0"
    old = compose(engine, OLD, draft=Draft("model", model="/models/d.gguf", n_max=4))
    assert "--spec-type" not in old.argv
    assert value(old, "--draft-max") == "4"


def test_a_build_that_cannot_draft_that_way_is_named(engine):
    (problem,) = engine.check(spec_of(model="/m.gguf", draft=Draft("mtp")), OLD).contradictions
    assert "6000" in problem
    assert "--spec-type" in problem
    (problem,) = engine.check(spec_of(model="/m.gguf", draft=Draft("eagle3")), RECENT).contradictions
    assert "draft-eagle3" in problem
    assert "draft-mtp" in problem


@pytest.mark.parametrize(("task", "flag"), [(Task.EMBEDDING, "--embeddings"), (Task.RERANK, "--reranking")])
def test_tasks(engine, task, flag):
    assert flag in compose(engine, task=task).argv
    assert flag not in compose(engine, task=Task.CHAT).argv


def test_sampler_defaults(engine):
    launch = compose(engine, sampler=(("repeat_penalty", 1.05), ("temperature", 0.7), ("top_k", 64.0)))
    assert value(launch, "--repeat-penalty") == "1.05"
    assert value(launch, "--temp") == "0.7"
    assert value(launch, "--top-k") == "64"


def test_args_are_appended_as_they_are(engine):
    assert compose(engine, args=("--jinja", "--keep", "-1")).argv[-3:] == ("--jinja", "--keep", "-1")


def test_buffer_sizes_are_logged_where_the_build_can_and_the_user_may_choose(engine):
    assert value(compose(engine), "--verbosity") == "4"
    assert "--verbosity" not in compose(engine, OLD).argv
    assert "--verbosity" not in compose(engine, args=("-v",)).argv


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("-c", "4096"), "`context`"),
        (("--ctx-size=4096",), "`context`"),
        (("--ctx_size", "4096"), "`context`"),
        (("--port", "80"), "`port`"),
        (("--host", "0.0.0.0"), "loopback"),
        (("-m", "x.gguf"), "`model`"),
        (("-hf", "a/b"), "`model`"),
        (("-ngl", "10"), "`llama.gpu_layers`"),
        (("--n-gpu-layers", "10"), "`llama.gpu_layers`"),
        (("-a", "x"), "`served_name`"),
        (("-np", "4"), "`slots`"),
        (("-kvu",), "per slot"),
        (("-ctk", "q8_0"), "`kv_cache`"),
        (("-md", "d.gguf"), "`draft`"),
        (("--spec-type", "draft-mtp"), "`draft`"),
        (("-mm", "p.gguf"), "`mmproj`"),
        (("-ts", "1,1"), "`split`"),
        (("-dev", "CUDA1"), "`cards`"),
        (("--fit", "on"), "explicit"),
        (("--fit-target", "512"), "explicit"),
        (("-fa", "on"), "`llama.flash_attention`"),
        (("-ub", "128"), "`llama.ubatch`"),
        (("-cmoe",), "`llama.cpu_moe_layers`"),
        (("--reuse-port",), "loopback"),
        (("--api-key", "k"), "gateway"),
        (("--models-dir", "d"), "router"),
        (("--embeddings",), "`task`"),
        (("-t", "4"), "`llama.threads`"),
        (("--gpt-oss-20b-default",), "`model`"),
        (("--fim-qwen-1.5b-default",), "`model`"),
        (("--fim-qwen-7b-spec",), "`model`"),
        (("--embd-gemma-default",), "`model`"),
        (("--temperature", "1"), "`sampler.temperature`"),
    ],
)
def test_arguments_that_belong_to_keys_are_refused(engine, args, says):
    spec = spec_of(model="/m.gguf", args=args, sampler=(("temperature", 0.5),))
    problems = engine.check(spec, RECENT).contradictions
    assert len(problems) == 1, problems
    assert says in problems[0]
    assert "args" in problems[0]


def test_other_arguments_are_not(engine):
    spec = spec_of(model="/m.gguf", args=("--jinja", "--keep", "-1", "--no-webui"))
    check = engine.check(spec, RECENT)
    assert check.contradictions == ()
    assert [one for one in check.warnings if "--no-webui" in one]
    assert not [one for one in check.warnings if "--jinja" in one]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": None}, "GGUF"),
        ({"env": (("CUDA_VISIBLE_DEVICES", "3"),)}, "`cards`"),
        ({"env": (("LLAMA_ARG_CTX_SIZE", "3"),)}, "LLAMA_ARG_CTX_SIZE"),
        ({"sampler": (("repetition_penalty", 1.1),)}, "repeat_penalty"),
        ({"served_name": "a,b"}, "comma"),
    ],
)
def test_what_else_cannot_be_obeyed_is_said(engine, keys, says):
    problems = engine.check(spec_of(**({"model": "/m.gguf"} | keys)), RECENT).contradictions
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("kind", "says"),
    [("q9_0", "did you mean 'q8_0'"), ("Q8_0", "did you mean 'q8_0'"), ("nonsense", "iq4_nl")],
)
def test_types_of_the_cache_that_llama_cpp_refuses_are_refused_before(engine, kind, says):
    spec = spec_of(model="/m.gguf", kv_cache=KvCache("q8_0", kind))
    for build in (None, RECENT):
        (problem,) = engine.check(spec, build).contradictions
        assert problem.startswith("kv_cache.v: ")
        assert says in problem
    (problem,) = engine.check(spec_of(model="/m.gguf", kv_cache=KvCache(kind)), None).contradictions
    assert problem.startswith("kv_cache.k: ")


def test_types_of_the_cache_are_those_that_the_build_lists(engine):
    fork = replace(RECENT, traits=RECENT.traits | {"kv:f16", "kv:q6_0"})
    assert not engine.check(spec_of(model="/m.gguf", kv_cache=KvCache("q6_0", "f16")), fork).contradictions
    (problem,) = engine.check(spec_of(model="/m.gguf", kv_cache=KvCache("q8_0", "f16")), fork).contradictions
    assert "build 11434" in problem


@pytest.mark.parametrize("leave", [Leave.SLEEP, Leave.PARK])
def test_keys_that_are_not_built_are_refused_not_ignored(engine, leave):
    (sentence,) = engine.check(spec_of(model="/m.gguf", leave=leave), RECENT).not_built
    assert leave in sentence


def test_every_shard_of_a_split_model_is_needed(engine):
    spec = spec_of(
        model="/m/big-00001-of-00003.gguf",
        mmproj="/m/mm.gguf",
        draft=Draft("model", model="/m/d-00001-of-00002.gguf"),
        args=("--lora", "/l/a.gguf,/l/b.gguf"),
    )
    assert engine.files(spec) == (
        "/m/big-00001-of-00003.gguf",
        "/m/big-00002-of-00003.gguf",
        "/m/big-00003-of-00003.gguf",
        "/m/mm.gguf",
        "/m/d-00001-of-00002.gguf",
        "/m/d-00002-of-00002.gguf",
        "/l/a.gguf",
        "/l/b.gguf",
    )
    assert shards("/m/one.gguf") == ("/m/one.gguf",)


ADAPTERS = (
    ("--lora", "/l/a.gguf,/l/b.gguf"),
    ("--lora-scaled", "/l/a.gguf:0.5,/l/b.gguf:1"),
    ("--control-vector", "/l/a.gguf,/l/b.gguf"),
    ("--control-vector-scaled", "/l/a.gguf:-0.5,/l/b.gguf:1"),
    ("--lora-scaled", "/l/a.gguf", "0.5", "--lora", "/l/b.gguf"),
)


@pytest.mark.parametrize("args", ADAPTERS)
def test_adapters_are_files_that_have_to_be_there(engine, args):
    assert engine.files(spec_of(model="/m.gguf", args=args)) == ("/m.gguf", "/l/a.gguf", "/l/b.gguf")


@pytest.mark.parametrize("args", ADAPTERS)
def test_adapters_are_not_reckoned_and_that_is_said(engine, args):
    said = engine.check(spec_of(model="/m.gguf", args=args), None).warnings
    assert [one.split("`")[1] for one in said] == [word for word in args if word.startswith("--")]
    assert all("declare `vram`" in one for one in said)
    declared = spec_of(model="/m.gguf", args=args, vram=DeclaredMemory((1 << 30,)))
    assert engine.check(declared, None).warnings == ()


FILE = FileIdentity("/models/m.gguf", 10, 20)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({}, {"port": 18001}, True),
        ({}, {"sampler": (("temperature", 0.1),)}, True),
        ({}, {"served_name": "other"}, True),
        ({"cards": (GPU_A,)}, {"cards": (GPU_B,)}, True),
        ({"cards": (GPU_A, GPU_B), "split": (5 << 20, 6 << 20)},
         {"cards": (GPU_A, GPU_B), "split": (6 << 20, 6 << 20)}, True),
        ({}, {"context": 1024}, False),
        ({}, {"slots": 2}, False),
        ({}, {"kv_cache": KvCache("q8_0", "q8_0")}, False),
        ({}, {"args": ("--swa-full",)}, False),
        ({}, {"cards": (GPU_A, GPU_B)}, False),
        ({}, {"cards": (HOST_CARD,)}, False),
        ({}, {"build": OLD}, False),
        ({"files": (FILE,)}, {"files": (FileIdentity("/models/m.gguf", 10, 21),)}, False),
        ({}, {"env": (("GGML_CUDA_NO_PINNED", "1"),)}, False),
    ],
)  # fmt: skip
def test_the_fingerprint_names_what_changes_memory_and_nothing_else(engine, first, second, same):
    one, other = compose(engine, **first), compose(engine, **({**first, **second}))
    assert (one.fingerprint == other.fingerprint) is same


def test_a_launch_is_the_same_each_time(engine):
    keys = {"context": 8192, "slots": 2, "env": (("A", "1"),), "sampler": (("top_k", 3.0),)}
    assert compose(engine, **keys) == compose(engine, **keys)
    launch = compose(engine, **keys)
    assert list(launch.env) == sorted(launch.env)
    assert ("A", "1") in launch.env


def test_the_embedded_server_runs_beside_the_interpreter(engine):
    build = EngineBuild("/venv/bin/python", "embedded", RECENT.flags, traits=RECENT.traits | {"embedded"})
    argv = compose(engine, build).argv
    assert argv[:2] == ("/venv/bin/python", "-P")
    assert argv[2].endswith("embedded_server.py")


def test_traits_of_old_and_recent_helps():
    recent = "-fa,   --flash-attn [on|off|auto]  set Flash Attention use ('on', 'off', or 'auto')\n"
    recent += " - 4: trace (more info)\n--spec-type none,draft-mtp  types\n"
    assert traits(recent) == {"flash-value", "verbosity-trace", "spec:none", "spec:draft-mtp"}
    listed = (
        "-ctk,  --cache-type-k TYPE   KV cache data type for K\n   allowed values: f32, q8_0,\n   iq4_nl\n"
    )
    assert traits(listed + "   (default: f16)\n") == {"kv:f32", "kv:q8_0", "kv:iq4_nl"}
    assert traits("-fa,   --flash-attn      enable Flash Attention (default: disabled)\n") == frozenset()


def test_kind(engine):
    assert engine.kind is EngineKind.LLAMA_CPP
    assert not engine.exclusive_start
