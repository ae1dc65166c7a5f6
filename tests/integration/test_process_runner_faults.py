"""The process runner when something goes wrong.

A daemon or a keeper that is killed at any moment, hostile processes, pids that mean something else by now.
Real processes; each test ends what it started.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gpumod.core.errors import StartFailedError
from gpumod.core.ports import Liveness, RunRequest
from gpumod.runners import spawn as spawning
from gpumod.runners.procfs import all_stats, boot_id, read_stat
from gpumod.runners.rundir import RunDir
from tests.runners.rigs import FAMILY, Exits, ProcessRig, key, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def rig(tmp_path):
    made = ProcessRig(tmp_path)
    yield made
    await made.close()


async def started(rig, behaviour="plain"):
    found = await rig.runner.start(rig.request(key(), behaviour))
    await rig.ready(key())
    return found


def run_dir(rig, run_key=None) -> RunDir:
    return RunDir(rig.folder / "state", run_key or key())


def keeper_of(rig) -> int:
    keeper = run_dir(rig).keeper()
    assert keeper is not None
    return keeper.pid


def ticks(pid: int) -> int:
    stat = read_stat(pid)
    assert stat is not None
    return stat.start_ticks


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def living_with(text: str) -> set[int]:
    """Living processes whose environment has that text: the truth, found without the runner."""
    found = set()
    for stat in all_stats():
        try:
            environment = Path(f"/proc/{stat.pid}/environ").read_bytes()
        except OSError:
            continue
        if not stat.dead and text.encode() in environment.split(b"\0"):
            found.add(stat.pid)
    return found


@pytest.fixture
def stranger():
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


# --- the daemon is killed ------------------------------------------------------------------------


async def deaths(folder: Path, how: str, count: int):
    """Numbers of starts whose daemon has just died, as they die."""
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.runners.driver", str(folder), how, str(count)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert driver.stdout is not None
    outcomes = set()
    async for line in driver.stdout:
        number, outcome = line.split()
        outcomes.add(outcome)
        yield int(number)
    assert await driver.wait() == 0
    assert b"killed" in outcomes
    assert b"unharmed" in outcomes or how == "delays", "not every moment of a start was among them"


MOMENTS = pytest.mark.parametrize(("how", "count"), [("events", 200), ("delays", 40)])


@MOMENTS
async def test_a_daemon_killed_at_any_moment_of_a_start_loses_no_process(rig, how, count):
    found = {number: await rig.runner.find(key(number)) async for number in deaths(rig.folder, how, count)}
    for number, run in found.items():
        mark = f"GPUMOD_TEST_MARK={rig.folder}/{number}"
        if run.liveness is Liveness.RUNNING:
            await until(lambda mark=mark: len(living_with(mark)) == 3, "its processes are there")
        assert living_with(mark) == {one.pid for one in await rig.runner.processes(key(number))}
        assert (await rig.runner.find(key(number))).liveness is run.liveness
    liveness = [run.liveness for run in found.values()]
    if how == "events":  # those before the keeper was spawned, then those after
        assert liveness == sorted(liveness)
        assert set(liveness) == {Liveness.ABSENT, Liveness.RUNNING}


@MOMENTS
async def test_what_a_killed_daemon_was_starting_is_killed_before_it_is_there(rig, how, count):
    numbers = []
    async for number in deaths(rig.folder, how, count):
        await rig.runner.kill(key(number))
        assert await rig.runner.processes(key(number)) == ()
        numbers.append(number)
    for number in numbers:
        assert not living_with(f"GPUMOD_TEST_MARK={rig.folder}/{number}")
        await rig.runner.forget(key(number))
    assert await rig.runner.runs() == ()


async def test_what_a_terminal_sends_does_not_end_a_keeper(rig):
    found = await started(rig)
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGPIPE,
        signal.SIGTSTP,
    ):
        os.kill(keeper_of(rig), number)
    assert await rig.runner.find(key()) == found
    assert os.getsid(keeper_of(rig)) == keeper_of(rig)
    assert await rig.runner.processes(key()) == (found.leader,)


async def test_a_start_whose_caller_gives_up_is_not_lost(rig):
    task = asyncio.create_task(rig.runner.start(rig.request(key(), "plain")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await rig.runner.find(key())
    assert found.liveness is Liveness.RUNNING
    assert await rig.runner.processes(key()) == (found.leader,)


# --- the keeper is killed ------------------------------------------------------------------------


async def test_a_killed_keeper_takes_its_leader_along_and_its_survivors_are_found(rig):
    exits = Exits(rig.runner)
    await started(rig, "family")
    assert len(await rig.runner.processes(key())) == FAMILY  # seen once, as the daemon does all the time
    os.kill(keeper_of(rig), signal.SIGKILL)
    report = await exits.first()
    assert report.phrase == "ended while nobody was watching"
    assert (await rig.runner.find(key())).liveness is Liveness.EXITED
    assert {one.pid for one in await rig.runner.processes(key())} == rig.alive(key()) != set()
    await rig.runner.kill(key())
    assert rig.alive(key()) == set()
    assert await rig.runner.processes(key()) == ()
    await rig.runner.forget(key())
    assert len(exits) == 1


async def test_survivors_of_a_killed_keeper_are_found_by_a_later_daemon(rig):
    await started(rig, "family")
    await rig.runner.processes(key())
    runner = await rig.restart()
    os.kill(keeper_of(rig), signal.SIGKILL)
    await until(lambda: len(rig.alive(key())) < FAMILY, "the leader is gone")
    assert (await runner.find(key())).liveness is Liveness.EXITED
    assert {one.pid for one in await runner.processes(key())} == rig.alive(key()) != set()
    await runner.kill(key())
    assert rig.alive(key()) == set()


@pytest.mark.parametrize("milliseconds", range(0, 24, 2))
async def test_a_keeper_killed_at_any_moment_of_a_start_leaves_nothing_unseen(rig, monkeypatch, milliseconds):
    posix_spawn = spawning._posix_spawn

    def spawn_and_kill(*arguments):
        keeper = posix_spawn(*arguments)

        def kill():
            time.sleep(milliseconds / 1000)
            os.kill(keeper, signal.SIGKILL)

        threading.Thread(target=kill).start()
        return keeper

    monkeypatch.setattr(spawning, "_posix_spawn", spawn_and_kill)
    mark = f"GPUMOD_TEST_MARK={rig.folder}"
    request = RunRequest(
        key(),
        ("/bin/sleep", "600"),
        (("GPUMOD_TEST_MARK", str(rig.folder)),),
        str(rig.log(key())),
    )
    with contextlib.suppress(StartFailedError):
        await rig.runner.start(request)
    await until(lambda: not living_with(mark), "the leader has gone with its keeper")
    found = await rig.runner.find(key())
    assert found.liveness in {Liveness.EXITED, Liveness.ABSENT}
    assert await rig.runner.processes(key()) == ()


async def test_a_stopped_keeper_still_kills(rig):
    await started(rig, "family")
    os.kill(keeper_of(rig), signal.SIGSTOP)
    assert len(await rig.runner.processes(key())) == FAMILY
    await rig.runner.kill(key())
    assert rig.alive(key()) == set()
    assert (await rig.runner.find(key())).liveness is Liveness.EXITED


# --- hostile and unlucky ones --------------------------------------------------------------------

_BOMB = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.time() + 120  # should the test fail
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
else:
    while time.time() < end:
        time.sleep(0.1)
while time.time() < end:
    if sys.argv[2] == "moving":  # nobody who is seen is still there when the signal comes
        if os.fork():
            os._exit(0)
        os.setsid()
    elif os.fork():  # a killed child is replaced
        os.wait()
    else:
        time.sleep(30)
"""


