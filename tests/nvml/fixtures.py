"""Fixtures of the NVML stand-in. A directory of tests that wants them imports them in its conftest.py."""

import ctypes
from pathlib import Path

import pytest

from tests.nvml import standin


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled stand-in, for LD_LIBRARY_PATH of subprocesses."""
    if not standin.can_build():
        pytest.skip("no gcc to build the NVML stand-in with")
    return standin.build(tmp_path_factory.mktemp("nvml-library"))


@pytest.fixture(scope="session")
def nvml_preloaded(nvml_library: Path) -> Path:
    """The stand-in loaded into this process.

    The binding loads NVML by its soname; a library of that soname that is already loaded is the one it gets,
    whatever is installed on this machine.
    """
    ctypes.CDLL(str(nvml_library / standin.LIBRARY), mode=ctypes.RTLD_GLOBAL)
    return nvml_library


@pytest.fixture
def nvml_standin(nvml_library: Path, tmp_path: Path) -> standin.Standin:
    """Two cards of 24 GiB, for subprocesses: give them `nvml_standin.env`."""
    return standin.Standin(tmp_path / "nvml", nvml_library)


@pytest.fixture
def nvml_here(
    nvml_preloaded: Path, nvml_standin: standin.Standin, monkeypatch: pytest.MonkeyPatch
) -> standin.Standin:
    """The same two cards, also for the NVML binding in this process."""
    monkeypatch.setenv(standin.STATE_VARIABLE, str(nvml_standin.state))
    return nvml_standin
