"""Preset files."""
# ruff: noqa: E501 - tables of cases

import pytest

from gpumod.core.names import PresetId, ServiceId
from gpumod.core.spec import (
    AfterDeadline,
    CardRequest,
    CommandOptions,
    ContainerOptions,
    DeclaredMemory,
    Draft,
    Drain,
    EngineKind,
    KvCache,
    Leave,
    LlamaOptions,
    Mount,
    RestartPolicy,
    RestartWhen,
    ServiceSpec,
    Split,
    Task,
    VllmOptions,
)
from gpumod.core.units import GIB, MIB

# The example of the documentation, to the letter.
EXAMPLE = """\
# presets/llm/gemma4-26b-a4b-qat-q4.yaml
id: gemma4-26b-a4b-qat-q4
engine: llama.cpp              # llama.cpp | vllm | container | command
model: ${MODELS}/gemma-4-26B-A4B-it-qat-UD-Q4_K_XL.gguf
mmproj: ${MODELS}/gemma-4-26B-A4B-it-mmproj-BF16.gguf
context: 131072                # per slot
slots: 1
kv_cache: {k: q8_0, v: q8_0}
draft: null                    # {type: mtp, n_max: 2} or {model: …}
vram: auto                     # auto = learned, else estimated; or a declared size per card
cards: 1                       # how many; or a list of UUIDs or indexes
split: null                    # {mode: layer, ratio: [1, 1]} when several
sampler: {temperature: 1.0, top_p: 0.95, top_k: 64, repeat_penalty: 1.05}
aliases: [hermes]
startup_timeout: 240s
drain: {deadline: 30s, then: cut}
stop_grace: 20s
leave: stop                    # stop | sleep | park, when the next mode does not want it
restart: {when: failure, within: 10m, at_most: 3}
depends_on: []
args: [--jinja]                # appended as they are
env: {GGML_CUDA_NO_PINNED: "1"}
"""

LLAMA = "id: p\nengine: llama.cpp\nmodel: /m.gguf\n"
VLLM = "id: p\nengine: vllm\nmodel: org/model\n"
CONTAINER = "id: p\nengine: container\n"
COMMAND = "id: p\nengine: command\n"


def spec(folder, text):
    folder.preset("p", text)
    catalog = folder.catalog()
    assert catalog.problems == ()
    found = catalog.preset(PresetId("p"))
    assert found is not None
    return found


def test_the_documented_example(folder):
    folder.write("config.yaml", "vars: {MODELS: /models}\n")
    folder.preset("llm/gemma", EXAMPLE)
    catalog = folder.catalog()
    assert catalog.problems == ()
    assert catalog.presets == (
        ServiceSpec(
            id=ServiceId("gemma4-26b-a4b-qat-q4"),
            preset=PresetId("gemma4-26b-a4b-qat-q4"),
            engine=EngineKind.LLAMA_CPP,
            model="/models/gemma-4-26B-A4B-it-qat-UD-Q4_K_XL.gguf",
            mmproj="/models/gemma-4-26B-A4B-it-mmproj-BF16.gguf",
            context=131072,
            slots=1,
            kv_cache=KvCache("q8_0", "q8_0"),
            sampler=(("temperature", 1.0), ("top_p", 0.95), ("top_k", 64), ("repeat_penalty", 1.05)),
            aliases=("hermes",),
            startup_timeout=240.0,
            drain=Drain(30.0, AfterDeadline.CUT),
            stop_grace=20.0,
            leave=Leave.STOP,
            restart=RestartPolicy(RestartWhen.FAILURE, 600.0, 3),
            args=("--jinja",),
            env=(("GGML_CUDA_NO_PINNED", "1"),),
        ),
    )


def test_keys_that_are_not_there_take_the_defaults(folder):
    assert spec(folder, LLAMA) == ServiceSpec(
        id=ServiceId("p"), preset=PresetId("p"), engine=EngineKind.LLAMA_CPP, model="/m.gguf"
    )


def test_a_key_without_a_value_is_no_key(folder):
    empty = "".join(
        f"{key}:\n"
        for key in (
            "args",
            "env",
            "aliases",
            "depends_on",
            "drain",
            "restart",
            "llama",
            "cards",
            "port",
            "vram",
        )
    )
    assert spec(folder, LLAMA + empty) == spec(folder, LLAMA)


