"""config.yaml and the environment as one value, or everything that is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

from gpumod.config import check_files, config_dir, load_settings
from gpumod.config.settings import EnginePrograms, Key, Listen, LogLimits
from gpumod.config.settings_file import Scope
from gpumod.core.errors import ConfigError
from gpumod.core.units import GIB, MIB


def problems(folder, text="", **env):
    """(line, key, detail) of all problems."""
    folder.write("config.yaml", text)
    with pytest.raises(ConfigError) as caught:
        folder.settings(**env)
    listed: Any = caught.value.facts["problems"]
    assert len(caught.value.detail.splitlines()) == len(listed)
    return [(one["line"], one["key"], one["detail"]) for one in listed]


def test_without_a_file_there_are_defaults(folder):
    settings = folder.settings(XDG_RUNTIME_DIR="/run/user/1")
    assert settings.listen == (Listen("127.0.0.1", 7780),)
    assert settings.state_dir == Path("/home/ada/.local/state/gpumod")
    assert settings.socket == Path("/run/user/1/gpumod/gpumod.sock")
    assert (settings.headroom, settings.host_headroom, settings.host_limit) == (512 * MIB, 2 * GIB, None)
    assert (settings.cards, settings.runner, settings.boot, settings.on_exit) == (
        "auto",
        "auto",
        "last",
        "blank",
    )
    assert settings.ports == (18000, 18999)
    assert settings.warnings == ()


def test_systemd_says_where_the_state_is(folder):
    settings = folder.settings(STATE_DIRECTORY="/var/lib/gpumod", RUNTIME_DIRECTORY="/run/gpumod")
    assert (settings.state_dir, settings.runtime_dir) == (Path("/var/lib/gpumod"), Path("/run/gpumod"))


def test_every_setting_is_read(folder):
    (folder.path / "ci.key").write_text("k")
    (folder.path / "ci.key").chmod(0o600)
    folder.write(
        "config.yaml",
        f"""
