import pytest

from tests.client.served import served


@pytest.fixture
def short_path(tmp_path_factory):
    """A folder whose sockets fit into 108 characters."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def daemon(short_path):
    with served(short_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in ("GPUMOD_HOST", "GPUMOD_SOCKET", "GPUMOD_KEY", "GPUMOD_KEY_FILE", "GPUMOD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
