"""Whatever is in the files: a catalog and problems, never anything else."""
# ruff: noqa: E501 - tables of cases

import contextlib

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gpumod.config import describe, load_catalog, load_settings
from gpumod.core.errors import ConfigError
from tests.tries import tries

WORDS = [
    "id", "engine", "model", "vllm", "llama.cpp", "command", "container", "cmd", "services", "preset", "routes",
    "a", "b", "default", "cards", "vram", "auto", "1GiB", "30s", "aliases", "depends_on", "args", "env", "${X}",
    "draft", "type", "mtp", "split", "ratio", "sampler", "drain", "restart", "port", "listen", "vars", "keys",
    "~/x", "blank", "boot", "bounds", "headroom", "image", "mounts", "/a:/b", "\x00",
]  # fmt: skip
word = st.sampled_from(WORDS)
value = st.recursive(
    st.one_of(word, st.none(), st.booleans(), st.integers(-1, 70000), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(word, inner, max_size=5)),
    max_leaves=15,
)  # fmt: skip
preset = st.dictionaries(word, value, max_size=6).map(lambda keys: {"id": "a", "model": "/m", **keys})
mode = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["m", "n", "blank"]),
        "services": st.one_of(value, st.lists(st.one_of(word, preset))),
    },
    optional={"routes": value, "on_failure": value},
)
syntax = st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@?, \n\\.${}X"), max_size=50)


def yaml(tmp, data):
    with (tmp / "out").open("w") as stream:
        YAML(typ="safe", pure=True).dump(data, stream)
    return (tmp / "out").read_text()


@pytest.fixture
def places(tmp_path):
    for name in ("presets", "modes"):
        (tmp_path / name).mkdir()
    return tmp_path


def check(places):
    for problem in load_catalog(load_settings(places, {"HOME": "/h"})).problems:
        assert problem.file
        assert describe(problem)


many = tries(40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(first=preset, second=st.one_of(preset, value), third=mode)
def test_any_structure(places, first, second, third):
    sound = {"id": "b", "engine": "vllm", "model": "x"}
    for name, data in (("presets/a", first), ("presets/x", second), ("presets/b", sound), ("modes/m", third)):
        (places / f"{name}.yaml").write_text(yaml(places, data))
    check(places)


@many
@given(text=syntax)
def test_any_text(places, text):
    (places / "presets/a.yaml").write_text(f"id: a\nengine: vllm\nmodel: {text}")
    (places / "modes/m.yaml").write_text(f"id: m\nservices: {text}")
    (places / "modes/n.yaml").write_text(text)
    check(places)


@many
@given(content=st.binary(max_size=50))
def test_any_bytes(places, content):
    (places / "presets/a.yaml").write_bytes(content)
    check(places)


@many
@given(data=st.one_of(value, st.dictionaries(word, value, max_size=5)), text=syntax, environment=value)
def test_any_settings(places, data, text, environment):
    (places / "config.yaml").write_text(yaml(places, data))
    env = {
        "HOME": "/h",
        "GPUMOD_LISTEN": text,
        "GPUMOD_HEADROOM__CARD": str(environment),
        "GPUMOD_KEYS": text,
    }
    with contextlib.suppress(ConfigError):
        load_settings(places, env)
