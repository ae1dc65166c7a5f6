import os
import subprocess
import sys

import pytest

from gpumod.runners import cgroup
from gpumod.runners.cgroup import cgroup_processes


@pytest.fixture
def ended():
    """The pid of a process that has ended and is not collected yet."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


@pytest.mark.parametrize("collected", [False, True])
def test_one_that_hands_over_before_it_is_looked_at_is_followed(monkeypatch, ended, collected):
    lists = iter([[2**22 if collected else ended], [os.getpid()]])
    monkeypatch.setattr(cgroup, "cgroup_pids", lambda _path: next(lists))
    assert [one.pid for one in cgroup_processes("/")] == [os.getpid()]


def test_nobody_lives_where_the_same_dead_are_listed_again(monkeypatch, ended):
    lists = iter([[ended], [ended]])
    monkeypatch.setattr(cgroup, "cgroup_pids", lambda _path: next(lists))
    assert cgroup_processes("/") == ()


def test_nobody_is_in_a_cgroup_that_is_not_there(tmp_path):
    assert cgroup_processes(str(tmp_path / "none")) == ()
