"""What the daemon tells its service manager."""

import resource

import pytest

from gpumod.core.errors import ConfigError
from gpumod.core.spec import Catalog
from gpumod.daemon import Daemon, allow_descriptors


class Reloading:
    """Stands for the supervisor and for the notifier."""

    def __init__(self, error):
        self._error = error
        self.sent = []

    async def reload(self):
        if self._error is not None:
            raise self._error
        return Catalog()

    def send(self, *lines):
        self.sent.append(lines[0])


@pytest.mark.parametrize("error", [None, ConfigError("no"), FileNotFoundError("gone, in an upgrade")])
async def test_a_reload_ends_for_the_manager_however_it_ends(error, caplog, monkeypatch):
    stub = Reloading(error)
    daemon = object.__new__(Daemon)
    for part in ("_supervisor", "_notifier"):
        monkeypatch.setattr(daemon, part, stub, raising=False)
    await daemon._reload()
    assert stub.sent == ["RELOADING=1", "READY=1"]
    assert ("could not be read again" in caplog.text) is (error is not None)


def test_the_daemon_may_open_more_files_than_the_usual_thousand():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        allow_descriptors()
        raised, unchanged = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised > 1024
    assert unchanged == hard