def test_whole_numbers_stay_whole(folder):
    """`--top-k 64.0` is refused by llama.cpp."""
    ((_, top_k), (_, seed)) = spec(folder, LLAMA + "sampler: {top_k: 64, seed: -1}").sampler
    assert (repr(top_k), repr(seed)) == ("64", "-1")


def test_llama_cpp_has_keys_of_its_own(folder):
    found = spec(
        folder,
        LLAMA
        + "llama: {gpu_layers: 0, cpu_moe_layers: 3, batch: 64, ubatch: 32, threads: 2, flash_attention: true}\n"
        + "split: {mode: row, ratio: [3, 1.5]}\ncards: 2\ndraft: {model: ~/d.gguf, n_max: 4}\nbinary: ~/llama-server\n",
    )
    assert found.llama == LlamaOptions(0, 3, 64, 32, 2, flash_attention=True)
    assert found.split == Split("row", (3.0, 1.5))
    assert found.draft == Draft("model", "/home/ada/d.gguf", 4)
    assert found.binary == "/home/ada/llama-server"


def test_vllm_has_keys_of_its_own(folder):
    found = spec(
        folder,
        VLLM
        + "task: embedding\nserved_name: Qwen/Q-3\ndraft: {type: mtp, n_max: 3}\nleave: sleep\nram: 3GiB\n"
        + "vllm: {gpu_memory_utilization: 0.92, kv_cache_dtype: fp8_e5m2, kv_cache_memory: 2GiB,"
        + " max_num_batched_tokens: 8192, mamba_cache_mode: align, quantization: compressed-tensors,"
        + " dtype: bfloat16, enforce_eager: true}\n",
    )
    assert found.vllm == VllmOptions(
        0.92, "fp8_e5m2", 2 * GIB, 8192, "align", "compressed-tensors", "bfloat16", enforce_eager=True
    )
    assert (found.task, found.name, found.draft) == (Task.EMBEDDING, "Qwen/Q-3", Draft("mtp", None, 3))
    assert (found.model, found.leave, found.ram) == ("org/model", Leave.SLEEP, 3 * GIB)


def test_a_container(folder):
    found = spec(
        folder,
        CONTAINER
        + "container:\n  image: ghcr.io/x/y:1\n  port: 80\n  runtime: podman\n  command: [serve, --port, 80]\n"
        + "  mounts: [~/m:/m, '/w:/w:rw', {source: /a, target: /b, read_only: false}]\n",
    )
    assert found.container == ContainerOptions(
        image="ghcr.io/x/y:1",
        port=80,
        mounts=(
            Mount("/home/ada/m", "/m"),
            Mount("/w", "/w", read_only=False),
            Mount("/a", "/b", read_only=False),
        ),
        command=("serve", "--port", "80"),
        runtime="podman",
    )


def test_a_command(folder):
    found = spec(
        folder,
        COMMAND
        + "command:\n  cmd: [server, --port, '${PORT}']\n  ready: /up\n  in_flight: /load#running\n  stop_cmd: [bye]\n",
    )
    assert found.command == CommandOptions(("server", "--port", "${PORT}"), "/up", "/load#running", ("bye",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        ("20500MiB", DeclaredMemory((20500 * MIB,))),
        ("[10GiB, 11GiB]\ncards: 2", DeclaredMemory((10 * GIB, 11 * GIB))),
        ("{size: 1GiB, force: true}", DeclaredMemory((GIB,), force=True)),
        ("{size: [1GiB, 2GiB]}\ncards: 2", DeclaredMemory((GIB, 2 * GIB))),
    ],
)
def test_ways_to_declare_memory(folder, text, expected):
    assert spec(folder, f"{LLAMA}vram: {text}\n").vram == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", CardRequest(2)),
        ("[1]", CardRequest(1, ("1",))),
        ("[GPU-1a2b-3c, 0]", CardRequest(2, ("GPU-1a2b-3c", "0"))),
        ("['1', host]", CardRequest(2, ("1", "host"))),
    ],
)
def test_ways_to_ask_for_cards(folder, text, expected):
    assert spec(folder, f"{LLAMA}cards: {text}\n").cards == expected


