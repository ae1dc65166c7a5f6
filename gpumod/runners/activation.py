"""Listening sockets that outlive the daemon: the service manager keeps them while it is restarted.

Connections wait in the socket's backlog meanwhile, so that a restart refuses nobody.
Source: sd_listen_fds(3), sd_notify(3) (FDSTORE), systemd.service(5) (FileDescriptorStoreMax=).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
_MOST: Final = 64
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def inherited_sockets(
    environment: MutableMapping[str, str] | None = None, *, first: int = _FIRST
) -> tuple[socket.socket, ...]:
    """The listening stream sockets that the manager handed over, from a `.socket` unit or from its store.

    The variables are removed: they mean this process and no engine. What is no such socket is closed.
    """
    environment = os.environ if environment is None else environment
    pid, count = environment.get("LISTEN_PID", ""), environment.get("LISTEN_FDS", "")
    for name in _VARIABLES:
        environment.pop(name, None)
    if pid != str(os.getpid()) or not count.isdigit():
        return ()
    found = (_listening(fd) for fd in range(first, first + min(int(count), _MOST)))
    return tuple(one for one in found if one is not None)


def _listening(fd: int) -> socket.socket | None:
    try:
        os.set_inheritable(fd, False)
        one = socket.socket(fileno=fd)
    except OSError:  # not a socket, or not even open
        with contextlib.suppress(OSError):
            os.close(fd)
        return None
    if one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return one
    one.close()
    return None


def address_of(one: socket.socket) -> str:
    """A socket's own address, in a form by which two can be compared."""
    name = one.getsockname()
    return f"{name[0]} {name[1]}" if isinstance(name, tuple) else str(name)


def keep_by_manager(
    address: str, sockets: Iterable[socket.socket], *, unused: Iterable[socket.socket] = ()
) -> bool:
    """Hand sockets to the manager at $NOTIFY_SOCKET, to get them back at the next start; whether it was sent.

    One that it has already is not kept twice: it compares the descriptions behind them. Those that are not
    used any more it has to give up: as long as it holds one, clients can connect, and nobody answers.
    """
    if not address:
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(target)
            for one in sockets:
                message = f"FDSTORE=1\nFDNAME={_name(one)}\nFDPOLL=0".encode()
                socket.send_fds(channel, [message], [one.fileno()])
            for one in unused:
                channel.send(f"FDSTOREREMOVE=1\nFDNAME={_name(one)}".encode())
    except OSError:
        return False
    return True


def _name(one: socket.socket) -> str:
    """What the manager calls a socket: the same at every start."""
    return f"gpumod-{hashlib.sha256(address_of(one).encode()).hexdigest()[:16]}"
