"""`python -m tests.store.make_schema FILE`: dump the present schema with a row of every kind."""

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gpumod.core.events import EventKind
from gpumod.core.job import JobPhase, JobState, Progress
from gpumod.core.switch import Phase, StepState, SwitchState
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from tests.store.job_samples import full, job, result, sample, schedule
from tests.store.samples import CHAT, desired, lease, measurement, service, step, switch

DONE = switch("s0", state=SwitchState.COMMITTED, ended=900.0, left="in mode code", steps=[step()])
OPEN = switch("s1", steps=[step(state=StepState.RUNNING, started=1.0), step(0, Phase.UNDO)])
RUNNING = replace(
    job("j1", created=2000.0),
    state=JobState.RUNNING,
    attempt=1,
    owner="d1",
    heartbeat=6.0,
    phase=JobPhase.MEASURING,
    started=5.0,
    progress=Progress(3, 15, "code", "c3", 12.5),
    former=desired(),
    restore=True,
    lease="l1",
)
JOBS = (job("j2", created=3000.0, after=("j1",)), RUNNING, full())
EVENT = (1.5, EventKind.SERVICE, "chat", "ready", {"n": 1})


async def fill(path):
    async with await open_store(path, FakeClock()) as store:
        await store.save_service(service())
        await store.next_generation(CHAT)
        await store.save_port(CHAT, 18001)
        await store.begin_switch(switch("s0", steps=[step()]))
        await store.commit_switch(DONE, desired())
        await store.begin_switch(OPEN)
        await store.save_lease(lease())
        await store.add_measurement(measurement())
        await store.append_event(*EVENT)
        await store.save_idempotent("k", "f", "{}", 1_000_000.0)
        await fill_jobs(store.job_store)


async def fill_jobs(store):
    await store.submit(full())
    await store.submit(job("j1", created=2000.0))
    await store.submit(job("j2", created=3000.0, after=("j1",)))
    await store.claim("d1", 5.0, stale=60.0)
    await store.hold("j1", "d1", 1, former=desired(), restore=True, lease="l1")
    await store.beat("j1", "d1", 1, 6.0, phase=JobPhase.MEASURING, progress=RUNNING.progress)
    await store.add_sample("j1", 1, sample())
    await store.save_result(result(), 1)
    await store.save_schedule(schedule())


def main():
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gpumod.db"
        asyncio.run(fill(path))
        with closing(sqlite3.connect(path)) as connection:
            Path(sys.argv[1]).write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    main()
