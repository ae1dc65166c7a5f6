"""Loopback ports for what a test or a demonstration starts."""

from __future__ import annotations

import os
import socket
from typing import Final

_FIRST: Final = 20480
_BLOCK: Final = 512
_BLOCKS: Final = 24
"""Up to port 32767. From 32768 on, Linux gives ports to clients and to who binds port 0 (ip(7),
ip_local_port_range): one that was free a moment ago may belong to anybody by the time it is used."""


class Ports:
    """Hands out the ports of one block in turns, so that none comes again soon.

    Args:
        block: its first port.
    """

    def __init__(self, block: int) -> None:
        self._block = block
        self._used = 0

    def take(self, count: int) -> int:
        """The first of `count` ports in a row that nobody listens on now.

        Raises:
            OSError: all are taken.
        """
        for _ in range(_BLOCK):
            if self._used + count > _BLOCK:
                self._used = 0
            first = self._block + self._used
            if all(map(_is_free, range(first, first + count))):
                self._used += count
                return first
            self._used += 1
        raise OSError(f"no {count} ports in a row are free from {self._block} on")


# By the process, so that two test runs beside each other do not take one another's.
_PORTS: Final = Ports(_FIRST + os.getpid() % _BLOCKS * _BLOCK)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    return _PORTS.take(1)


def free_ports(count: int) -> int:
    """The first of `count` loopback ports in a row that nobody listens on now."""
    return _PORTS.take(count)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: a connection that has just ended there is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
