"""Several processes that claim from one file, and claimers that are killed."""

import contextlib
import signal
import subprocess
import sys
from collections import Counter

import pytest

from gpumod.core.job import Progress
from tests.store.job_samples import job
from tests.store.samples import new_file, opened, sql

JOBS = 16
CLAIMERS = 8

# Claims until nothing is left. The marker exists while a job runs: a second one cannot be made beside it.
CLAIMING = """
import asyncio, os, sys
from pathlib import Path
from gpumod.core.job import JobState
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.job_samples import sample
path, owner, marker = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
async def main():
    async with await open_store(path, FakeClock()) as store:
        jobs = store.job_store
        print("ready", flush=True)
        sys.stdin.readline()
        while await jobs.jobs([JobState.QUEUED, JobState.RUNNING], 1):
            taken = await jobs.claim(owner, 1000.0, stale=60.0)
            if taken is None:
                await asyncio.sleep(0.005)
                continue
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            assert await jobs.add_sample(taken.id, taken.attempt, sample(owner))
            await asyncio.sleep(0.002)
            os.unlink(marker)
            assert await jobs.finish(taken.id, owner, taken.attempt, JobState.DONE, 1001.0)
            print(taken.id, taken.attempt, flush=True)
asyncio.run(main())
"""

# Claims one job over and over with samples and heartbeats, until it is killed.
WORKING = """
import asyncio, sys
from pathlib import Path
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.job_samples import sample
async def main():
    store = await open_store(Path(sys.argv[1]), FakeClock())
    jobs, now = store.job_store, float(sys.argv[3])
    taken = await jobs.claim(sys.argv[2], now, stale=60.0)
    print(taken.id, taken.attempt, flush=True)
    for number in range(1_000_000):
        if await jobs.add_sample(taken.id, taken.attempt, sample(f"{taken.attempt}-{number}")):
            print(f"{taken.attempt}-{number}", flush=True)
        await jobs.beat(taken.id, sys.argv[2], taken.attempt, now)
asyncio.run(main())
"""

# Claims, sleeps until it is woken, and goes on as if nothing had happened.
SLEEPING = """
import asyncio, sys
from pathlib import Path
from gpumod.core.job import JobState, Progress
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.job_samples import sample
async def main():
    async with await open_store(Path(sys.argv[1]), FakeClock()) as store:
        jobs = store.job_store
        taken = await jobs.claim("d1", 100.0, stale=60.0)
        await jobs.add_sample(taken.id, 1, sample("before"))
        await jobs.beat(taken.id, "d1", 1, 101.0, progress=Progress(1))
        print(taken.id, taken.attempt, flush=True)
        sys.stdin.readline()
        print(await jobs.beat(taken.id, "d1", 1, 300.0, progress=Progress(2)))
        print(await jobs.add_sample(taken.id, 1, sample("after")))
        print(await jobs.hold(taken.id, "d1", 1, former=None, restore=True, lease="l1"))
        print(await jobs.finish(taken.id, "d1", 1, JobState.DONE, 301.0))
asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return new_file(tmp_path / "gpumod.db")


def child(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_eight_processes_run_every_job_once_and_one_at_a_time(path, tmp_path):
    async with await opened(path) as store:
        for number in range(JOBS):
            await store.job_store.submit(job(f"j{number}"))
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        claimers = [
            stack.enter_context(child(CLAIMING, path, f"d{number}", tmp_path / "runs"))
            for number in range(CLAIMERS)
        ]
        for claimer in claimers:
            assert claimer.stdout.readline() == "ready\n"
        for claimer in claimers:
            claimer.stdin.write("\n")
            claimer.stdin.flush()
        for claimer in claimers:
            told += claimer.communicate(timeout=120)[0].splitlines()
    assert [claimer.returncode for claimer in claimers] == [0] * CLAIMERS
    assert Counter(told) == Counter(f"j{number} 1" for number in range(JOBS))
    assert sql(path, "SELECT state, attempt, count(*) FROM jobs GROUP BY 1, 2") == [("done", 1, JOBS)]
    assert sql(path, "SELECT count(*), count(DISTINCT job) FROM samples") == [(JOBS, JOBS)]


async def test_killed_claimers_job_is_taken_over_and_nothing_acknowledged_is_lost(path):
    async with await opened(path) as store:
        await store.job_store.submit(job("j1"))
    kept: list[str] = []
    for attempt in (1, 2, 3):
        with child(WORKING, path, f"d{attempt}", attempt * 100) as claimer:
            assert claimer.stdout.readline() == f"j1 {attempt}\n"
            kept += [claimer.stdout.readline().strip() for _ in range(5)]
            claimer.send_signal(signal.SIGKILL)
        assert claimer.returncode == -signal.SIGKILL
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    async with await opened(path) as store:
        jobs = store.job_store
        assert await jobs.claim("d4", 359.0, stale=60.0) is None, "its owner may still live"
        assert (await jobs.claim("d4", 360.0, stale=60.0)).attempt == 4
        assert {one.case for one in await jobs.samples("j1")} >= set(kept)


async def test_former_owner_that_only_slept_cannot_write_any_more(path):
    async with await opened(path) as store:
        await store.job_store.submit(job("j1"))
    with child(SLEEPING, path) as sleeper:
        assert sleeper.stdout.readline() == "j1 1\n"
        async with await opened(path) as store:
            jobs = store.job_store
            taken = await jobs.claim("d2", 200.0, stale=60.0)
            assert (taken.attempt, taken.progress) == (2, Progress(1))
            told, _ = sleeper.communicate("wake\n", timeout=60)
            assert told.split() == ["None", "False", "False", "False"]
            assert await jobs.job("j1") == taken
            assert [one.case for one in await jobs.samples("j1")] == ["before"]
