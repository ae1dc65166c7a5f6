"""One daemon per state directory."""

import os
import signal
import subprocess
import sys
from subprocess import PIPE

import pytest

from gpumod.core.errors import AlreadyRunningError, StoreError
from gpumod.store import StateLock

HOLDING = """
import sys, time
from pathlib import Path
from gpumod.store.lock import StateLock
with StateLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], stdout=PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_daemon_is_refused_and_told_who_holds_the_directory(tmp_path, holder):
    with pytest.raises(AlreadyRunningError) as caught:
        StateLock(tmp_path)
    assert f"pid {holder.pid}, uses the state directory {tmp_path}: stop it" in caught.value.detail
    assert caught.value.facts["pid"] == holder.pid


def test_kill_9_releases_the_directory(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    with StateLock(tmp_path) as lock:
        assert lock.path.read_text() == f"{os.getpid()}\n"


def test_released_directory_can_be_locked_again(tmp_path):
    state = tmp_path / "new" / "state"
    lock = StateLock(state)
    with pytest.raises(AlreadyRunningError):
        StateLock(state)
    lock.release()
    lock.release()
    with StateLock(state):
        assert state.stat().st_mode & 0o777 == 0o700


def test_child_process_does_not_hold_the_lock(tmp_path):
    lock = StateLock(tmp_path)
    with subprocess.Popen(["/bin/cat"], stdin=PIPE, stdout=PIPE, close_fds=False) as child:
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"it runs\n")
        child.stdin.flush()
        child.stdout.readline()
        lock.release()
        with StateLock(tmp_path):
            pass
        child.communicate(timeout=60)


def test_lock_file_without_a_pid_is_still_a_lock(tmp_path, holder):
    (tmp_path / "daemon.lock").write_text("")
    with pytest.raises(AlreadyRunningError, match="pid unknown"):
        StateLock(tmp_path)


def test_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"state directory .*file/state cannot be used \(Not a directory\)"):
        StateLock(tmp_path / "file" / "state")