def test_one_type_for_both_caches(folder):
    assert spec(folder, f"{LLAMA}kv_cache: q8_0\n").kv_cache == KvCache("q8_0", "q8_0")
    assert spec(folder, f"{LLAMA}kv_cache: {{k: q8_0}}\n").kv_cache == KvCache("q8_0", "f16")


@pytest.mark.parametrize(
    ("base", "text", "key", "words", "suggestion"),
    [
        (LLAMA, "contxt: 3", "contxt", "unknown key 'contxt'", "did you mean 'context'?"),
        (LLAMA, "llama: {batchh: 3}", "llama.batchh", "unknown key", "did you mean 'batch'?"),
        (LLAMA, "gpu_layers: 3", "gpu_layers", "has its place under `llama:`", ""),
        (LLAMA, "dtype: x", "dtype", "belongs to `vllm:` of vllm", ""),
        (LLAMA, "vllm: {}", "vllm", "is a key of vllm, and this preset's engine is llama.cpp", ""),
        (VLLM, "mmproj: /x", "mmproj", "is a key of llama.cpp, and this preset's engine is vllm", ""),
        (VLLM, "kv_cache: q8_0", "kv_cache", "is a key of llama.cpp", ""),
        (COMMAND, "cmd: [x]\ncommand: {cmd: ['${PORT}']}", "cmd", "has its place under `command:`", ""),
        (COMMAND, "", "command", "'command' is required", ""),
        (CONTAINER, "container: {}", "container.image", "'image' is required", ""),
        ("engine: llama.cpp\nmodel: /m\n", "", "id", "'id' is required", ""),
        ("id: p\nengine: vllm\n", "", "model", "'model' is required", ""),
        ("id: p\n", "model: /m", "engine", "'engine' is required", ""),
        ("id: p\n", "engine: lama.cpp", "engine", "must be one of", "did you mean 'llama.cpp'?"),
        ("id: p\n", "engine: [x]", "engine", "must be one of", ""),
        ("id: P\n", "engine: vllm\nmodel: x", "id", "is not an id", ""),
        (f"id: {'x' * 64}\n", "engine: vllm\nmodel: x", "id", "is not an id", ""),
        ("id: 5\n", "engine: vllm\nmodel: x", "id", "must be text", 'write it in quotes: "5"'),
        (LLAMA, "context: lots", "context", "must be a whole number, not 'lots'", ""),
        (LLAMA, "context: 0", "context", "greater than or equal to 1", ""),
        (LLAMA, "context: 1.5", "context", "must be a whole number", ""),
        (LLAMA, "slots: true", "slots", "must be a whole number, not True", ""),
        (LLAMA, "port: 70000", "port", "less than or equal to 65535", ""),
        (LLAMA, "vram: 20", "vram", "must be auto, a size", ""),
        (LLAMA, "vram: lots", "vram", "is not a size", ""),
        (LLAMA, "vram: 0MiB", "vram", "more than nothing", "write `vram: auto` to leave it to gpumod"),
        (LLAMA, "vram: [1GiB, 2GiB]", "vram", "has 2 sizes for 1 card", ""),
        (LLAMA, "vram: {forc: true, size: 1GiB}", "vram.forc", "unknown key 'forc'", "did you mean 'force'?"),
        (LLAMA, "vram: {force: true}", "vram.size", "is required", ""),
        (LLAMA, "ram: 2", "ram", "must be a size with a unit", ""),
        (LLAMA, "cards: 0", "cards", "must be 1 to 64 cards", ""),
        (LLAMA, "cards: []", "cards", "must name 1 to 64 cards", ""),
        (LLAMA, "cards: [1, 1]", "cards", "names a card twice", ""),
        (LLAMA, "cards: [gpu0]", "cards", "is not a card", ""),
        (LLAMA, "cards: two", "cards", "must be how many cards", ""),
        (LLAMA, "split: {}", "split", "needs several cards", "set `cards:`, or leave `split:` out"),
        (LLAMA, "cards: 2\nsplit: {ratio: [1]}", "split.ratio", "has 1 entries for 2 cards", ""),
        (LLAMA, "cards: 2\nsplit: {mode: rwo}", "split.mode", "must be one of", "did you mean 'row'?"),
        (LLAMA, "draft: {n_max: 2}", "draft", "needs a model", "write {model: ...}, or {type: mtp} for a built-in MTP head"),
        (LLAMA, "draft: {type: nope}", "draft.type", "must be one of mtp, model", ""),
        (LLAMA, "sampler: {repetition_penalty: 1}", "sampler.repetition_penalty", "unknown", "did you mean 'repeat_penalty'?"),
        (LLAMA, "sampler: {top_p: high}", "sampler.top_p", "must be a number", ""),
        (LLAMA, "sampler: {top_p: 1e999}", "sampler.top_p", "must be a finite number", ""),
        (LLAMA, "startup_timeout: 240", "startup_timeout", "must be a duration with a unit", ""),
        (LLAMA, "startup_timeout: 0s", "startup_timeout", "must be more than 0s", ""),
        (LLAMA, "stop_grace: soon", "stop_grace", "is not a duration", ""),
        (LLAMA, "drain: {then: wait}", "drain.then", "must be one of cut, refuse", ""),
        (LLAMA, "drain: 30s", "drain", "must be a mapping", ""),
        (LLAMA, "leave: slep", "leave", "must be one of stop, sleep, park", "did you mean 'sleep'?"),
        (LLAMA, "restart: {when: always}", "restart.when", "must be one of failure, never", ""),
        (LLAMA, "aliases: [a b]", "aliases.0", "is not a model's name", ""),
        (LLAMA, "served_name: -x", "served_name", "is not a model's name", ""),
        (LLAMA, "args: --jinja", "args", "must be a list", ""),
        (LLAMA, "args: [0.5]", "args.0", "must be text", 'write it in quotes: "0.5"'),
        (LLAMA, 'args: ["a\\0b"]', "args.0", "has a NUL character", ""),
        (LLAMA, "env: {A: true}", "env.A", "must be text", 'write it in quotes: "true"'),
        (LLAMA, "env: {1A: x}", "env.1A", "is not a variable's name", ""),
        (LLAMA, "env: {CUDA_VISIBLE_DEVICES: 0}", "env.CUDA_VISIBLE_DEVICES", "is set by gpumod", "use `cards:`"),
        (LLAMA, "mmproj: mmproj.gguf", "mmproj", "is not an absolute path", None),
        (LLAMA, "draft: {model: d.gguf}", "draft.model", "is not an absolute path", None),
        ("id: p\nengine: vllm\n", "model: ./m", "model", "is not an absolute path", None),
        (VLLM, "binary: --help", "binary", "begins with -", ""),
        (CONTAINER, "container: {image: --privileged}", "container.image", "begins with -", ""),
        (CONTAINER, "container: {image: x, mounts: [m]}", "container.mounts.0", "is not a mount", ""),
        (CONTAINER, "container: {image: x, mounts: ['m:/m']}", "container.mounts.0", "is not an absolute path", None),
        (COMMAND, "command: {cmd: []}", "command.cmd", "at least 1 item", ""),
        (COMMAND, "command: {cmd: [x]}", "command.cmd", "is not told its port", None),
        (COMMAND, "command: {cmd: ['${PORT}'], ready: up}", "command.ready", "the path of a URL", ""),
        (VLLM, "vllm: {gpu_memory_utilization: 92}", "vllm.gpu_memory_utilization", "less than or equal to 1", ""),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place_its_words_and_a_suggestion(folder, base, text, key, words, suggestion):
    path = folder.preset("p", f"{base}{text}\n")
    problem = folder.problem()
    assert (problem.file, problem.key) == (str(path), key)
    assert words in problem.detail
    if suggestion is not None:
        assert problem.suggestion == suggestion
    lines = path.read_text().splitlines()
    top = key.split(".")[0]
    expected = [number for number, line in enumerate(lines, 1) if line.startswith(f"{top}:")]
    assert problem.line == (expected[0] if expected else 1)


def test_a_command_that_knows_its_port_needs_no_reference(folder):
    assert spec(folder, f"{COMMAND}port: 9000\ncommand: {{cmd: [x]}}\n").port == 9000
    assert spec(folder, f"{COMMAND}env: {{PORT: '${{PORT}}'}}\ncommand: {{cmd: [x]}}\n").env


def test_all_mistakes_of_a_file_come_together(folder):
    folder.preset(
        "p", "id: p\nengine: llama.cpp\nmodel: m.gguf\ncontxt: 3\nslots: 0\ncards: 2\nsplit: {ratio: [1]}\n"
    )
    assert [problem.line for problem in folder.catalog().problems] == [3, 4, 5, 7]


def test_nothing_is_said_of_a_key_whose_ground_is_wrong(folder):
    folder.preset("p", f"{LLAMA}cards: two\nsplit: {{ratio: [1, 1]}}\nvram: [1GiB, 1GiB]\n")
    assert folder.problem().key == "cards"


@pytest.mark.parametrize(
    "argument", ["--api-key", "--hf-token=x", "--some-password", "hf_abcdefghijklmnopqrstuvwx"]
)
def test_a_secret_in_the_arguments_is_worth_a_warning(folder, argument):
    folder.preset("p", f"{LLAMA}args: [--jinja, {argument}]\n")
    problem = folder.problem(warning=True)
    assert (problem.line, problem.key, problem.suggestion) == (4, "args.1", "put it into `env:`")
    assert argument not in problem.detail
    assert folder.catalog().preset(PresetId("p"))
    assert folder.catalog().disabled == ()


def test_a_count_of_tokens_is_no_secret(folder):
    spec(
        folder,
        f"{LLAMA}args: [--max-tokens, 5, --n-token, 3]\nenv: {{HF_TOKEN: hf_abcdefghijklmnopqrstuvwx}}\n",
    )


def test_a_bad_preset_disables_itself_and_says_why(folder):
    folder.preset("a", "id: a\nengine: vllm\nmodel: org/m\n")
    bad = folder.preset("b", "id: b\nengine: vllm\nmodel: org/m\nslotz: 1\n")
    catalog = folder.catalog()
    assert [one.preset for one in catalog.presets] == ["a"]
    assert catalog.disabled == (("b", f"{bad}:4: slotz: unknown key 'slotz' (did you mean 'slots'?)"),)


def test_an_unreadable_file_disables_the_id_of_its_name(folder):
    path = folder.preset("broken", "id: [")
    catalog = folder.catalog()
    assert [name for name, _ in catalog.disabled] == ["broken"]
    assert catalog.problems[0].file == str(path)
    folder.preset("other", "id: broken\nengine: vllm\nmodel: x\n")
    catalog = folder.catalog()
    assert catalog.disabled == ()
    assert len(catalog.problems) == 1


def test_two_presets_with_one_id_are_both_disabled(folder):
    first = folder.preset("a", "id: x\nengine: vllm\nmodel: m\n")
    second = folder.preset("deep/b", "engine: vllm\nid: x\nmodel: m\n")
    catalog = folder.catalog()
    assert catalog.presets == ()
    assert [(one.file, one.line, one.key) for one in catalog.problems] == [
        (str(first), 1, "id"),
        (str(second), 2, "id"),
    ]
    assert str(first) in catalog.problems[1].detail


def test_an_empty_file_says_nothing(folder):
    folder.preset("p", "# later\n")
    assert "says nothing" in folder.problem().detail


def test_a_file_that_is_no_mapping(folder):
    folder.preset("p", "- a\n")
    assert "must be a mapping" in folder.problem().detail


def test_only_yaml_files_are_read(folder):
    folder.write("presets/notes.txt", "not: [yaml")
    folder.write("presets/.hidden.yaml", "not: [yaml")
    folder.write("presets/.git/x.yaml", "not: [yaml")
    folder.write("presets/ok.yml", VLLM)
    catalog = folder.catalog()
    assert (len(catalog.presets), catalog.problems) == (1, ())


def test_a_variable_without_a_value_is_said_once(folder):
    folder.preset("p", "id: p\nengine: llama.cpp\nmodel: ${MODELZ}/m.gguf\n")
    problem = folder.problem()
    assert (problem.line, problem.key) == (3, "model")
    assert problem.detail == "${MODELZ} has no value"


def test_linked_folders_are_read_once(folder):
    folder.write("elsewhere/p.yaml", VLLM)
    (folder.path / "presets").mkdir()
    (folder.path / "presets/one").symlink_to(folder.path / "elsewhere")
    (folder.path / "presets/two").symlink_to(folder.path / "elsewhere")
    (folder.path / "elsewhere/up").symlink_to(folder.path / "presets")
    catalog = folder.catalog()
    assert (len(catalog.presets), catalog.problems) == (1, ())
