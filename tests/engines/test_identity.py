"""Programs that run as somebody else, on the event loop of the daemon."""

import asyncio
import os
import pwd
import signal
import subprocess
from pathlib import Path

import pytest
import uvloop

from gpumod.bench.sandbox import NoSandboxError, open_sandbox
from gpumod.bench.suites.exec import process
from gpumod.core.become import CANNOT_BE_EXECUTED, as_user
from gpumod.engines.identity import identity
from gpumod.engines.programs import output

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


# What uvloop opens once for the process, for the children of any loop, is no leak of a test.
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as once:
    once.run(output(("true",)))


def on_the_daemons_loop(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@root
def test_a_program_is_asked_as_that_user():
    assert on_the_daemons_loop(output(("id", "-un"), user="nobody")) == (0, "nobody\n")


@root
def test_a_harness_runs_as_that_user(tmp_path):
    tmp_path.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin"}
    ran = on_the_daemons_loop(process.run(("id", "-un"), environment, Path("/"), 30, "nobody"))
    assert (ran.status, ran.output) == (0, b"nobody\n")


def test_model_code_runs_in_the_sandbox():
    async def work():
        sandbox = await open_sandbox()
        return await sandbox.run((*sandbox.python, "-c", "print('in it')"))

    try:
        assert on_the_daemons_loop(work()).output == "in it\n"
    except NoSandboxError as error:
        if "bubblewrap cannot be started" in error.detail:
            raise
        pytest.skip(error.detail)


@root
def test_it_has_that_users_groups_and_pythons_signals_are_not_its():
    entry = pwd.getpwnam("nobody")
    script = "id -u; id -g; id -G; grep SigIgn /proc/self/status"
    argv = (*as_user(entry.pw_uid, entry.pw_gid, [entry.pw_gid]), "sh", "-c", script)
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    *ids, _, ignored = ran.stdout.split()
    assert ids == [str(entry.pw_uid), str(entry.pw_gid), str(entry.pw_gid)]
    pythons = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert not int(ignored, 16) & pythons


@root
def test_what_cannot_be_executed_says_so():
    ran = subprocess.run((*as_user(65534, 65534), "/no/such"), capture_output=True, text=True, check=False)
    assert ran.returncode == CANNOT_BE_EXECUTED
    assert ran.stderr == "/no/such: No such file or directory\n"


def test_oneself_needs_nothing():
    assert identity(pwd.getpwuid(os.geteuid()).pw_name) == identity(None) == ()
    with pytest.raises(KeyError):
        identity("nobody-of-that-name")