listen: [127.0.0.1:7000, "[::1]:7000", 10.0.0.1:7001]
socket: ~/run/g.sock
allowed_hosts: [box.lan]
allowed_origins: [https://box.lan]
state_dir: ${{STATE}}/gpumod
runtime_dir: /run/x
cards: host
headroom: {{card: 1GiB, host: 4GiB, cards: {{GPU-1a2b: 256MiB, 1: 128MiB}}}}
host_limit: 3GiB
runner: process
systemd_manager: user
engine_user: engines
ports: 20000-20010
boot: code
on_exit: keep
engines:
  llama.cpp: {{binary: /opt/llama-server}}
  vllm: {{binary: vllm-nightly}}
  container: {{runtime: podman}}
keys:
  - {{name: agent, hash: "sha256:{"a" * 64}", scopes: [infer, read]}}
  - {{name: ci, key_file: ci.key, scopes: [control]}}
log: {{max_size: 8MiB, keep: 1}}
vars: {{STATE: /state, N: 3}}
bounds: {{barrier: 5s, barrier_readings: 5}}
modes: [code]
presets: [embedding-code]
""",
    )
    settings = folder.settings()
    assert settings.listen == (Listen("127.0.0.1", 7000), Listen("::1", 7000), Listen("10.0.0.1", 7001))
    assert settings.socket == Path("/home/ada/run/g.sock")
    assert settings.state_dir == Path("/state/gpumod")
    assert settings.runtime_dir == Path("/run/x")
    assert (settings.allowed_hosts, settings.allowed_origins) == (("box.lan",), ("https://box.lan",))
    assert (settings.cards, settings.host_limit, settings.runner) == ("host", 3 * GIB, "process")
    assert (settings.headroom, settings.host_headroom) == (GIB, 4 * GIB)
    assert settings.headroom_of == {"GPU-1a2b": 256 * MIB, "1": 128 * MIB}
    assert (settings.systemd_manager, settings.engine_user) == ("user", "engines")
    assert (settings.ports, settings.boot, settings.on_exit) == ((20000, 20010), "code", "keep")
    assert settings.engines == EnginePrograms("/opt/llama-server", "vllm-nightly", "podman")
    agent, ci = settings.keys
    assert agent == Key("agent", frozenset({Scope.INFER, Scope.READ}), sha256="a" * 64)
    assert ci == Key("ci", frozenset({Scope.CONTROL}), file=folder.path / "ci.key")
    assert settings.log == LogLimits(8 * MIB, 1)
    assert (settings.bounds.barrier, settings.bounds.barrier_readings, settings.bounds.probe) == (5.0, 5, 2.0)
    assert (settings.modes, settings.presets) == (("code",), ("embedding-code",))
    assert settings.variables.get("N") == "3"
    assert settings.warnings == ()


def test_nvidia_cards_can_be_asked_for_where_none_is_seen(folder):
    folder.write("config.yaml", "cards: nvidia\n")
    assert folder.settings().cards == "nvidia"


def test_the_environment_lies_over_the_file(folder):
    folder.write("config.yaml", "boot: code\nheadroom: {card: 1GiB, host: 4GiB}\nlisten: 127.0.0.1:1234\n")
    settings = folder.settings(
        GPUMOD_BOOT="chat",
        GPUMOD_HEADROOM__CARD="2GiB",
        GPUMOD_LISTEN="[127.0.0.1:7000, '[::1]:7000']",
        GPUMOD_ENGINES__LLAMA_CPP__BINARY="/opt/l",
        GPUMOD_CONFIG="/elsewhere",
    )
    assert (settings.boot, settings.headroom, settings.host_headroom) == ("chat", 2 * GIB, 4 * GIB)
    assert [one.host for one in settings.listen] == ["127.0.0.1", "::1"]
    assert settings.engines.llama_cpp == "/opt/l"


def test_an_ipv6_address_in_the_environment_is_no_yaml_list(folder):
    assert folder.settings(GPUMOD_LISTEN="[::1]:7000").listen == (Listen("::1", 7000),)


def test_a_variable_that_names_no_setting_is_worth_a_warning(folder):
    (warning,) = folder.settings(GPUMOD_BOOTS="chat", GPUMOD_KEY="k", GPUMOD_HOST="box").warnings
    assert (warning.file, warning.key) == ("environment", "GPUMOD_BOOTS")
    assert warning.suggestion == "did you mean 'GPUMOD_BOOT'?"


def test_everything_wrong_is_in_one_answer(folder):
    found = problems(
        folder,
        """vars:
  A: ${NOPE}
lisen: 127.0.0.1:1
listen: 0.0.0.0:7780
headroom: {crad: 1GiB, host: 2}
keys:
- {name: a, scopes: [infer, dance], hash: hunter2}
bounds: {barier: 1s, barrier: 0s}
on_exit: on
state_dir: state
""",
        GPUMOD_RUNNER="docker",
    )
    assert [(line, key) for line, key, _ in found] == [
        (2, "vars.A"),
        (3, "lisen"),
        (5, "headroom.crad"),
        (5, "headroom.host"),
        (7, "keys.0.hash"),
        (7, "keys.0.scopes.1"),
        (8, "bounds.barier"),
        (8, "bounds.barrier"),
        (9, "on_exit"),
        (10, "state_dir"),
        (None, "GPUMOD_RUNNER"),
    ]


def test_what_is_sound_is_judged_although_something_else_is_not(folder):
    found = problems(folder, "boot: 3\nlisten: 0.0.0.0:7780\n")
    assert [key for _, key, _ in found] == ["boot", "listen"]


def test_an_error_says_what_to_do(folder):
    folder.write("config.yaml", "on_exit: kepe\n")
    with pytest.raises(ConfigError) as caught:
        folder.settings()
    assert caught.value.detail == (
        f"{folder.path}/config.yaml:1: on_exit: must be one of blank, keep, not 'kepe' (did you mean 'keep'?)"
    )


def test_no_secret_is_repeated(folder):
    for text in ("[{name: a, hash: hunter2, scopes: [read]}]", "hunter2", "[hunter2]", "{hunter2: x}"):
        folder.write("config.yaml", f"keys: {text}\n")
        with pytest.raises(ConfigError) as caught:
            folder.settings(GPUMOD_LOG="hunter3")
        assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("listen: 0.0.0.0:7780", "listen", "can be reached from other machines, and there are no keys"),
        ("listen: box.lan:7780", "listen", "can be reached from other machines"),
        ("listen: 127.0.0.1", "listen", "write HOST:PORT"),
        ("listen: 127.0.0.1:70000", "listen", "70000 is not a port"),
        ("listen: 127.0.0.1:18005", "listen", "lies in the range for services"),
        ("listen: [127.0.0.1:1, 127.0.0.1:1]", "listen.1", "is there twice"),
        ("ports: 9-3", "ports", "is not a range of ports"),
        ("ports: 18000", "ports", "must be text"),
        ("ports: 1-99999", "ports", "is not a range of ports"),
        ("host_limit: 3", "host_limit", "must be a size with a unit"),
        ("host_limit: 3 apples", "host_limit", "is not a size"),
        ("headroom: {cards: {GPU1: 1GiB}}", "headroom.cards.GPU1", "is not a card"),
        ("keys: [{name: a, scopes: [read]}]", "keys.0", "exactly one of"),
        ("keys: [{name: idle, key_file: ~/key, scopes: [read]}]", "keys.0.name", "the daemon's own name"),
        ("keys: [{name: a, scopes: []}]", "keys.0.scopes", "at least 1 item"),
        ("keys: [{name: a, scopes: [read], key_file: nowhere}]", "keys.0.key_file", "No such file"),
        ("engines: {llamacpp: {}}", "engines.llamacpp", "unknown key"),
        ("engines: {container: {runtime: nerdctl}}", "engines.container.runtime", "podman, docker"),
        ("vars: {1X: a}", "vars.1X", "not a variable's name"),
        ("vars: {PORT: 5}", "vars.PORT", "a service's own"),
        ("keys: hunter2", "keys", "must be a list"),
        ("allowed_origins: [box]", "allowed_origins.0", "write https://HOST"),
        ("socket: relative", "socket", "is not an absolute path"),
        (f"socket: /{'x' * 120}", "socket", "too long for a Unix socket"),
        ("engine_user: Root!", "engine_user", "is not a user's name"),
        ("- a", "", "must be a mapping"),
        ("a: [", "", "is not valid YAML"),
    ],
)
def test_each_mistake_has_its_words(folder, text, key, words):
    ((_, at, detail),) = problems(folder, text)
    assert at == key
    assert words in detail


def test_a_key_others_can_read_is_worth_a_warning(folder):
    (folder.path / "k").write_text("secret")
    (folder.path / "k").chmod(0o644)
    folder.write("config.yaml", "keys:\n- {name: a, scopes: [read], key_file: k}\n")
    (warning,) = folder.settings().warnings
    assert (warning.line, warning.key) == (2, "keys.0.key_file")
    assert warning.suggestion.startswith("chmod 600")


def test_the_folder_is_looked_for_in_order(tmp_path):
    chosen, by_env, home = tmp_path / "chosen", tmp_path / "env", tmp_path / "home"
    for place in (chosen, by_env, home / ".config/gpumod"):
        place.mkdir(parents=True)
    env = {"GPUMOD_CONFIG": str(by_env), "HOME": str(home)}
    assert config_dir(chosen, env) == chosen
    assert config_dir(None, env) == by_env
    assert config_dir(None, {"HOME": str(home)}) == home / ".config/gpumod"


def test_a_folder_that_was_asked_for_and_is_not_there_is_an_error(tmp_path):
    for chosen, env in ((tmp_path / "no", {}), (None, {"GPUMOD_CONFIG": str(tmp_path / "no")})):
        with pytest.raises(ConfigError, match="not there"):
            load_settings(chosen, env)


def test_no_folder_at_all_is_fine(tmp_path):
    if Path("/etc/gpumod").exists():
        pytest.skip("this machine has /etc/gpumod")
    assert load_settings(None, {"HOME": str(tmp_path)}).config_dir == tmp_path / ".config/gpumod"


def test_an_unreadable_file_prevents_the_start(folder):
    (folder.path / "config.yaml").mkdir()
    with pytest.raises(ConfigError, match="not a regular file"):
        folder.settings()


def test_all_files_are_checked_in_one_go(folder):
    folder.write("config.yaml", "vars: {MODELS: /m}\nonn_exit: keep\n")
    folder.preset("p", "id: p\nengine: llama.cpp\nmodel: ${MODELS}/m.gguf\nslotz: 1\n")
    settings, catalog, found = check_files(folder.path, {"GPUMOD_XYZ": "1"})
    assert settings is not None
    assert [name for name, _ in catalog.disabled] == ["p"]
    assert [(one.key, one.warning) for one in found] == [
        ("onn_exit", False),
        ("slotz", False),
        ("GPUMOD_XYZ", True),
    ]


def test_presets_cannot_be_judged_without_a_readable_config(folder):
    folder.write("config.yaml", "a: [")
    folder.preset("p", "id: p\nengine: llama.cpp\nmodel: ${MODELS}/m.gguf\n")
    settings, _, found = check_files(folder.path, {})
    assert settings is None
    assert len(found) == 1
