"""Who listens on a TCP port: the kernel's table of sockets, and /proc/PID/fd for their processes."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gpumod.hardware.procfs import read_text
from gpumod.hardware.sockdiag import listeners_on

_LISTEN: Final = "0A"
_TABLES: Final = ("tcp", "tcp6")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, by its inode, and the user it was made by."""

    inode: int
    uid: int


def listeners(root: str, port: int) -> tuple[Listener, ...]:
    """Sockets that listen on a port of a loopback or wildcard address, in this network namespace."""
    if not root:
        with contextlib.suppress(OSError):
            return tuple(
                Listener(found.inode, found.uid) for found in listeners_on(port) if is_local(found.address)
            )
    return tuple(
        listener
        for table in _TABLES
        for listener in parse_table(read_text(f"{root}/proc/net/{table}") or "", port)
    )


def parse_table(table: str, port: int) -> Iterator[Listener]:
    """Listeners of /proc/net/tcp or tcp6, see proc_net_tcp in the kernel's documentation."""
    local_port = f":{port:04X}"
    for line in table.splitlines():
        words = line.split(None, 10) if local_port in line else []
        if len(words) > 9 and words[3] == _LISTEN and words[1].endswith(local_port):
            # An address is written as 32-bit words in the machine's byte order.
            address = words[1].partition(":")[0]
            numbers = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
            if is_local(struct.pack(f"={len(numbers)}I", *numbers)):
                yield Listener(inode=int(words[9]), uid=int(words[7]))


def is_local(address: bytes) -> bool:
    """Whether a connection to a loopback address reaches a listener on this one."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback or found.is_unspecified


def holds(root: str, pid: int, inodes: Collection[int]) -> bool | None:
    """Whether a process has one of these sockets open; None where it may not be seen."""
    links = {f"socket:[{inode}]" for inode in inodes}
    folder = f"{root}/proc/{pid}/fd"
    try:
        for descriptor in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{descriptor}") in links:
                    return True
            except FileNotFoundError:
                continue
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return False
    except OSError:
        return None
    return False


def holder(root: str, inodes: Collection[int], in_time: Callable[[], bool]) -> int | None:
    """The process that has one of these sockets open; None where it is not seen, or not in time."""
    for pid in _newest_first(root):
        if not in_time():
            return None
        if holds(root, pid, inodes):
            return pid
    return None


def _newest_first(root: str) -> Iterable[int]:
    """Servers that hold a port are rarely the oldest processes of a box."""
    return sorted((int(name) for name in os.listdir(f"{root}/proc") if name.isdigit()), reverse=True)
