"""A seccomp filter for what namespaces do not contain.

Refused are calls whose memory no limit of ours counts (System V and POSIX queues, shared memory without
a file system), calls that reach beyond namespaces (vsock, keyrings, perf), and large surfaces of the kernel
that a test of a program has no use for. Everything else is allowed: this is a second wall, not the first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# linux/bpf_common.h, linux/seccomp.h: load a word, jump if equal or not less, return.
_LOAD, _EQUAL, _NOT_LESS, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF_0000, 0x8000_0000, 0x0005_0000 | 1  # EPERM
# struct seccomp_data: the call's number, the architecture, the lower half of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_X32: Final = 0x4000_0000
"""Calls of x86-64's other ABI have numbers from here on."""
_FAMILIES: Final = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK: those that a network namespace contains."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Numbers of one architecture: linux/audit.h, and the kernel's table of calls."""

    architecture: int
    socket: int
    refused: tuple[int, ...]


# The same order in both: ptrace, unshare, setns, mount, umount2, pivot_root, add_key, request_key, keyctl,
# bpf, perf_event_open, userfaultfd, shmget, msgget, semget, mq_open, memfd_create, process_vm_readv and
# _writev, kcmp, kexec_load, init_module, finit_module, move_pages, mbind, personality, name_to_handle_at,
# open_by_handle_at, swapon, acct, syslog, quotactl, kexec_file_load.
_X86_64: Final = (
    *(101, 272, 308, 165, 166, 155, 248, 249, 250, 321, 298, 323, 29, 68, 64, 240, 319, 310, 311, 312),
    *(246, 175, 313, 279, 237, 135, 303, 304, 167, 163, 103, 179, 320),
)
_AARCH64: Final = (
    *(117, 97, 268, 40, 39, 41, 217, 218, 219, 280, 241, 282, 194, 186, 190, 180, 279, 270, 271, 272),
    *(104, 105, 273, 239, 235, 92, 264, 265, 224, 89, 116, 60, 294),
)
# Since Linux 5.1 numbers are the same everywhere: io_uring, open_tree to fspick, pidfd_getfd, mount_setattr,
# memfd_secret.
_EVERYWHERE: Final = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 447)

MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine(0xC000_003E, 41, _X86_64 + _EVERYWHERE),
    "aarch64": Machine(0xC000_00B7, 198, _AARCH64 + _EVERYWHERE),
}
"""By `uname -m`."""


def seccomp_filter(machine: Machine) -> bytes:
    """The filter as an array of `struct sock_filter`."""
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_NOT_LESS, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in machine.refused:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    rest = len(_FAMILIES) + 2
    program += [(_EQUAL, 0, rest, machine.socket), (_LOAD, 0, 0, _FIRST)]
    program += [(_EQUAL, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
