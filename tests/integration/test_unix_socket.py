"""The daemon's Unix socket: made where nobody answers, and removed only while it is its own."""

import socket

import pytest

from gpumod.core.errors import GpumodError
from gpumod.serving import _unix, _unlink_own


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the whole path may be longer than an address can be
    return tmp_path.relative_to(tmp_path) / "s"


def test_a_socket_that_a_killed_daemon_left_is_taken_over(path):
    _unix(path).close()
    with _unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("backlog", [128, 0])
def test_the_socket_of_another_daemon_is_left_alone(path, backlog):
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(backlog)
        client.connect(str(path))
        before = path.stat().st_ino
        with pytest.raises(
            GpumodError, match=r"another daemon answers at s: stop it, or choose another `socket`"
        ):
            _unix(path)
        assert path.stat().st_ino == before


def test_only_the_own_file_is_removed(path):
    with _unix(path):
        inode = path.stat().st_ino
        _unlink_own(path, inode + 1)
        assert path.exists()
        _unlink_own(path, inode)
        assert not path.exists()
        _unlink_own(path, inode)


def test_what_is_no_socket_is_left_alone(path):
    path.write_text("somebody's")
    with pytest.raises(GpumodError, match="is not a socket"):
        _unix(path)
    assert path.read_text() == "somebody's"
