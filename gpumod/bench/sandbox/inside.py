"""The first process in the sandbox: makes the limits that bubblewrap has no options for, and watches.

Its text is handed to a Python inside, so it uses the standard library alone, of any Python from 3.9 on. It
reads its task from standard input (JSON), runs the program, and writes one line of JSON to a descriptor that
the program does not have. It is process 1 of its namespace: signals from within cannot stop it, and when it
ends, the kernel kills everything else there.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import sys
import time
from typing import Any

_INTERVAL = 0.02
_CLONE_NEWNS = 0x20000
_NOSUID_NODEV = 2 | 4
# linux/prctl.h
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 4, 38, 24, 47
_PR_CAP_AMBIENT_CLEAR_ALL, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 4, 22, 2
_CAPABILITY_VERSION_3 = 0x20080522
_PAGE = os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int, more: int = 0) -> int:
    return int(libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), 0, 0))


def mount_bounded(task: dict[str, Any]) -> None:
    """Put a file system with limits on bytes and entries over every writable directory."""
    _check(libc.unshare(_CLONE_NEWNS), "unshare")
    options = f"size={task['disk']},nr_inodes={task['entries']},mode=700".encode()
    for place in task["writable"]:
        _check(libc.mount(b"tmpfs", place.encode(), b"tmpfs", _NOSUID_NODEV, options), "mount " + place)


def drop_privileges(program: bytes) -> None:
    """Give up every capability for good, and install the seccomp filter."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL), "ambient capabilities")
    for capability in range(64):
        _prctl(_PR_CAPBSET_DROP, capability)  # fails for those that this kernel does not have
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    code = _Filter(len(program) // 8, program)
    address = ctypes.addressof(code)
    _check(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, address), "seccomp")


def write_files(files: dict[str, str]) -> None:
    """Write the program's files below the working directory."""
    for name, text in files.items():
        if os.path.dirname(name):  # noqa: PTH120 - pathlib takes longer to import than this to run
            os.makedirs(os.path.dirname(name), exist_ok=True)  # noqa: PTH103, PTH120 - as above
        with open(name, "w", encoding="utf-8", errors="surrogatepass") as file:  # noqa: PTH123 - as above
            file.write(text)


def start(task: dict[str, Any]) -> int:
    """Start the program under its limits; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.nice(19)
        for name, value in task["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        os.execve(task["argv"][0], task["argv"], task["environment"])  # noqa: S606 - what this is for
    except BaseException as error:  # noqa: BLE001 - nothing may go on here as a second first process
        os.write(2, f"cannot be started: {error}\n".encode())
    os._exit(127)


def resident() -> int:
    """Resident bytes of all processes but this one."""
    total = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/statm", "rb") as file:  # noqa: PTH123 - as above
                    total += int(file.read().split()[1]) * _PAGE
            except (OSError, IndexError):
                continue  # it has ended
    return total


def watch(pid: int, limit: int) -> dict[str, object]:
    """Reap until the program ends, or until all together hold too much."""
    peak = 0
    while True:
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return {"ended": "exited", "status": None, "memory": peak}
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                how = "signalled" if code < 0 else "exited"
                return {"ended": how, "status": abs(code), "memory": peak}
            if not ended:
                break
        peak = max(peak, resident())
        if peak > limit:
            return {"ended": "out_of_memory", "status": None, "memory": peak}
        time.sleep(_INTERVAL)


def main(report: int) -> None:
    """Do the task and say how it ended."""
    os.set_inheritable(report, False)
    # Process 1 gets no signal from within its namespace that it has no handler for; Python has one for this.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    said: dict[str, object]
    try:
        task = json.load(sys.stdin.buffer)
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - as above
            file.write("1000")  # rather this than the engine that is measured
        # The program's user is this one's, and must not look in here.
        _check(_prctl(_PR_SET_DUMPABLE, 0), "dumpable")
        mount_bounded(task)
        drop_privileges(base64.b64decode(task["filter"]))
        os.chdir(task["directory"])
        write_files(task["files"])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        said = watch(start(task), task["memory"])
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be told outside
        said = {"failed": f"{type(error).__name__}: {error}"}
    os.write(report, json.dumps(said).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
