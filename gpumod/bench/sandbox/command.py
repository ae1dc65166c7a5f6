"""The command line of bubblewrap, and the task for the first process inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpumod.bench.sandbox.execution import Limits
from gpumod.bench.sandbox.syscalls import Machine, seccomp_filter

DIRECTORY: Final = "/work"
_WRITABLE: Final = (DIRECTORY, "/tmp", "/dev/shm")  # noqa: S108 - inside, where nobody else is
_SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_USER: Final = 1000
_LOADER: Final = "import json, sys; exec(json.loads(sys.stdin.buffer.readline()))"
_INSIDE: Final = Path(__file__).with_name("inside.py")
ENVIRONMENT: Final[Mapping[str, str]] = {
    "HOME": DIRECTORY,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    # glibc's arenas would take 64 MiB of addresses for each thread.
    "MALLOC_ARENA_MAX": "2",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",
    "TMPDIR": "/tmp",  # noqa: S108 - as above
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python for inside.

    Args:
        path: the program.
        needs: the directory that it needs besides `/usr`, if any.
    """

    path: str
    needs: str | None = None


def bubblewrap(
    program: str, interpreter: Interpreter, status: int, report: int, root: Path = Path("/")
) -> list[str]:
    """The command that starts the first process in namespaces of its own.

    Everything that it does not bind is not there: no home, no `/etc`, no socket, no `/sys`, no process.

    Args:
        program: bubblewrap's.
        interpreter: the Python inside.
        status: the descriptor to which bubblewrap says the first process's id.
        report: the descriptor to which the first process says how it ended.
        root: of the system to look at.
    """
    command = [program, "--unshare-all", "--unshare-user", "--disable-userns"]
    command += ["--uid", str(_USER), "--gid", str(_USER), "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session", "--as-pid-1"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        place = root / name
        if place.is_symlink():
            command += ["--symlink", str(place.readlink()), f"/{name}"]
        elif place.is_dir():
            command += ["--ro-bind", f"/{name}", f"/{name}"]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    command += ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
    if interpreter.needs is not None:
        command += ["--ro-bind", interpreter.needs, interpreter.needs]
    command += ["--proc", "/proc", "--dev", "/dev", "--dir", DIRECTORY, "--dir", "/tmp"]  # noqa: S108 - as above
    # bubblewrap's own file systems have no limit of size.
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    # For the limited ones, that the first process mounts; it gives this up before the program starts.
    command += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    command += ["--json-status-fd", str(status), "--chdir", "/", "--"]
    return [*command, interpreter.path, "-I", "-S", "-B", "-c", _LOADER, str(report)]


def task(argv: Sequence[str], files: Mapping[str, str], limits: Limits, machine: Machine) -> bytes:
    """What the first process reads from its standard input: its own program, then what to do.

    Raises:
        ValueError: a file's name leaves the working directory.
    """
    for name in files:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} is no name below the working directory")
    document = {
        "argv": list(argv),
        "environment": dict(ENVIRONMENT),
        "files": dict(files),
        "directory": DIRECTORY,
        "writable": _WRITABLE,
        "disk": limits.disk,
        "entries": limits.entries,
        "memory": limits.memory,
        "filter": base64.b64encode(seccomp_filter(machine)).decode(),
        "limits": {
            "RLIMIT_AS": limits.address_space,
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": limits.cpu,
            "RLIMIT_FSIZE": limits.disk,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_NOFILE": limits.files,
            "RLIMIT_NPROC": limits.processes,
            "RLIMIT_STACK": 8 * 1024 * 1024,
        },
    }
    return b"\n".join(json.dumps(part).encode() for part in (_INSIDE.read_text("utf-8"), document))
