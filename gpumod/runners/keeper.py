"""The keeper: the parent of one service's processes, which outlives the daemon.

A child subreaper in a session of its own: whatever a descendant does (double fork, setsid, a new
title), it stays below the keeper. The keeper collects what ends, writes down how the leader ended,
kills everything on SIGUSR1, and goes when nothing is left. It never decides anything.

Started by `gpumod.runners.spawn` with all signals blocked and these descriptors: 0 the order, 1 a
pipe that hears the outcome of the start, 2 the daemon's standard error, 3 the lock of the run
directory, which tells a later daemon that a keeper lives even before it has written its name.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time

from gpumod.runners.procfs import boot_id, descendants, kill_all, read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

KILL_SIGNAL = signal.SIGUSR1
"""Tells a keeper to kill every descendant."""
KILL_SECONDS = 10.0
"""How long one demand keeps on trying."""
NOT_EXECUTED = 127
"""The leader's exit code when its program could not be executed, as in a shell."""

_LOCK = 3
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_MORE_KILLABLE = 100


class Order:
    """What to run, all in bytes, since neither arguments nor paths need to be text.

    Attributes:
        user: uid, gid and supplementary groups to change to; empty: stay who we are.
    """

    def __init__(
        self,
        program: bytes,
        argv: list[bytes],
        env: dict[bytes, bytes],
        *,
        log: bytes,
        cwd: bytes,
        user: list[int],
    ) -> None:
        self.program = program
        self.argv = argv
        self.env = env
        self.log = log
        self.cwd = cwd
        self.user = user

    def pack(self) -> bytes:
        """As it is handed to the keeper: fields that end in NUL, which no field can contain."""
        user = b" ".join(b"%d" % number for number in self.user)
        head = (self.program, self.log, self.cwd, user, b"%d" % len(self.argv))
        pairs = (name + b"=" + value for name, value in self.env.items())
        return b"".join(field + b"\0" for field in (*head, *self.argv, *pairs))

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """Read what `pack` made."""
        program, log, cwd, user, count, *rest = data.split(b"\0")[:-1]
        argv, pairs = rest[: int(count)], rest[int(count) :]
        env = {name: value for name, _, value in (pair.partition(b"=") for pair in pairs)}
        return cls(program, argv, env, log=log, cwd=cwd, user=[int(number) for number in user.split()])


def main(run_dir: str) -> NoReturn:
    """Keep one service until no process of it is left."""
    # Refuses too what this process holds of the daemon's and was not marked close-on-exec.
    os.closerange(_LOCK + 1, os.sysconf("SC_OPEN_MAX"))
    os.set_inheritable(_LOCK, False)
    os.chdir(run_dir)
    try:
        leader = _start()
    except OSError as error:
        _tell(f"failed {error.errno} {error.filename or 'keeper'}")
        os._exit(1)
    Keeping(leader).until_empty()
    _write("empty", "")
    os._exit(0)


def _start() -> int:
    """Start the leader, with everything written down before it can do anything.

    Raises:
        OSError: nothing was started; `filename` says which step failed.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_NAME, b"gpumod-keeper")
    with _step("order"):
        order = Order.unpack(_read_all(0))
    with _step("log"):
        log = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    with _step("state"):
        _write("keeper", _identity(os.getpid()))
    go_read, go_write = os.pipe()
    failure_read, failure_write = os.pipe()
    keeper = os.getpid()
    leader = os.fork()
    if leader == 0:
        try:
            os.close(go_write)
            if os.read(go_read, 1):
                _become(order, log, keeper)
        except OSError as error:
            os.write(failure_write, f"failed {error.errno} {error.filename or 'program'}".encode())
        finally:
            os._exit(NOT_EXECUTED)
    os.close(go_read)
    os.close(failure_write)
    with contextlib.suppress(OSError):  # not known by name, it is still found as our child
        _write("leader", _identity(leader))
    os.write(go_write, b"g")
    os.close(go_write)
    # Ends without a word when the program has taken the child's place.
    _tell(os.read(failure_read, 200).decode() or f"started {_identity(leader)}")
    os.close(failure_read)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    return leader


def _become(order: Order, log: int, keeper: int) -> None:
    """In the child: take on the surroundings of a service, then become its program."""
    os.setsid()
    # Should memory run out, the engine goes before the keeper that has to tell of it.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        score = min(1000, int(file.read()) + _MORE_KILLABLE)
        file.seek(0)
        file.write(str(score))
    if order.user:
        with _step("user"):
            uid, gid, *groups = order.user
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
    # After the change of user, which would clear it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(NOT_EXECUTED)
    with _step("cwd"):
        os.chdir(order.cwd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with _step("program"):
        os.execve(order.program, order.argv, order.env)  # noqa: S606 - that is its purpose


class Keeping:
    """What a keeper does once its leader runs."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._killing = False
        self._oom_kills = oom_kills()

    def until_empty(self) -> None:
        """Collect whatever ends, and kill on demand, until no descendant is left."""
        while self._collect():
            if signal.sigwait({signal.SIGCHLD, KILL_SIGNAL}) == KILL_SIGNAL:
                self._killing = True
                # Everything below a subreaper is gone exactly when it has no child any more.
                kill_all(self._alive, KILL_SECONDS, gone=lambda: not self._collect())

    def _alive(self) -> list[int]:
        self._collect()
        stats = (read_stat(pid) for pid in descendants(os.getpid()))
        return [stat.pid for stat in stats if stat is not None and not stat.dead]

    def _collect(self) -> bool:
        """Collect every child that has ended; whether there are any children still.

        The leader's end is written down before its pid is given back, so that a daemon that finds
        the pid gone finds the record as well.
        """
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if ended is None:
                return True
            if ended.si_pid == self._leader:
                with contextlib.suppress(OSError):  # a full disk: the end is then reported as unseen
                    _write("exit", self._record(ended), lasting=True)
            os.waitpid(ended.si_pid, 0)

    def _record(self, ended: os.waitid_result) -> str:
        """`code` or `signal`, its number, when, and whether the kernel did it for want of memory."""
        kind = "code" if ended.si_code == os.CLD_EXITED else "signal"
        killed = kind == "signal" and ended.si_status == signal.SIGKILL and not self._killing
        oom = killed and oom_kills() > self._oom_kills
        return f"{kind} {ended.si_status} {time.time():.6f} {int(oom)}"


def oom_kills() -> int:
    """How often the kernel has killed for want of memory: in our cgroup, else on the machine.

    A rise, and a SIGKILL that was not ours, is taken for such a kill. Somebody's `kill -9` after the
    kernel had killed something else looks the same; the kernel's log, which names the victim, is
    not for everybody to read.
    """
    for path in (f"/sys/fs/cgroup{_own_cgroup()}/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _own_cgroup() -> str:
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].strip()
    return ""


def _identity(pid: int) -> str:
    stat = read_stat(pid)
    return f"{pid} {stat.start_ticks if stat else 0} {boot_id()}"


def _write(name: str, text: str, *, lasting: bool = False) -> None:
    """Give a file its whole content at once; `lasting`: also for after a loss of power."""
    fd = os.open(name + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode() + b"\n")
        os.rename(name + ".new", name)
        if lasting:  # last, since a daemon waits to see the file
            os.fsync(fd)
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _tell(line: str) -> None:
    """Answer the daemon, if it is still there: SIGPIPE is blocked like all signals."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line.encode())


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    if libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno(), "prctl", "keeper")


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    """Names the step in which an OSError happens."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
