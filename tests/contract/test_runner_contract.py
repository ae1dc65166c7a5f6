"""What every runner does, the fake, the keeper's and systemd's alike.

Systemd's share runs inside a box with a systemd of its own: `tests/integration/test_systemd_runner.py`.
"""

import os
import signal
import sys

import pytest

from gpumod.core.errors import StartFailedError
from gpumod.core.ports import Liveness, RunRequest
from gpumod.core.service import ExitReport
from tests.runners.rigs import FAMILY, MISSING, Exits, FakeRig, ProcessRig, RealRig, Rig, key, until

RIGS: dict[str, type[FakeRig | RealRig]] = {"fake": FakeRig, "process": ProcessRig}
if os.environ.get("GPUMOD_TEST_SYSTEMD"):
    from tests.runners.systemd_rig import SystemRig

    RIGS = {"systemd": SystemRig}


@pytest.fixture(params=sorted(RIGS))
async def rig(request, tmp_path):
    made = RIGS[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=sorted(name for name, made in RIGS.items() if issubclass(made, RealRig)))
async def real(request, tmp_path):
    made = RIGS[request.param](tmp_path)
    yield made
    await made.close()


async def started(rig: Rig, behaviour: str = "plain", generation: int = 1):
    found = await rig.runner.start(rig.request(key(generation), behaviour))
    await rig.ready(key(generation))
    return found


async def pids(rig: Rig, generation: int = 1) -> set[int]:
    return {one.pid for one in await rig.runner.processes(key(generation))}


async def gone(rig: Rig, generation: int = 1):
    async def empty():
        return not await rig.runner.processes(key(generation))

    await until(empty, "no process is left")


async def test_a_started_attempt_is_found_with_its_leader(rig):
    found = await started(rig)
    assert found.liveness is Liveness.RUNNING
    assert found.leader is not None
    assert found == await rig.runner.find(key())
    assert await rig.runner.runs() == (found,)
    assert await rig.runner.processes(key()) == (found.leader,)
    assert rig.alive(key()) == {found.leader.pid}


async def test_a_signal_to_the_leader_ends_it_and_is_reported_once(rig):
    exits = Exits(rig.runner)
    await started(rig)
    await rig.runner.signal(key(), signal.SIGTERM)
    report = await exits.first()
    await gone(rig)
    assert (report.key, report.code, report.signal) == (key(), None, signal.SIGTERM)
    found = await rig.runner.find(key())
    assert (found.liveness, found.exit) == (Liveness.EXITED, report)
    await rig.runner.kill(key())
    await rig.runner.forget(key())
    assert exits == [report]


async def test_an_exit_code_is_reported(rig):
    exits = Exits(rig.runner)
    await started(rig)
    await rig.runner.signal(key(), signal.SIGUSR1)
    report = await exits.first()
    assert (report.code, report.signal) == (3, None)
    assert report.phrase == "exited with code 3"


async def test_a_leader_that_ignores_sigterm_is_killed(rig):
    exits = Exits(rig.runner)
    found = await started(rig, "stubborn")
    await rig.runner.signal(key(), signal.SIGTERM)
    assert await rig.runner.find(key()) == found
    await rig.runner.kill(key())
    report = await exits.first()
    assert report.signal == signal.SIGKILL
    assert await pids(rig) == rig.alive(key()) == set()


async def test_every_process_of_the_tree_is_seen_and_killed(rig):
    found = await started(rig, "family")
    assert len(await pids(rig)) == FAMILY
    assert await pids(rig) == rig.alive(key())
    assert found.leader in await rig.runner.processes(key())
    await rig.runner.kill(key())
    assert await pids(rig) == set()
    assert rig.alive(key()) == set()


async def test_survivors_of_the_leader_are_seen_or_gone_but_never_lost(rig):
    exits = Exits(rig.runner)
    await started(rig, "family")
    await rig.runner.signal(key(), signal.SIGUSR1)
    assert (await exits.first()).code == 3
    assert (await rig.runner.find(key())).liveness is Liveness.EXITED
    assert rig.alive(key()) <= await pids(rig)
    await rig.runner.forget(key())  # refused: some may live
    assert rig.alive(key()) <= await pids(rig)
    await rig.runner.kill(key())
    assert rig.alive(key()) == await pids(rig) == set()
    await rig.runner.forget(key())
    assert (await rig.runner.find(key())).liveness is Liveness.ABSENT
    assert len(exits) == 1