@pytest.mark.parametrize("how", ["moving", "replacing"])
async def test_processes_that_fork_all_the_time_are_killed(rig, how):
    argv = (sys.executable, "-I", "-S", "-c", _BOMB, "12", how)
    env = (("GPUMOD_TEST_MARK", str(rig.folder)),)
    await rig.runner.start(RunRequest(key(), argv, env, str(rig.log(key()))))

    async def many():
        return len(await rig.runner.processes(key())) > 8

    await until(many, "they fork")
    await rig.runner.kill(key())
    assert not living_with(f"GPUMOD_TEST_MARK={rig.folder}")
    assert await rig.runner.processes(key()) == ()


def recorded(rig, identity: str):
    """An attempt as a former daemon left it, all of whose processes are that one."""
    folder = rig.folder / "state" / "runs" / "chat@1"
    folder.mkdir(parents=True)
    for name in ("keeper", "leader", "tree"):
        (folder / name).write_text(identity + "\n")


async def test_a_pid_that_belongs_to_somebody_else_by_now_is_left_alone(rig, stranger):
    recorded(rig, f"{stranger.pid} {ticks(stranger.pid) - 1} {boot_id()}")
    assert (await rig.runner.find(key())).liveness is Liveness.EXITED
    assert await rig.runner.processes(key()) == ()
    await rig.runner.signal(key(), signal.SIGKILL)
    await rig.runner.kill(key())
    await rig.runner.forget(key())
    assert stranger.poll() is None
    assert await rig.runner.runs() == ()


async def test_an_attempt_of_another_boot_has_ended(rig, stranger):
    """Even where the same pid started at the same tick."""
    recorded(rig, f"{stranger.pid} {ticks(stranger.pid)} another-boot")
    found = await rig.runner.find(key())
    assert found.liveness is Liveness.EXITED
    assert found.exit.phrase == "ended while nobody was watching"
    await rig.runner.kill(key())
    assert stranger.poll() is None


async def test_half_written_files_are_no_obstacle(rig):
    folder = rig.folder / "state" / "runs" / "chat@1"
    folder.mkdir(parents=True)
    for name in ("lock", "keeper", "leader", "exit", "tree"):
        (folder / name).write_text("12")
    (folder.parent / "not ours").mkdir()
    assert [run.liveness for run in await rig.runner.runs()] == [Liveness.ABSENT]
    await rig.runner.kill(key())
    await rig.runner.forget(key())
    assert await rig.runner.runs() == ()


async def test_the_engine_goes_before_its_keeper_when_memory_runs_out(rig):
    found = await started(rig)
    engine, keeper = (int(proc(pid, "oom_score_adj")) for pid in (found.leader.pid, keeper_of(rig)))
    assert engine == min(1000, keeper + 100)


async def test_a_keeper_is_small(rig):
    """Bytes that are its own; the interpreter's code is shared with all keepers."""
    await started(rig)
    rollup = proc(keeper_of(rig), "smaps_rollup").splitlines()
    pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    assert pss < 10 << 10
