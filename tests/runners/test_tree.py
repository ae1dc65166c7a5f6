import os
import signal
import subprocess
import sys
import time

import pytest

from gpumod.runners import tree
from gpumod.runners.tree import living_below

FLIGHT = """
import ctypes, os, select, signal
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
if os.fork() == 0:
    print("go", flush=True)
    while not select.select([0], [], [], 0)[0]:
        if os.fork():
            os._exit(0)
    signal.pause()
while True:
    os.wait()
"""


@pytest.fixture
def flight():
    """A subreaper below which one process hands over to a child and ends, until its input is closed."""
    argv = [sys.executable, "-c", FLIGHT]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as subreaper:
        assert subreaper.stdin
        assert subreaper.stdout
        subreaper.stdout.readline()
        yield subreaper.pid
        subreaper.stdin.close()
        left, before = living_below(subreaper.pid), None
        while left != before:
            time.sleep(0.05)
            left, before = living_below(subreaper.pid), left
        subreaper.kill()
        for one in left:
            os.kill(one.pid, signal.SIGKILL)


def test_a_process_that_flees_into_its_children_is_never_missed(flight):
    seen = [living_below(flight) for _ in range(300)]
    assert all(seen), f"nobody was seen in look {seen.index(())}"
    assert len(set(seen)) > 1, "it did not flee"


def test_nobody_below_a_process_without_children():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alone:
        assert living_below(alone.pid) == ()
        alone.communicate(b"\n")


def test_children_that_have_ended_and_are_not_collected_are_nobody():
    code = "import os, sys; os.fork() or os._exit(0); print('x', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        while living_below(parent.pid):
            pass  # it is about to end
        assert living_below(parent.pid) == ()
        parent.communicate(b"")


def test_a_child_that_may_not_be_looked_at_is_not_taken_for_gone(monkeypatch):
    """As where /proc is mounted with hidepid."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        monkeypatch.setattr(tree, "children", lambda _pid: [child.pid])
        monkeypatch.setattr(tree, "descendants", lambda _pid: [child.pid])
        monkeypatch.setattr(tree, "read_stat", lambda _pid: None)
        assert [one.pid for one in living_below(os.getpid())] == [child.pid]
        child.communicate(b"\n")
