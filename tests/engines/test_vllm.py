"""vLLM's command line, environment and files."""

import json

import pytest

from gpumod.core.names import HOST_CARD, CardId
from gpumod.core.ports import Check, EngineBuild
from gpumod.core.spec import (
    DeclaredMemory,
    Draft,
    EngineKind,
    KvCache,
    Leave,
    LlamaOptions,
    Split,
    Task,
    VllmOptions,
)
from gpumod.engines.vllm import VllmEngine, installed_version
from tests.engines.processes import Listeners, spec_of

A, B = CardId("GPU-a"), CardId("GPU-b")
RECENT = EngineBuild("/venv/bin/vllm", "0.32.0+cpu")


@pytest.fixture
def engine():
    return VllmEngine(Listeners())


def vllm_spec(**keys):
    return spec_of(EngineKind.VLLM, **({"model": "/models/qwen"} | keys))


def compose(engine, build=RECENT, cards=(A, B), **keys):
    return engine.compose(
        vllm_spec(**keys), build, cards=cards, card_indexes={A: 3, B: 1}, port=18000, files=(), generation=1
    )


def value(launch, flag):
    return launch.argv[launch.argv.index(flag) + 1] if flag in launch.argv else None


def test_keys_become_flags(engine):
    launch = compose(
        engine,
        context=262144,
        slots=4,
        served_name="qwen",
        draft=Draft("mtp", n_max=3),
        vllm=VllmOptions(0.92, "fp8_e5m2", 7 << 30, 8192, "align", "awq", "float16", enforce_eager=True),
        args=("--trust-remote-code",),
    )
    assert launch.argv[:3] == ("/venv/bin/vllm", "serve", "/models/qwen")
    for flag, expected in {
        "--host": "127.0.0.1",
        "--port": "18000",
        "--served-model-name": "qwen",
        "--tensor-parallel-size": "2",
        "--max-model-len": "262144",
        "--max-num-seqs": "4",
        "--gpu-memory-utilization": "0.92",
        "--kv-cache-dtype": "fp8_e5m2",
        "--kv-cache-memory-bytes": str(7 << 30),
        "--max-num-batched-tokens": "8192",
        "--mamba-cache-mode": "align",
        "--quantization": "awq",
        "--dtype": "float16",
    }.items():
        assert value(launch, flag) == expected
    assert "--enforce-eager" in launch.argv
    assert json.loads(value(launch, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 3}
    assert launch.argv[-1] == "--trust-remote-code"


def test_what_is_not_set_is_not_passed(engine):
    flags = [word for word in compose(engine).argv if word.startswith("--")]
    assert flags == ["--host", "--port", "--served-model-name", "--tensor-parallel-size"]


def test_its_environment(engine):
    env = dict(compose(engine).env)
    assert env["VLLM_NO_USAGE_STATS"] == "1"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in dict(compose(engine, model="Qwen/Qwen3").env)
    assert "VLLM_SERVER_DEV_MODE" not in env


def test_recent_versions_are_pinned_by_uuid_and_older_ones_by_pci_index(engine):
    assert dict(compose(engine).env)["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    old = dict(compose(engine, EngineBuild("/vllm", "0.22.1")).env)
    assert old["CUDA_VISIBLE_DEVICES"] == "3,1"
    assert old["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    unknown = dict(compose(engine, EngineBuild("/vllm", "unknown")).env)
    assert unknown["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


def test_on_the_host_card_there_are_no_gpus(engine):
    launch = compose(engine, cards=(HOST_CARD,))
    assert dict(launch.env)["CUDA_VISIBLE_DEVICES"] == ""
    assert "--tensor-parallel-size" not in launch.argv


@pytest.mark.parametrize(
    ("version", "task", "words"),
    [
        ("0.32.0", Task.EMBEDDING, ("--runner", "pooling")),
        ("0.10.2", Task.EMBEDDING, ("--task", "embed")),
        ("0.10.2", Task.RERANK, ("--task", "score")),
    ],
)
def test_pooling_in_the_words_of_the_version(engine, version, task, words):
    launch = compose(engine, EngineBuild("/vllm", version), task=task)
    assert value(launch, words[0]) == words[1]


def test_sampler_defaults_in_its_own_words(engine):
    launch = compose(engine, sampler=(("repeat_penalty", 1.05), ("temperature", 0.6)))
    config = json.loads(value(launch, "--override-generation-config"))
    assert config == {"repetition_penalty": 1.05, "temperature": 0.6}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--max-model-len", "100"), "`context`"),
        (("--max-model", "100"), "`context`"),
        (("--max_num_seqs=3",), "`slots`"),
        (("-tp", "2"), "`cards`"),
        (("--pipeline-parallel-size", "2"), "`cards`"),
        (("--gpu-memory-utilization", "0.5"), "`vllm.gpu_memory_utilization`"),
        (("--speculative-config", "{}"), "`draft`"),
        (("--enable-sleep-mode",), "`leave`"),
        (("--api-key", "x"), "gateway"),
        (("--config", "f.yaml"), "hide"),
        (("--host", "0.0.0.0"), "loopback"),
        (("-sc.method", "mtp"), "`draft`"),
        (("--speculative-config.method", "mtp"), "`draft`"),
        (("--speculative_config.num_speculative_tokens=3",), "`draft`"),
        (("-tp2",), "`cards`"),
        (("-t", "2"), "`cards`"),
        (("-tp=2",), "`cards`"),
        (("-qfp8",), "`vllm.quantization`"),
    ],
)
def test_arguments_that_belong_to_keys_are_refused(engine, args, says):
    problems = engine.check(vllm_spec(args=args), RECENT).contradictions
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": None}, "model"),
        ({"mmproj": "/p"}, "mmproj"),
        ({"kv_cache": KvCache()}, "vllm.kv_cache_dtype"),
        ({"split": Split()}, "split"),
        ({"llama": LlamaOptions(batch=1)}, "llama"),
        ({"sampler": (("repeat_last_n", 1.0),)}, "repeat_last_n"),
        ({"vllm": VllmOptions(dtype="fp16")}, "did you mean 'float16'"),
        ({"vllm": VllmOptions(mamba_cache_mode="aligned")}, "did you mean 'align'"),
        ({"env": (("VLLM_API_KEY", "x"),)}, "VLLM_API_KEY"),
        ({"env": (("CUDA_VISIBLE_DEVICES", "0"),)}, "`cards`"),
    ],
)
def test_keys_that_it_does_not_have_are_refused(engine, keys, says):
    problems = engine.check(vllm_spec(**keys), None).contradictions
    assert len(problems) == 1, problems
    assert says in problems[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (VllmOptions(kv_cache_dtype="fp8_e4m4"), "did you mean 'fp8_e4m3'"),
        (VllmOptions(quantization="compressed_tensors"), "did you mean 'compressed-tensors'"),
    ],
)
def test_words_that_depend_on_the_version_are_doubted_not_refused(engine, options, says):
    check = engine.check(vllm_spec(vllm=options), RECENT)
    assert check.contradictions == ()
    (warning,) = check.warnings
    assert says in warning


