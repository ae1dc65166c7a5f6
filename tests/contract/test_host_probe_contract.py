"""What every `HostProbe` answers: the fake that ships, and this machine's."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from gpumod.core.bounds import Bounds
from gpumod.core.service import FileIdentity
from gpumod.hardware.probe import LocalHostProbe
from gpumod.testing.probe import FakeHostProbe


class FakeRig:
    def __init__(self, folder) -> None:
        self.probe = FakeHostProbe()
        self.folder = folder
        self.me = 4711
        self.probe.pss = {self.me: 10_000_000}

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        self.probe.listen(18000, self.me, command="python", user="somebody")
        yield 18000
        self.probe.hang_up(18000)

    def write(self, name: str, content: bytes) -> str:
        path = str(self.folder / name)
        self.probe.add_file(path, len(content), modified_ns=hash(content))
        return path

    def missing(self) -> str:
        path = str(self.folder / "missing.gguf")
        self.probe.remove_file(path)
        return path

    async def close(self) -> None:
        pass


class LocalRig:
    def __init__(self, folder) -> None:
        self.probe = LocalHostProbe()
        self.folder = folder
        self.me = os.getpid()

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def missing(self) -> str:
        return str(self.folder / "missing.gguf")

    async def close(self) -> None:
        await self.probe.close()


@pytest.fixture(params=[FakeRig, LocalRig])
async def rig(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[FakeRig | LocalRig]:
    rig = request.param(tmp_path)
    yield rig
    await rig.close()


async def test_a_listener_is_named(rig):
    with rig.listening() as port:
        holder = await rig.probe.port_holder(port)
        assert (holder.port, holder.pid) == (port, rig.me)
        assert "python" in holder.command
        assert holder.user
        assert holder.service is None
    assert await rig.probe.port_holder(port) is None


async def test_whether_one_of_some_processes_listens(rig):
    with rig.listening() as port:
        assert await rig.probe.listens(port, [1, rig.me]) is True
        assert await rig.probe.listens(port, []) is False
    assert await rig.probe.listens(port, [rig.me]) is False


async def test_a_file_is_another_one_when_its_content_changes(rig):
    path = rig.write("model.gguf", b"one")
    before = await rig.probe.identify(path)
    assert isinstance(before, FileIdentity)
    assert (before.path, before.size) == (path, 3)
    assert await rig.probe.identify(path) == before
    rig.write("model.gguf", b"three")
    assert await rig.probe.identify(path) != before


async def test_a_file_that_is_not_there_is_a_reason(rig):
    assert await rig.probe.identify(rig.missing()) == "there is no such file"


async def test_memory_of_processes_together_counts_the_gone_as_nothing(rig):
    assert await rig.probe.anonymous_pss([rig.me, 2**22 + 5]) > 1_000_000
    assert await rig.probe.anonymous_pss([2**22 + 5]) == 0
    assert await rig.probe.anonymous_pss([]) == 0


# --- this machine alone ----------------------------------------------------------------------------


@pytest.fixture
async def probe() -> AsyncIterator[LocalHostProbe]:
    probe = LocalHostProbe()
    yield probe
    await probe.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1"])
async def test_loopback_and_wildcard_listeners_of_both_families_are_seen(probe, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        assert family is socket.AF_INET6, "this machine has no IPv6"
        return
    with server:
        holder = await probe.port_holder(server.getsockname()[1])
        assert holder is not None
        assert holder.pid == os.getpid()


async def test_a_socket_that_is_bound_but_does_not_listen_holds_nothing(probe):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await probe.port_holder(bound.getsockname()[1]) is None


LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening_child() -> Iterator[tuple[int, int]]:
    """(pid, port) of a process that listens."""
    child = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
    finally:
        child.communicate(timeout=60)


async def test_the_listener_of_a_child_is_the_child_s(probe, listening_child):
    pid, port = listening_child
    assert await probe.listens(port, [os.getpid()]) is False
    assert await probe.listens(port, [os.getpid(), pid]) is True
    holder = await probe.port_holder(port)
    assert holder is not None
    assert holder.pid == pid


async def test_a_file_system_that_hangs_is_a_reason_and_ports_are_answered_meanwhile(monkeypatch):
    probe = LocalHostProbe(Bounds(probe=0.1))
    free = threading.Event()
    monkeypatch.setattr(os, "stat", lambda path: free.wait() and None)
    try:
        reason = await probe.identify("/mnt/nfs/model.gguf")
        assert isinstance(reason, str)
        assert "does not answer" in reason
        assert await probe.port_holder(1) is None
    finally:
        free.set()
        monkeypatch.undo()
        await probe.close()


async def test_files_that_cannot_be_used_say_why(probe, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    answers = [await probe.identify(str(tmp_path / name)) for name in ("link", "fifo", "file/below")]
    assert answers == [
        f"it is a symbolic link to {tmp_path}/nowhere, which is not there",
        "it is neither a file nor a directory",
        "a part of the path is not a directory",
    ]


async def test_a_directory_is_a_model_too(probe, tmp_path):
    found = await probe.identify(str(tmp_path))
    assert isinstance(found, FileIdentity)
    assert found.path == str(tmp_path)
