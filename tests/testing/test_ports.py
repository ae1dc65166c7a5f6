"""Ports for tests: free, and nobody else's."""

import socket

import pytest

from gpumod.testing import ports
from gpumod.testing.ports import Ports, free_port, free_ports

BLOCK = 30000


@pytest.fixture
def block(monkeypatch):
    """A block of which nobody has a port."""
    monkeypatch.setattr(ports, "_is_free", lambda port: True)
    return Ports(BLOCK)


def test_none_is_given_twice_before_all_were(block):
    given = {block.take(1) for _ in range(512)}
    assert given == set(range(BLOCK, BLOCK + 512))
    assert block.take(1) == BLOCK


def test_those_in_a_row_are_nobody_elses_and_in_the_block(block):
    rows = [range(first := block.take(50), first + 50) for _ in range(10)]
    assert len({port for row in rows for port in row}) == 500
    assert block.take(13) == BLOCK


def test_a_port_that_somebody_has_is_not_given():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert Ports(port).take(1) > port
        assert Ports(port - 1).take(2) > port


def test_where_all_are_taken_it_says_so(block, monkeypatch):
    monkeypatch.setattr(ports, "_is_free", lambda port: False)
    with pytest.raises(OSError, match="no 2 ports in a row are free from 30000 on"):
        block.take(2)


def test_they_are_none_that_linux_gives_to_clients():
    assert 20480 <= free_port() < 32768
    assert 20480 <= free_ports(50) <= 32768 - 50
