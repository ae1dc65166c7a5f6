"""Listening TCP sockets from the kernel's sock_diag interface, see sock_diag(7).

/proc/net/tcp walks the table of all connections, which takes milliseconds even when it is empty; this walks
the listeners alone.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_LISTEN: Final = 10

_HEADER: Final = struct.Struct("=LHHLL")
# family, protocol, extensions, padding, states; then the socket's id: ports, addresses, interface, cookie.
_REQUEST: Final = struct.Struct("=BBBxL" + "2s2s16s16sL8s")
# family, state, timer, retransmits; the id; then expires, queues, uid, inode.
_ANSWER: Final = struct.Struct("=BBBB" + "2s2s16s16sL8s" + "LLLLL")

_TIMEOUT: Final = 1.0
_LARGEST_MESSAGE: Final = 65536


class DiagListener(NamedTuple):
    """A listener: its address (4 or 16 bytes), its socket's inode and its owner's uid."""

    address: bytes
    inode: int
    uid: int


def listeners_on(port: int) -> tuple[DiagListener, ...]:
    """Every listener on a TCP port, of any local address, in this network namespace.

    Raises:
        OSError: the kernel does not offer this, or a sandbox forbids it.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT)
        return tuple(
            listener
            for family in (socket.AF_INET, socket.AF_INET6)
            for listener in _ask(kernel, family, port)
        )


def _ask(kernel: socket.socket, family: int, port: int) -> Iterator[DiagListener]:
    body = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, 1 << _LISTEN, struct.pack("!H", port), b"", b"", b"", 0, b"\xff" * 8
    )
    kernel.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
    while True:
        data = kernel.recv(_LARGEST_MESSAGE)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR or length < _HEADER.size:
                raise OSError("the kernel does not list sockets by sock_diag")
            yield from _parse(data[_HEADER.size : length], family, port)
            data = data[(length + 3) & ~3 :]


def _parse(answer: bytes, family: int, port: int) -> Iterator[DiagListener]:
    fields = _ANSWER.unpack_from(answer)
    (its_port,) = struct.unpack("!H", fields[4])
    if its_port == port:
        address: bytes = fields[6][:4] if family == socket.AF_INET else fields[6]
        yield DiagListener(address, inode=fields[-1], uid=fields[-2])
