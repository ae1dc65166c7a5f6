"""Starting a keeper and hearing how its start went. Blocking: for a thread."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpumod.core.errors import StartFailedError
from gpumod.core.service import ProcessIdentity
from gpumod.runners.keeper import Order
from gpumod.runners.program import (
    DEFAULT_CWD,
    check_text,
    find_program,
    make_log_folder,
    refusal,
    user_numbers,
)
from gpumod.runners.rundir import KEEPER_LOCK_FD
from gpumod.runners.tree import kill_orphans

if TYPE_CHECKING:
    from gpumod.core.ports import RunRequest
    from gpumod.runners.rundir import RunDir

ANSWER_SECONDS = 30.0
"""How long a keeper may take to say whether the program runs (it may lie on a slow disk)."""
_ORPHAN_SECONDS = 1.0
_ABOVE = 10
_ROOT = str(Path(__file__).resolve().parents[2])
# Ahead of site-packages and without them: a keeper starts in a fraction of the usual time, from the
# compiled files of this package.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from gpumod.runners.keeper import main; main(sys.argv[2])"
)
# All that a keeper may need to find its own interpreter's libraries.
_KEPT_ENV = ("LD_LIBRARY_PATH", "PATH")


def spawn(request: RunRequest, run_dir: RunDir) -> ProcessIdentity:
    """Start an attempt under a new keeper, which is a child of ours; the leader.

    Raises:
        StartFailedError: nothing of it runs. The run directory is gone again, unless something
            of a start that hung cannot be killed.
    """
    order = _order(request)
    keeper, answers = _launch(order, request, run_dir)
    try:
        answer = _answer(answers)
    finally:
        os.close(answers)
    word, _, rest = answer.partition(" ")
    if word == "started":
        pid, ticks, boot = rest.split()
        return ProcessIdentity(int(pid), int(ticks), boot)
    _bury(keeper, kill=not answer)
    if kill_orphans(run_dir, _ORPHAN_SECONDS):
        run_dir.remove()
    if word == "failed":
        number, step = rest.split(" ", 1)
        raise refusal(request, os.fsdecode(order.program), step, int(number))
    raise StartFailedError(
        f"the keeper of {request.key.service} ended or hung before it started anything: "
        f"the daemon's log and {request.log} have its last words"
    )


def _order(request: RunRequest) -> Order:
    check_text(request)
    make_log_folder(request)
    return Order(
        os.fsencode(find_program(request)),
        [os.fsencode(text) for text in request.argv],
        {os.fsencode(name): os.fsencode(value) for name, value in request.env},
        log=os.fsencode(os.path.abspath(request.log)),
        cwd=os.fsencode(request.cwd or DEFAULT_CWD),
        user=user_numbers(request.user),
    )


def _launch(order: Order, request: RunRequest, run_dir: RunDir) -> tuple[int, int]:
    """The keeper's pid and where its answer is read. It holds the run directory's lock from birth."""
    try:
        lock = run_dir.create()
    except FileExistsError:
        key = request.key
        raise StartFailedError(f"generation {key.generation} of {key.service} was started before") from None
    except OSError as error:
        run_dir.remove()
        raise refusal(request, "", "state", error.errno or errno.EIO) from error
    opened = [lock]
    try:
        # Not a pipe, which holds a limited amount; not a file, since the environment has secrets.
        orders = os.memfd_create("gpumod-order")
        opened.append(orders)
        os.write(orders, order.pack())
        os.lseek(orders, 0, os.SEEK_SET)
        answers, told = os.pipe()
        opened.append(told)
        try:
            return _posix_spawn(run_dir.path, {0: orders, 1: told, KEEPER_LOCK_FD: lock}), answers
        except OSError:
            os.close(answers)
            raise
    except OSError as error:
        run_dir.remove()
        raise refusal(request, "", "keeper", error.errno or errno.EIO) from error
    finally:
        for fd in opened:
            os.close(fd)


def _posix_spawn(run_path: str, fds: dict[int, int]) -> int:
    """Start the keeper with `fds` (its number: ours), every signal blocked and none ignored."""
    # Moved out of the way first: dup2 must not overwrite one that is yet to be handed over.
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for number, fd in fds.items()}
    signals = signal.valid_signals()
    try:
        return os.posix_spawn(
            sys.executable,
            (sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, run_path),
            {name: os.environ[name] for name in _KEPT_ENV if name in os.environ},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()],
            setsid=True,
            setsigmask=signals,
            setsigdef=signals - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        for fd in high.values():
            os.close(fd)


def _answer(fd: int) -> str:
    """The keeper's one line; empty when it ended without a word or says nothing in time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return os.read(fd, 300).decode() if poll.poll(ANSWER_SECONDS * 1000) else ""


def _bury(keeper: int, *, kill: bool) -> None:
    """Collect a keeper that has nothing to keep. A leader not yet told to go ends with it."""
    if kill:
        os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
