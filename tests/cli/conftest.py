import contextlib
import json
from dataclasses import dataclass

import pytest

from gpumod.cli.main import main
from gpumod.client import Client
from tests.client.conftest import _own_environment, daemon, short_path  # noqa: F401
from tests.client.served import served


@dataclass
class Answered:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def ctl(capsys):
    """Runs gpumodctl in this process."""

    def run(*args):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answered(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def box(daemon, monkeypatch):  # noqa: F811
    """A daemon that `ctl` finds."""
    monkeypatch.setenv("GPUMOD_SOCKET", daemon.socket)
    return daemon


@pytest.fixture(scope="module")
def _shared_daemon(tmp_path_factory):
    with served(tmp_path_factory.mktemp("d")) as running:
        running.switch("chat")
        yield running


@pytest.fixture
def quiet_box(_shared_daemon, monkeypatch):
    """A daemon in mode chat that the tests of a module share: nobody may change it."""
    monkeypatch.setenv("GPUMOD_SOCKET", _shared_daemon.socket)
    begun = _shared_daemon.box.begun
    yield _shared_daemon
    assert _shared_daemon.box.begun == begun


@pytest.fixture
def held_box(box):
    """The same, with switches that stand still until they are told to go on."""
    box.hold()
    yield box
    with contextlib.suppress(RuntimeError):  # a test may have ended it already
        box.go_on()


@pytest.fixture
def slow_box(short_path, monkeypatch):  # noqa: F811
    """The same, with switches that take a second or two."""
    with served(short_path, step_seconds=0.15) as running:
        monkeypatch.setenv("GPUMOD_SOCKET", running.socket)
        yield running


@pytest.fixture
def before(monkeypatch):
    """Does something once, before the next call of a method of the client."""

    def do(method, act):
        real = getattr(Client, method)

        def first(*args, **keys):
            monkeypatch.setattr(Client, method, real)
            act()
            return real(*args, **keys)

        monkeypatch.setattr(Client, method, first)

    return do