async def test_a_restarted_daemon_finds_what_runs_and_hears_of_its_end(rig):
    found = await started(rig, "family")
    before = await pids(rig)
    runner = await rig.restart()
    exits = Exits(runner)
    assert await runner.runs() == (found,)
    assert await runner.find(key()) == found
    assert await pids(rig) == before
    await runner.kill(key())
    assert (await exits.first()).signal == signal.SIGKILL
    assert await pids(rig) == rig.alive(key()) == set()
    assert len(exits) == 1


async def test_a_restarted_daemon_learns_how_an_attempt_ended(rig):
    exits = Exits(rig.runner)
    await started(rig)
    await rig.runner.signal(key(), signal.SIGUSR1)
    report = await exits.first()
    runner = await rig.restart()
    later = Exits(runner)
    found = await runner.find(key())
    assert (found.liveness, found.exit) == (Liveness.EXITED, report)
    assert [run.key for run in await runner.runs()] == [key()]
    assert later == []


async def test_a_forgotten_attempt_leaves_no_trace(rig):
    await started(rig)
    await rig.runner.kill(key())
    await rig.runner.forget(key())
    assert (await rig.runner.find(key())).liveness is Liveness.ABSENT
    assert await rig.runner.runs() == ()


async def test_what_runs_is_not_forgotten(rig):
    found = await started(rig)
    await rig.runner.forget(key())
    assert await rig.runner.find(key()) == found
    await rig.runner.kill(key())
    assert rig.alive(key()) == set()


async def test_unknown_attempts_are_harmless(rig):
    nobody = key(99, "nobody")
    exits = Exits(rig.runner)
    assert await rig.runner.find(nobody) == await rig.runner.find(nobody)
    assert (await rig.runner.find(nobody)).liveness is Liveness.ABSENT
    assert await rig.runner.processes(nobody) == ()
    await rig.runner.signal(nobody, signal.SIGTERM)
    await rig.runner.kill(nobody)
    await rig.runner.forget(nobody)
    assert await rig.runner.runs() == ()
    assert exits == []


async def test_a_program_that_cannot_be_executed_fails_the_start(rig):
    exits = Exits(rig.runner)
    with pytest.raises(StartFailedError) as caught:
        await rig.runner.start(rig.request(key(), "missing"))
    assert caught.value.detail.startswith(f"cannot run {MISSING}: No such file or directory")
    assert await rig.runner.runs() == ()
    assert exits == []


async def test_an_attempt_is_not_started_twice(rig):
    found = await started(rig)
    with pytest.raises(StartFailedError, match="was started before"):
        await rig.runner.start(rig.request(key(), "plain"))
    assert await rig.runner.find(key()) == found


async def test_attempts_of_a_service_are_kept_apart(rig):
    first = await started(rig, generation=1)
    await rig.runner.start(rig.request(key(2), "plain"))
    await rig.ready(key(2))
    await rig.runner.kill(key(2))
    assert (await rig.runner.find(key(2))).liveness is Liveness.EXITED
    assert await rig.runner.find(key(1)) == first
    assert await rig.runner.processes(key(1)) == (first.leader,)


async def test_who_does_not_listen_any_more_is_not_told(rig):
    exits, others = Exits(rig.runner), Exits(rig.runner)
    await started(rig)
    exits.stop()
    exits.stop()
    await rig.runner.kill(key())
    await others.first()
    assert exits == []


async def test_a_closed_runner_leaves_its_attempts_alone(rig):
    await started(rig)
    before = rig.alive(key())
    await rig.restart()
    assert rig.alive(key()) == before != set()


# --- what only real processes can show -----------------------------------------------------------

_SHOW = """
import os, sys
print(repr(sys.argv[1:]))
print(repr({name: os.environ.get(name) for name in ("TRICKY", "EMPTY", "LINES")}))
print(os.getcwd(), os.readlink("/proc/self/fd/0"))
print("to stderr", file=sys.stderr)
"""
_TRICKY = "two words '\"quotes\"' 100% %n %% $HOME ${HOME} $$ \\n \\ ; ~ * é"


