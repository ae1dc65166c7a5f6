"""Sockets that a service manager keeps, with a stand-in for the manager."""

import os
import socket

import pytest

from gpumod.runners.activation import address_of, inherited_sockets, keep_by_manager

FIRST = 180
"""Numbers of descriptors that nothing else has here."""


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture
def handed():
    """Hands copies of descriptors over, as a manager does."""
    numbers: list[int] = []

    def hand(*fds: int, pid: int | None = None) -> dict[str, str]:
        for fd in fds:
            numbers.append(FIRST + len(numbers))
            os.dup2(fd, numbers[-1])
        return {
            "LISTEN_PID": str(pid or os.getpid()),
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": "x",
            "HOME": "/",
        }

    yield hand
    for number in numbers:
        try:
            os.close(number)
        except OSError:
            continue


def test_listening_sockets_are_taken_over_and_the_variables_with_them(listener, handed):
    environment = handed(listener.fileno())
    (one,) = inherited_sockets(environment, first=FIRST)
    with one:
        assert address_of(one) == address_of(listener)
        assert not os.get_inheritable(one.fileno())
        with socket.create_connection(listener.getsockname()), one.accept()[0]:
            pass
    assert environment == {"HOME": "/"}


def test_what_is_meant_for_another_process_is_left_alone(listener, handed):
    environment = handed(listener.fileno(), pid=os.getpid() + 1)
    assert inherited_sockets(environment, first=FIRST) == ()
    assert environment == {"HOME": "/"}
    os.fstat(FIRST)


def test_what_does_not_listen_is_closed(listener, handed, tmp_path):
    with (tmp_path / "file").open("w") as file, socket.socket() as unbound:
        found = inherited_sockets(handed(file.fileno(), unbound.fileno(), listener.fileno()), first=FIRST)
    assert [address_of(one) for one in found] == [address_of(listener)]
    for one in found:
        one.close()
    for number in (FIRST, FIRST + 1):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


@pytest.mark.parametrize("count", ["", "x", "-1", "2"])
def test_a_wrong_count_is_no_reason_to_fail(count):
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
    assert inherited_sockets(environment, first=FIRST) == ()


def test_the_manager_gets_what_is_used_and_gives_up_what_is_not(listener, tmp_path):
    path = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        socket.create_server(("127.0.0.1", 0)) as former,
    ):
        manager.bind(path)
        assert keep_by_manager(path, [listener], unused=[former])
        message, fds, _, _ = socket.recv_fds(manager, 1000, 4)
        with socket.socket(fileno=fds[0]) as kept:
            assert address_of(kept) == address_of(listener)
        assert message.startswith(b"FDSTORE=1\nFDNAME=gpumod-")
        removed, fds, _, _ = socket.recv_fds(manager, 1000, 4)
        assert removed.startswith(b"FDSTOREREMOVE=1\nFDNAME=gpumod-")
        assert not fds
        assert removed.split(b"FDNAME=")[1] != message.split(b"FDNAME=")[1].split(b"\n")[0]


def test_without_a_manager_nothing_is_kept(listener, tmp_path):
    assert not keep_by_manager("", [listener])
    assert not keep_by_manager(str(tmp_path / "nobody"), [listener])
