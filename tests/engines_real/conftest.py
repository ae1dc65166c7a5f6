import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpumod.testing.gguf import TINY, Shape, write_gguf
from gpumod.testing.hf import HfShape, write_hf
from tests.engines.processes import start
from tests.engines_real import builds

__all__ = ["start"]

CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""For a machine without systemd, with a low hard limit of open files and cgroups of both versions."""


@pytest.fixture(scope="session")
def llama_server() -> Path:
    """A real llama-server."""
    try:
        return builds.llama_server()
    except builds.UnavailableError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def vllm_program() -> Path:
    """The real `vllm`, for the CPU."""
    try:
        return builds.vllm()
    except builds.UnavailableError as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def gguf_models(tmp_path_factory) -> Path:
    """tiny.gguf, and slow.gguf that keeps a request in flight."""
    folder: Path = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "tiny.gguf", TINY)
    slow = Shape(layers=2, embedding=1024, feed_forward=4096, heads=16, dtype="f32", context=32768)
    write_gguf(folder / "slow.gguf", slow)
    return folder


@pytest.fixture(scope="session")
def hf_model(tmp_path_factory) -> Path:
    """A folder that vLLM serves; slow enough to keep a request in flight for seconds."""
    return write_hf(tmp_path_factory.mktemp("hf") / "model", HfShape(layers=4, context=8192))


@pytest.fixture(scope="session")
def container_image(tmp_path_factory) -> Iterator[str]:
    """An image of empty directories, on which the host's libraries and programs are mounted."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("image")
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    for name in ("usr", "lib", "lib64", "bin", "engine", "models", "tmp", "proc", "sys", "dev", "etc"):
        (folder / "root" / name).mkdir(parents=True)
    former = os.environ.get("CONTAINERS_CONF")
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    image = f"localhost/gpumod-test:{os.getpid()}"
    try:
        with tempfile.TemporaryFile() as archive:
            subprocess.run(["tar", "-C", str(folder / "root"), "-c", "."], stdout=archive, check=True)
            archive.seek(0)
            made = _podman("import", "-", image, stdin=archive)
        mounts = [word for one in ("/usr", "/lib", "/lib64") for word in ("-v", f"{one}:{one}:ro")]
        tried = made if made.returncode else _podman("run", "--rm", *mounts, image, "/usr/bin/true")
        if tried.returncode:
            pytest.skip(f"podman does not run containers here: {tried.stderr.strip()[-200:]}")
        yield image
        _podman("rmi", "--force", image)
    finally:
        os.environ.pop("CONTAINERS_CONF")
        if former is not None:
            os.environ["CONTAINERS_CONF"] = former


def _podman(*words, stdin=subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["podman", *words], stdin=stdin, capture_output=True, text=True, timeout=120, check=False
    )
