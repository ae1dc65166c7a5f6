"""The published schemas and the loader judge structure alike."""
# ruff: noqa: E501 - tables of cases

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gpumod.config import json_schema
from gpumod.config.documents import parse_document
from gpumod.config.mode_file import ModeFile
from gpumod.config.preset_file import AnyPreset
from gpumod.config.settings_file import SettingsFile, validated
from gpumod.config.sources import shipped_files

SCHEMAS = {kind: jsonschema_rs.Draft202012Validator(schema) for kind, schema in json_schema().items()}
LOADERS: dict[str, Callable[[Any], object]] = {
    "preset": TypeAdapter[Any](AnyPreset).validate_python,
    "mode": ModeFile.model_validate,
    "config": lambda value: validated(value, {}),
}

LLAMA = {"id": "p", "engine": "llama.cpp", "model": "/m"}
COMMAND = {"id": "p", "engine": "command"}
CONTAINER = {"id": "p", "engine": "container"}


def verdicts(kind, value):
    try:
        LOADERS[kind](value)
        loader = True
    except ValidationError:
        loader = False
    return SCHEMAS[kind].is_valid(value), loader


NO_SIZES: list[Any] = ["lots", 3, [], [3], {"size": []}, {"force": True}, {"size": "1MiB", "x": 1}]
NO_CARDS: list[Any] = [0, 65, [], ["x"], [1, 1], "2", True, 1.5, [-1], [None]]
SOME_ARGS: list[Any] = [[], ["a", 3]]
NO_ARGS: list[Any] = ["a", [1.5], [None], [True], [[]]]

PRESETS: list[tuple[bool, dict[str, Any]]] = [
    (True, LLAMA),
    (False, {}),
    (False, {**LLAMA, "engine": "vlm"}),
    (False, {**LLAMA, "nope": 1}),
    (False, {**LLAMA, "vllm": {}}),
    (True, {**LLAMA, "llama": {"batch": 3}}),
    (False, {**LLAMA, "llama": {"batch": "3"}}),
    *((True, {**LLAMA, key: None}) for key in ("vram", "cards", "draft", "args", "split", "drain", "port")),
    *((True, {**LLAMA, "vram": one}) for one in ("auto", "1GiB", "1.5 gb", ["1GiB"], {"size": "1MiB", "force": True})),
    *((False, {**LLAMA, "vram": one}) for one in NO_SIZES),
    *((True, {**LLAMA, "cards": one}) for one in (1, 64, [0], ["GPU-12ab"], ["host", 3])),
    *((False, {**LLAMA, "cards": one}) for one in NO_CARDS),
    *((True, {**LLAMA, "startup_timeout": one}) for one in ("1s", "1.5h", " 3 min ")),
    *((False, {**LLAMA, "startup_timeout": one}) for one in ("1", 1, "1 y", "", "1S")),
    *((True, {**LLAMA, "args": one}) for one in SOME_ARGS),
    *((False, {**LLAMA, "args": one}) for one in NO_ARGS),
    (True, {**LLAMA, "env": {"A_1": 3}}),
    (False, {**LLAMA, "env": {"1A": "x"}}),
    (True, {**LLAMA, "kv_cache": "q8_0"}),
    (True, {**LLAMA, "kv_cache": {"k": "q8_0"}}),
    (False, {**LLAMA, "kv_cache": {"x": "q8_0"}}),
    (False, {**LLAMA, "kv_cache": "q 8"}),
    (True, {**LLAMA, "context": 4.0}),
    (False, {**LLAMA, "context": 4.5}),
    (False, {**LLAMA, "context": 0}),
    (False, {**LLAMA, "port": 65536}),
    (False, {**LLAMA, "draft": {"type": "mtp", "n_max": 65}}),
    (True, {**LLAMA, "idle": "30m"}),
    (True, {**LLAMA, "idle": {"after": "30m", "then": "stop"}}),
    (False, {**LLAMA, "idle": {"after": "30m", "then": "blank"}}),
    (True, {**LLAMA, "requests": {"set": {"a": {"b": [1, None]}}, "strip": ["c"]}}),
    (False, {**LLAMA, "requests": {"strip": ["a b"]}}),
    (False, {**LLAMA, "upstream_key_file": "/k"}),
    (False, {**LLAMA, "context": True}),
    (True, {**LLAMA, "sampler": {"top_k": 3, "top_p": 1}}),
    (False, {**LLAMA, "sampler": {"top_k": 3.5}}),
    (False, {**LLAMA, "leave": "nap"}),
    (False, {**LLAMA, "draft": {"type": "x"}}),
    (False, {**LLAMA, "model": "-x"}),
    (False, {**LLAMA, "model": ""}),
    (False, {**LLAMA, "id": "A"}),
    (True, {"id": "p", "engine": "vllm", "model": "a/b", "vllm": {"gpu_memory_utilization": 1}}),
    (False, {"id": "p", "engine": "vllm", "model": "a/b", "vllm": {"gpu_memory_utilization": 0}}),
    (True, {**CONTAINER, "container": {"image": "x", "mounts": ["/a:/b", {"source": "/a", "target": "/b"}]}}),
    (False, {**CONTAINER, "container": {"image": "x", "mounts": ["/a"]}}),
    (False, {**CONTAINER, "container": {"image": "x", "mounts": ["/a:/b:rx"]}}),
    (False, {**CONTAINER, "container": {"image": "x", "mounts": ["/a:b"]}}),
    (False, {**CONTAINER, "container": {}}),
    (True, {**COMMAND, "command": {"cmd": ["x"]}}),
    (False, {**COMMAND, "command": {"cmd": []}}),
    (False, {**COMMAND, "command": {"cmd": ["x"], "ready": "x"}}),
]  # fmt: skip

