"""Listeners in the kernel's tables, and processes that may not be looked into."""

import os
import socket

import pytest

from gpumod.hardware import sockets

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {local} 00000000:0000 {state} 0:0 00:00000000 00000000  {uid}        0 {inode} 1 0 100 0\n"


def table(*rows: str) -> str:
    return HEADER + "".join(rows)


def row(local: str, state: str = "0A", uid: int = 1000, inode: int = 555) -> str:
    return ROW.format(local=local, state=state, uid=uid, inode=inode)


@pytest.mark.parametrize(
    "local",
    [
        "0100007F:4650",  # 127.0.0.1
        "0200007F:4650",  # 127.0.0.2
        "00000000:4650",  # 0.0.0.0
        "00000000000000000000000000000000:4650",  # ::
        "00000000000000000000000001000000:4650",  # ::1
        "0000000000000000FFFF00000100007F:4650",  # ::ffff:127.0.0.1
    ],
)
def test_a_listener_that_loopback_reaches(local):
    assert list(sockets.parse_table(table(row(local)), 18000)) == [sockets.Listener(inode=555, uid=1000)]


@pytest.mark.parametrize(
    "other",
    [
        row("0100007F:4651"),  # another port
        row("0100007F:4650", state="01"),  # a connection
        row("0A00A8C0:4650"),  # 192.168.0.10
        row("0000000000000000FFFF00000A00A8C0:4650"),  # ::ffff:192.168.0.10
        "   0: 0100007F:4650 cut sho\n",
    ],
)
def test_what_is_no_such_listener(other):
    assert list(sockets.parse_table(table(other), 18000)) == []


def test_where_the_kernel_does_not_answer_directly_its_table_is_read(monkeypatch):
    def refuse(port: int) -> tuple[()]:
        raise OSError("operation not permitted")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        direct = sockets.listeners("", port)
        monkeypatch.setattr(sockets, "listeners_on", refuse)
        assert sockets.listeners("", port) == direct
        assert len(direct) == 1
        assert direct[0].inode == os.fstat(server.fileno()).st_ino
        assert direct[0].uid == os.getuid()


class Proc:
    def __init__(self, root) -> None:
        self.root = root

    def process(self, pid: int, *links: str) -> None:
        folder = self.root / "proc" / str(pid) / "fd"
        folder.mkdir(parents=True)
        for number, link in enumerate(links):
            (folder / str(number)).symlink_to(link)


def test_the_process_with_the_socket_is_found(tmp_path):
    proc = Proc(tmp_path)
    proc.process(10, "/dev/null", "socket:[1]")
    proc.process(20, "/dev/null", "socket:[555]")
    assert sockets.holder(str(tmp_path), {555}, lambda: True) == 20
    assert sockets.holder(str(tmp_path), {556}, lambda: True) is None


def test_the_search_ends_when_its_time_is_up(tmp_path):
    Proc(tmp_path).process(20, "socket:[555]")
    assert sockets.holder(str(tmp_path), {555}, lambda: False) is None


def test_a_process_that_may_not_be_looked_into_is_not_a_no(tmp_path, monkeypatch):
    def forbidden(path: str) -> list[str]:
        raise PermissionError(path)

    assert sockets.holds(str(tmp_path), 30, {555}) is False, "it has gone"
    monkeypatch.setattr(os, "listdir", forbidden)
    assert sockets.holds(str(tmp_path), 30, {555}) is None
