"""A stand-in for an engine: `actor.py BEHAVIOUR [PIDS]`. Writes the pids of its tree to PIDS, then waits.

SIGUSR1 makes it exit with code 3.
"""

import ctypes
import os
import signal
import sys
import time

behaviour, *rest = sys.argv[1:]


def wait_for_ever():
    while True:
        time.sleep(60)


def record(pids):
    with open(rest[0] + ".new", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename(rest[0] + ".new", rest[0])


def child(act):
    """Forks a child that ignores SIGTERM and tells its pid and its descendants' once it is ready."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        act(writing)
        os.close(writing)
        wait_for_ever()
    os.close(writing)
    pids = b""
    while part := os.read(reading, 100):
        pids += part
    os.close(reading)
    return [int(pid) for pid in pids.split()]


def tell(writing):
    os.write(writing, b"%d " % os.getpid())


def plain(writing):
    tell(writing)


def own_session(writing):
    os.setsid()
    tell(writing)


def double_fork(writing):
    """The grandchild loses its parent."""
    os.setsid()
    if os.fork():
        os._exit(0)
    tell(writing)


def disguised(writing):
    """A new title, no environment, and a name of its own, like vLLM's workers."""
    if os.environ.get("GPUMOD_TEST_DISGUISED") is None:
        os.set_inheritable(writing, True)
        code = (
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"os.write({writing}, b'%d ' % os.getpid()); os.close({writing})\n"
            "while True: time.sleep(60)"
        )
        ctypes.CDLL(None).prctl(15, b"kworker/0:1")
        os.execve(sys.executable, ["[kworker/0:1]", "-I", "-S", "-c", code], {})


signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
pids = [os.getpid()]
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour == "family":
    for act in (plain, own_session, double_fork, disguised):
        pids += child(act)
if rest:
    record(pids)
print("ready", flush=True)
wait_for_ever()