async def test_arguments_variables_and_surroundings_arrive_as_they_are(real: RealRig):
    exits = Exits(real.runner)
    env = (("EMPTY", ""), ("LINES", "one\ntwo"), ("PATH", os.defpath), ("TRICKY", _TRICKY))
    arguments = (_TRICKY, "", "%h", "$HOME", "a\nb", "-")
    argv = (sys.executable, "-I", "-c", _SHOW, *arguments)
    log = real.log(key())
    log.parent.mkdir()
    log.write_text("of an earlier run\n")
    cwd = real.folder / "with blank % $HOME"
    cwd.mkdir()
    await real.runner.start(RunRequest(key(), argv, env, str(log), cwd=str(cwd)))
    assert (await exits.first()).code == 0
    shown = log.read_text().splitlines()
    assert shown[0] == "of an earlier run"
    assert "to stderr" in shown
    shown.remove("to stderr")
    assert shown[1] == repr(list(arguments))
    assert shown[2] == repr({"TRICKY": _TRICKY, "EMPTY": "", "LINES": "one\ntwo"})
    assert shown[3] == f"{cwd} /dev/null"


async def test_no_signal_is_blocked_or_ignored_and_no_descriptor_is_left_over(real: RealRig):
    exits = Exits(real.runner)
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        argv = ("/bin/sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status; ls /proc/self/fd")
        await real.runner.start(RunRequest(key(), argv, (("PATH", os.defpath),), str(real.log(key()))))
        assert (await exits.first()).code == 0
    finally:
        os.close(reading)
        os.close(writing)
    _, blocked, _, ignored, *descriptors = real.log(key()).read_text().split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & 0x7FFF_FFFF == 0  # 32 and 33 are the C library's own
    assert descriptors == ["0", "1", "2", "3"]  # 3: the listing itself


async def test_a_program_is_looked_up_in_the_path_of_the_service(real: RealRig):
    exits = Exits(real.runner)
    folder = real.folder / "bin"
    folder.mkdir()
    program = folder / "my-engine"
    program.write_text("#!/bin/sh\nexit 5\n")
    program.chmod(0o755)
    path = f"{folder}:{os.defpath}"
    await real.runner.start(RunRequest(key(), ("my-engine",), (("PATH", path),), str(real.log(key()))))
    assert await exits.first() == ExitReport(key(), 5, None, exits[0].at)


@pytest.mark.parametrize(
    ("argv", "changes", "sentence"),
    [
        (("no-such-engine",), {}, "there is no such program in the PATH of chat"),
        (("/etc/passwd",), {}, "cannot run /etc/passwd: Permission denied"),
        (("/bin/true",), {"cwd": "/nonexistent"}, "cannot start chat in /nonexistent: No such file"),
        (("/bin/true",), {"user": "no-such-user"}, "there is no user no-such-user"),
        (("/bin/true", "a\0b"), {}, "contains a NUL"),
        ((), {}, "no command"),
    ],
)
async def test_a_start_that_cannot_work_says_why(real: RealRig, argv, changes, sentence):
    request = RunRequest(key(), argv, (("PATH", os.defpath),), str(real.log(key())), **changes)
    with pytest.raises(StartFailedError, match=sentence):
        await real.runner.start(request)
    assert await real.runner.runs() == ()


async def test_a_log_that_cannot_be_written_fails_the_start(real: RealRig):
    (real.folder / "file").write_text("")
    log = str(real.folder / "file" / "chat.log")
    with pytest.raises(StartFailedError, match="log of chat cannot be written"):
        await real.runner.start(RunRequest(key(), ("/bin/true",), (), log))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start as another user")
async def test_root_starts_engines_as_another_user(real: RealRig):
    exits = Exits(real.runner)
    argv = ("/bin/sh", "-c", "id -un; id -Gn; echo $HOME")
    request = RunRequest(
        key(), argv, (("HOME", "/x"), ("PATH", os.defpath)), str(real.log(key())), user="nobody"
    )
    await real.runner.start(request)
    assert (await exits.first()).code == 0
    assert real.log(key()).read_text().split() == ["nobody", "nogroup", "/x"]
