"""`doctor`: each check says what was found, and what to do."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from gpumod.cli import checks
from gpumod.cli.checks import Finding, Verdict
from gpumod.config.settings import EnginePrograms

SERVER = """#!/bin/sh
case "$1" in
--version) echo 'loaded backend'; echo "version: 11434 (${CUDA_VISIBLE_DEVICES-every card is seen})" >&2 ;;
--help) echo '--port N'; echo '--ctx-size N'; echo '--alias NAME' ;;
esac
"""
BROKEN = (
    "#!/bin/sh\necho starting >&2\necho 'libcudart.so.12: cannot open shared object file' >&2\nexit 127\n"
)


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def engines_of(**chosen):
    """What is said of engines, by the name of the check."""
    settings: Any = SimpleNamespace(engines=EnginePrograms(**chosen))
    found: dict[str, list[Finding]] = {}
    for one in checks._engines(settings):
        found.setdefault(one.check, []).append(one)
    return found


@pytest.fixture
def no_engines(monkeypatch, tmp_path):
    """A box without engines; its PATH is the folder `bin`."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(checks, "_embedded", lambda: None)
    return tmp_path


def findings(answer):
    return {one["check"]: one for one in answer["checks"]}


def test_all_is_well_with_a_daemon(ctl, quiet_box, tmp_path, monkeypatch):
    server = executable(tmp_path / "bin/llama-server", SERVER)
    monkeypatch.setenv("PATH", f"{server.parent}:/usr/bin:/bin")
    monkeypatch.setenv("GPUMOD_LISTEN", f"['127.0.0.1:{quiet_box.port}']")
    answer = ctl("doctor", "--json")
    found = findings(answer.json)
    assert found["daemon"]["detail"] == f"gpumodd fake at {quiet_box.socket}, settled in mode chat"
    assert found["driver"]["detail"] == "NVIDIA 580.00, 2 cards"
    assert found["port"]["verdict"] == "ok"
    assert {one["check"] for one in answer.json["checks"]} >= {"settings", "files", "state", "llama.cpp"}
    engines = [one["detail"] for one in answer.json["checks"] if one["check"] == "llama.cpp"]
    assert f"{server}, version: 11434 ()" in engines


def test_without_a_daemon_it_says_so_and_checks_the_rest(ctl, tmp_path, monkeypatch):
    monkeypatch.setenv("GPUMOD_SOCKET", str(tmp_path / "none"))
    told = ctl("doctor")
    assert told.code == 1
    assert "no daemon answers" in told.out
    assert "files" in told.out
    assert ctl("doctor", "--json").json["ok"] is False


def test_bad_files_are_found(ctl, quiet_box, tmp_path):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/a.yaml").write_text("id: a\nengine: nonsense\n")
    found = findings(ctl("doctor", "--config", tmp_path, "--json").json)
    assert found["files"]["verdict"] == "bad"
    (tmp_path / "config.yaml").write_text("boott: last\n")
    found = findings(ctl("doctor", "--config", tmp_path, "--json").json)
    assert "boott" in found["settings"]["detail"]


def test_without_files_it_says_how_to_get_them(ctl, quiet_box, tmp_path):
    found = findings(ctl("doctor", "--config", tmp_path, "--json").json)
    assert (found["files"]["verdict"], "gpumodctl init" in found["files"]["hint"]) == ("note", True)


def test_a_port_that_somebody_else_has(ctl, tmp_path, monkeypatch):
    monkeypatch.setenv("GPUMOD_SOCKET", str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("GPUMOD_LISTEN", f"['127.0.0.1:{port}']")
        found = findings(ctl("doctor", "--json").json)
    assert found["port"]["verdict"] == "bad"
    assert str(port) in found["port"]["hint"]


@pytest.mark.parametrize(
    ("vendor", "kind", "verdict"), [("0x10de", "0x030000", Verdict.BAD), ("0x8086", "0x030000", Verdict.NOTE)]
)
def test_a_card_without_its_driver(tmp_path, vendor, kind, verdict):
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")
    assert checks._driver_without_daemon(tmp_path / "none", tmp_path).verdict is verdict


def test_a_driver_that_is_loaded(tmp_path):
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15\nGCC version: 12\n")
    assert "570.86.15" in checks._driver_without_daemon(version, tmp_path).detail


def test_no_engine_at_all(no_engines):
    (finding,) = checks._engines(None)
    assert (finding.verdict, finding.detail) == (Verdict.BAD, "none found")


@pytest.mark.parametrize("name", ["llama-server", "~/build/llama-server"])
def test_a_configured_engine_that_does_not_run_is_bad(no_engines, name):
    for place in ("bin", "build"):
        executable(no_engines / place / "llama-server", BROKEN)
    (finding,) = engines_of(llama_cpp=name)["llama.cpp"]
    assert finding.verdict is Verdict.BAD
    assert "libcudart.so.12: cannot open shared object file" in finding.detail


def test_an_engine_in_the_home_is_found_as_the_daemon_finds_it(no_engines):
    server = executable(no_engines / "build/llama-server", SERVER)
    (finding,) = engines_of(llama_cpp="~/build/llama-server")["llama.cpp"]
    assert (finding.verdict, finding.detail) == (Verdict.OK, f"{server}, version: 11434 ()")


@pytest.mark.parametrize(
    ("chosen", "check"),
    [
        ({"llama_cpp": "my-llama-server"}, "llama.cpp"),
        ({"vllm": "my-vllm"}, "vllm"),
        ({"vllm": "~/venv/bin/vllm"}, "vllm"),
        ({"container": "podman"}, "container"),
    ],
)
def test_what_is_configured_and_not_found_is_bad(no_engines, chosen, check):
    found = engines_of(**chosen)
    assert [one.verdict for one in found[check]] == [Verdict.BAD]
    assert [one.detail for one in found["engines"]] == ["none works"]


def test_what_nobody_configured_and_does_not_run_is_told_and_no_fault(no_engines):
    executable(no_engines / "bin/llama-server", BROKEN)
    executable(no_engines / "bin/podman", BROKEN)
    executable(no_engines / "bin/docker", "#!/bin/sh\necho Docker version 1\n")
    found = engines_of()
    assert [one.verdict for one in found["llama.cpp"]] == [Verdict.NOTE]
    assert [one.verdict for one in found["container"]] == [Verdict.NOTE, Verdict.OK]
    assert "cannot open shared object file" in found["container"][0].detail
    assert "engines" not in found
    assert [one.verdict for one in engines_of(container="podman")["container"]] == [Verdict.BAD, Verdict.OK]


def test_vllm_is_not_started_for_its_version(no_engines):
    program = executable(no_engines / "venv/bin/vllm", BROKEN)
    (finding,) = engines_of(vllm=str(program))["vllm"]
    assert finding.verdict is Verdict.OK


def test_a_disk_that_is_nearly_full(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "_LITTLE", 2**60)
    assert checks._state_directory(tmp_path / "not" / "yet").verdict is Verdict.BAD