def test_words_that_it_has_are_not_doubted(engine):
    options = VllmOptions(kv_cache_dtype="fp8", mamba_cache_mode="all", quantization="awq", dtype="half")
    assert engine.check(vllm_spec(vllm=options), RECENT) == Check()


@pytest.mark.parametrize(
    "args", [("-cc.cudagraph_mode", "NONE"), ("-O3",), ("-dpn", "0"), ("--kv-cache-dtype-skip-layers", "1")]
)
def test_other_arguments_are_its_own_affair(engine, args):
    assert engine.check(vllm_spec(args=args), RECENT) == Check()


@pytest.mark.parametrize(
    ("args", "key"),
    [
        (("--cpu-offload-gb", "10"), "ram"),
        (("--kv_offloading_size=32",), "ram"),
        (("--swap-space", "16"), "ram"),
        (("--enable-lora", "--max-loras", "8"), "vram"),
        (("-dcp", "2"), "vram"),
        (("--decode-context-parallel-size", "2"), "vram"),
    ],
)
def test_arguments_that_take_memory_nobody_reckons_get_a_warning_until_it_is_declared(engine, args, key):
    (warning,) = engine.check(vllm_spec(args=args), RECENT).warnings
    assert warning.startswith("args: `")
    assert f"declare `{key}`" in warning
    declared = {"ram": 1 << 30, "vram": DeclaredMemory((1 << 30,))}
    assert engine.check(vllm_spec(args=args, **{key: declared[key]}), RECENT).warnings == ()


def test_sleep_is_not_built(engine):
    assert engine.check(vllm_spec(leave=Leave.SLEEP), None).not_built


def test_it_measures_its_cards_while_it_starts(engine):
    assert engine.exclusive_start


def test_the_files_of_a_folder(engine, tmp_path):
    spec = vllm_spec(model=str(tmp_path))
    assert engine.files(spec) == (f"{tmp_path}/config.json", f"{tmp_path}/model.safetensors")
    (tmp_path / "b.safetensors").touch()
    assert engine.files(spec) == (f"{tmp_path}/config.json", f"{tmp_path}/b.safetensors")
    index = {"weight_map": {"x": "part-2.safetensors", "y": "part-1.safetensors", "z": "part-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert engine.files(spec)[2:] == (f"{tmp_path}/part-1.safetensors", f"{tmp_path}/part-2.safetensors")


def test_a_model_of_the_hub_has_no_files_to_check(engine):
    assert engine.files(vllm_spec(model="Qwen/Qwen3")) == ()


def test_the_version_is_read_beside_the_program_without_running_it(tmp_path):
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f"#!{tmp_path}/bin/python\n")
    assert installed_version(program) == "unknown"
    (tmp_path / "lib/python3.12/site-packages/vllm-0.33.0.dist-info").mkdir(parents=True)
    assert installed_version(program) == "0.33.0"