MODES: list[tuple[bool, dict[str, Any]]] = [
    (True, {"id": "m", "services": []}),
    (
        True,
        {"id": "m", "services": ["a", {"id": "b", "preset": "c", "cards": [1], "container": {"port": 3}}]},
    ),
    (
        True,
        {"id": "m", "services": ["a"], "routes": {"default": "a"}, "on_failure": "keep", "description": "x"},
    ),
    (False, {"id": "m"}),
    (False, {"id": "m", "services": "a"}),
    (False, {"id": "m", "services": [{"preset": "a"}]}),
    (False, {"id": "m", "services": [{"id": "a", "engine": "vllm"}]}),
    (False, {"id": "m", "services": [{"id": "a", "nope": 1}]}),
    (False, {"id": "m", "services": [{"id": "a", "context": "x"}]}),
    (False, {"id": "m", "services": [3]}),
    (False, {"id": "m", "services": ["A"]}),
    (False, {"id": "m", "services": [], "routes": {"a b": "x"}}),
    (True, {"id": "m", "services": ["a"], "routes": {"fast": {"service": "a", "set": {"n": 1}}}}),
    (False, {"id": "m", "services": ["a"], "routes": {"fast": {"set": {"n": 1}}}}),
    (True, {"id": "m", "services": ["a"], "on_demand": "auto", "idle": {"after": "2h", "then": "blank"}}),
    (False, {"id": "m", "services": ["a"], "on_demand": "always"}),
    (False, {"id": "m", "services": ["a"], "idle": {"after": "2h", "then": "sleep"}}),
]

CONFIGS: list[tuple[bool, dict[str, Any]]] = [
    (True, {}),
    (True, {"gateway": {"on_demand": "never", "queue": 0, "wait": "10m", "body_limit": "64MiB"}}),
    (False, {"gateway": {"queue": -1}}),
    (
        True,
        {
            "listen": "127.0.0.1:1",
            "headroom": {"card": "1GiB"},
            "bounds": {"barrier": "1s", "hung_probes": 2},
        },
    ),
    (True, {"listen": ["[::1]:1"], "engines": {"llama.cpp": {"binary": "x"}}, "vars": {"A": 3}}),
    (True, {"keys": [{"name": "a", "key_file": "k", "scopes": ["infer"]}]}),
    (False, {"keys": [{"name": "a", "key_file": "k", "scopes": []}]}),
    (False, {"keys": [{"name": "a", "hash": "k", "scopes": ["infer"]}]}),
    (False, {"listen": 3}),
    (False, {"listen": "x"}),
    (False, {"bounds": {"nope": "1s"}}),
    (False, {"bounds": {"barrier": 1}}),
    (False, {"engines": {"llama_cpp": {}}}),
    (False, {"vars": {"1": "x"}}),
    (False, {"nope": 1}),
]


@pytest.mark.parametrize(
    ("kind", "sound", "value"),
    [
        (kind, sound, value)
        for kind, cases in (("preset", PRESETS), ("mode", MODES), ("config", CONFIGS))
        for sound, value in cases
    ],
)
def test_schema_and_loader_agree(kind, sound, value):
    assert verdicts(kind, value) == (sound, sound)


def test_shipped_files_fit_their_schemas():
    for kind, files in (("preset", shipped_files("presets")), ("mode", shipped_files("modes"))):
        for path in files.values():
            value = parse_document(path.read_text(), str(path)).value
            assert verdicts(kind, value) == (True, True)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 100),
    # Not 1.0: to a schema it is an integer like 1, but as an argument it is other text.
    st.sampled_from([0.5, 1.5]),
    st.sampled_from(["auto", "1GiB", "30s", "stop", "cut", "q8_0", "mtp", "/x", "a", "GPU-1", "default", ""]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["k", "v", "type", "size", "force", "then", "deadline", "mode", "batch", "A"]), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
KEYS = sorted(
    {key for _, value in PRESETS for key in value} | {"mmproj", "slots", "ram", "restart", "task", "port"}
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
    st.sampled_from(["llama.cpp", "vllm", "container", "command"]),
)
def test_schema_and_loader_agree_on_presets_of_any_kind(keys, engine):
    value = {"id": "p", "model": "/m", **keys, "engine": engine}
    schema, loader = verdicts("preset", value)
    assert schema == loader, value


def test_the_schemas_are_plain_json_and_name_every_setting():
    schemas = json.loads(json.dumps(json_schema()))
    assert set(schemas) == {"preset", "mode", "config"}
    assert set(schemas["config"]["properties"]) == set(SettingsFile.model_fields)
