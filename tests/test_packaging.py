"""The wheel, the locks and the import contracts."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import gpumod
from gpumod import resources
from gpumod.testing.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("presets", "modes", "migrations", "systemd")
LOCKS = (ROOT / ".ci/requirements.lock", ROOT / ".ci/requirements-dev.lock")


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def locked(path: Path) -> dict[str, str]:
    """Requirement -> everything that belongs to its entry."""
    entries = re.split(r"(?m)^(?=[a-z0-9])", path.read_text())
    assert not entries[0].strip()
    return {entry.partition(" ")[0]: entry for entry in entries[1:]}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation and an index, as on a machine without a network.
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        out,
        ROOT,
    )
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_the_package_and_the_shipped_files(wheel):
    assert wheel.name == f"gpumod-{gpumod.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert "gpumod/py.typed" in names
    expected = {
        f"gpumod/_shipped/{file.relative_to(ROOT)}"
        for name in SHIPPED
        for file in (ROOT / name).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names if name.startswith("gpumod/_shipped/")} == expected
    top = {name.partition("/")[0] for name in names}
    assert top == {"gpumod", f"gpumod-{gpumod.__version__}.dist-info"}


def test_installed_wheel_finds_its_shipped_files(wheel, tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    probe = (
        "import sys, gpumod, gpumod.resources as r\n"
        "print(gpumod.__file__)\n"
        "for name in sys.argv[1:]: print(r.shipped(name))"
    )
    present = [name for name in SHIPPED if (ROOT / name).is_dir()]
    package, *found = run(python, "-I", "-c", probe, *present).split()
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    assert Path(package) == site / "gpumod/__init__.py"
    assert found == [str(site / "gpumod/_shipped" / name) for name in present]
    assert {script.name for script in (tmp_path / "venv/bin").glob("gpumod*")} == {"gpumodctl", "gpumodd"}


def test_the_daemon_runs_from_the_wheel_alone(wheel, tmp_path):
    """Migrations, presets and modes come out of the wheel: the checkout is not in sight."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    # The dependencies of this environment, without the line that makes this checkout importable.
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("gpumod", "_gpumod", "__editable__")) and entry.suffix != ".pth":
            target = site / entry.name
            if not target.exists():
                target.symlink_to(entry)
    (tmp_path / "config").mkdir()
    with tempfile.TemporaryDirectory(prefix="gm-") as short:
        address = f"{short}/s"
        (tmp_path / "config/config.yaml").write_text(
            f"cards: host\nrunner: process\nlisten: 127.0.0.1:{free_port()}\nsocket: {address}\n"
            f"state_dir: {tmp_path}/state\nmodes: [code]\nvars: {{MODELS: /nowhere}}\n"
        )
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "GPUMOD_SOCKET": address}
        daemon = subprocess.Popen(
            [tmp_path / "venv/bin/gpumodd", "--config", tmp_path / "config"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            status = _wait_for_status(tmp_path / "venv/bin/gpumodctl", environment, daemon)
            assert (status["mode"], status["state"]) == ("blank", "settled")
            modes = run(tmp_path / "venv/bin/gpumodctl", "mode", "list", **environment)
            assert "code" in modes
        finally:
            daemon.terminate()
            assert daemon.wait(60) == 0


def _wait_for_status(ctl, environment, daemon):
    for _ in range(400):
        assert daemon.poll() is None, "the daemon ended"
        done = subprocess.run(
            [ctl, "status", "--json"], env=environment, capture_output=True, timeout=60, check=False
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        time.sleep(0.1)
    raise AssertionError("the daemon does not answer")


def test_source_checkout_finds_its_shipped_files(tmp_path, monkeypatch):
    (tmp_path / "presets").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "gpumod")
    with pytest.raises(FileNotFoundError, match="shipped presets are missing"):
        resources.shipped("presets")  # somebody else's directory of that name
    (tmp_path / "pyproject.toml").touch()
    assert resources.shipped("presets") == tmp_path / "presets"
    (tmp_path / "gpumod/_shipped/presets").mkdir(parents=True)
    assert resources.shipped("presets") == tmp_path / "gpumod/_shipped/presets"
    with pytest.raises(FileNotFoundError, match="shipped modes are missing"):
        resources.shipped("modes")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_is_hashed_and_names_no_host(path):
    for requirement, entry in locked(path).items():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][^ ]*", requirement)
        assert "--hash=sha256:" in entry, requirement
    text = path.read_text()
    # An address, an absolute path, or an option other than a hash would bind the lock to a place.
    assert "://" not in text
    assert not re.search(r"(?m)(^|\s)/", text)
    assert set(re.findall(r"(?m)(?:^|\s)(--[a-z-]+)", text)) == {"--hash"}


def test_development_lock_holds_the_runtime_lock():
    runtime, development = map(locked, LOCKS)
    assert runtime.keys() <= development.keys()


def test_locks_hold_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["embedded"],
        *project["dependency-groups"]["build"],
    ]
    development = [line for line in project["dependency-groups"]["dev"] if isinstance(line, str)]
    for path, requirements in zip(LOCKS, (wanted, wanted + development), strict=True):
        pinned = {requirement.partition("==")[0] for requirement in locked(path)}
        named = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace(".", "-") for line in requirements}
        assert named <= pinned


def test_import_contracts_hold():
    run(Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo")
