"""From an empty home to an answering model: `init`, `config check`, the daemon, `switch`."""

import json
import os
import subprocess
import sys
import urllib.request

import pytest

from gpumod.testing.gguf import write_gguf
from gpumod.testing.ports import free_port, free_ports

pytest.importorskip("xllamacpp")


@pytest.fixture
def box(make_real_box):
    """A box without any file of the user's; what a test has to have differently is in the environment."""
    box = make_real_box()
    (box.root / "config/config.yaml").unlink()
    for folder in ("presets", "modes"):
        (box.root / "config" / folder).rmdir()
    (box.root / "config").rmdir()
    (box.root / "home").mkdir()
    first = free_ports(21)
    box.environment = {
        "HOME": str(box.root / "home"),
        "PATH": "/usr/bin:/bin",
        "XDG_CACHE_HOME": str(box.root / "cache"),
        "GPUMOD_CARDS": "host",
        "GPUMOD_HOST_LIMIT": "4GiB",
        "GPUMOD_HEADROOM": "{card: 0MiB, host: 64MiB}",
        "GPUMOD_LISTEN": f"127.0.0.1:{free_port()}",
        "GPUMOD_SOCKET": box.socket,
        "GPUMOD_STATE_DIR": str(box.root / "state"),
        "GPUMOD_RUNNER": "process",
        "GPUMOD_PORTS": f"{first}-{first + 20}",
    }
    return box


def _surroundings() -> dict[str, str]:
    """The environment without what belongs to the test run itself."""
    return {name: value for name, value in os.environ.items() if name != "GPUMOD_ALLOWED_SKIPS"}


def ctl(box, *words):
    """Run gpumodctl as a user would; its JSON."""
    command = [
        sys.executable,
        "-m",
        "gpumod.cli.main",
        *words,
        "--config",
        str(box.root / "config"),
        "--json",
    ]
    done = subprocess.run(
        command,
        env={**_surroundings(), **box.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_an_empty_home_answers_after_init_and_one_switch(box):
    models = box.root / "models"
    models.mkdir()
    write_gguf(models / "tiny-chat.gguf")
    (models / "broken.gguf").write_bytes(b"GGUF")

    report = ctl(box, "init", str(models))
    assert [one["preset"] for one in report["models"]] == ["tiny-chat"]
    assert [one["path"] for one in report["skipped"]] == [str(models / "broken.gguf")]
    assert ctl(box, "config", "check")["problems"] == []

    box.start()
    box.wait_until("recovery is done", box.settled)
    assert ctl(box, "init", str(models))["next"][0] == f"gpumodctl preflight {report['mode']}"
    with box.client() as client:
        assert client.version()["config_dir"] == str(box.root / "config")
        client.switch(report["mode"], wait=True)
        (service,) = client.status().services
    assert service.state == "ready"
    port = service.launch.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/props", timeout=60) as answer:
        props = json.load(answer)
    assert props["default_generation_settings"]["n_ctx"] == report["models"][0]["context"]
