"""What a program in the sandbox may take, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.errors import GpumodError, RefusedError

_MIB: Final = 1024 * 1024


class NoSandboxError(RefusedError):
    """This box cannot run untrusted programs; the detail says why and what would change that."""


class SandboxFailedError(GpumodError):
    """The sandbox did not do its part this time: nothing is known of the program."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one execution.

    Args:
        wall: seconds until everything is killed.
        cpu: seconds of processor time for each process.
        memory: resident bytes of all processes together.
        address_space: bytes of addresses for each process; stops a single large allocation at once.
        processes: processes and threads together.
        files: open files of each process.
        disk: bytes in each of the three writable directories, which are in memory.
        entries: files and directories in each of them.
        output: bytes of standard output, and as many of standard error.
    """

    wall: float = 60.0
    cpu: int = 60
    memory: int = 1024 * _MIB
    address_space: int = 2048 * _MIB
    processes: int = 128
    files: int = 256
    disk: int = 32 * _MIB
    entries: int = 4096
    output: int = 256 * 1024


DEFAULT_LIMITS: Final = Limits()


class Ended(StrEnum):
    """Why an execution is over. Whatever it had left running then was killed."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    """All processes together held more than `Limits.memory`."""
    TOO_MUCH_OUTPUT = "too_much_output"


@dataclass(frozen=True, slots=True)
class Execution:
    """The end of one program.

    Args:
        status: its exit status, or the number of the signal that ended it; None where it was stopped.
        output: its standard output, at most `Limits.output` bytes of it.
        errors: its standard error, likewise.
        memory: the most resident bytes that were seen, of all its processes; 0 where none were.
        seconds: from start to end, the sandbox's own start included.
    """

    ended: Ended
    status: int | None
    output: str
    errors: str
    memory: int
    seconds: float
