"""`doctor`: each check says what was found, and what to do."""

import socket

import pytest

from gpumod.cli import checks
from gpumod.cli.checks import Verdict


def findings(answer):
    return {one["check"]: one for one in answer["checks"]}


def test_all_is_well_with_a_daemon(ctl, quiet_box, tmp_path, monkeypatch):
    server = tmp_path / "bin/llama-server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\necho 'loaded backend'\necho 'version: 11434 (abc)' >&2\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{server.parent}:/usr/bin:/bin")
    monkeypatch.setenv("GPUMOD_LISTEN", f"['127.0.0.1:{quiet_box.port}']")
    answer = ctl("doctor", "--json")
    found = findings(answer.json)
    assert found["daemon"]["detail"] == f"gpumodd fake at {quiet_box.socket}, settled in mode chat"
    assert found["driver"]["detail"] == "NVIDIA 580.00, 2 cards"
    assert found["port"]["verdict"] == "ok"
    assert {one["check"] for one in answer.json["checks"]} >= {"settings", "files", "state", "llama.cpp"}
    engines = [one["detail"] for one in answer.json["checks"] if one["check"] == "llama.cpp"]
    assert f"{server}, version: 11434 (abc)" in engines


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


def test_no_engine_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(checks, "_embedded", lambda: None)
    (finding,) = checks._engines(None)
    assert finding.verdict is Verdict.BAD


def test_a_disk_that_is_nearly_full(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "_LITTLE", 2**60)
    assert checks._state_directory(tmp_path / "not" / "yet").verdict is Verdict.BAD
