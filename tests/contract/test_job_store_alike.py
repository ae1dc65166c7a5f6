"""Any sequence of acts on jobs leaves the store in memory and the one on disk with the same."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gpumod.core.job import JobPhase, JobState, Progress, Window
from gpumod.core.retention import Retention
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from gpumod.testing.job_store import MemoryJobStore
from tests.store.job_samples import job, result, sample
from tests.store.samples import desired, new_file
from tests.tries import tries

RETENTION = Retention(jobs=2, results=2)
NAMES = st.integers(0, 5).map("j{}".format)
OWNERS = st.sampled_from(["d1", "d2"])
ATTEMPTS = st.integers(1, 3)
MOMENTS = st.integers(0, 40).map(lambda ten: ten * 10.0)
ENDS = st.sampled_from([JobState.DONE, JobState.FAILED, JobState.CANCELLED])
WINDOWS = st.sampled_from([None, None, Window(0, 3), Window(2, 0), Window(0, 1, "Nowhere")])
NEW = st.fixed_dictionaries(
    {
        "priority": st.integers(-1, 1),
        "after": st.lists(NAMES, max_size=2).map(tuple),
        "not_before": st.one_of(st.none(), MOMENTS),
        "window": WINDOWS,
        "dedupe": st.sampled_from(["", "", "a", "b"]),
    }
)


def act(name, *arguments, **named):
    """A call of a method with drawn arguments."""
    return st.tuples(st.just(name), st.tuples(*arguments), st.fixed_dictionaries(named))


MINE = (NAMES, OWNERS, ATTEMPTS)
ACTS = st.one_of(
    act("submit", st.builds(lambda name, new: job(name, **new), NAMES, NEW)),
    act("claim", OWNERS, MOMENTS, stale=st.sampled_from([0.0, 60.0])),
    act("claim", OWNERS, MOMENTS, stale=st.just(60.0)),
    act("beat", *MINE, MOMENTS, phase=st.sampled_from([None, *JobPhase]), progress=st.just(Progress(1, 2))),
    act("hold", *MINE, former=st.just(desired()), restore=st.booleans(), lease=st.just("l1")),
    act("finish", *MINE, ENDS, MOMENTS, st.sampled_from(["", "why"])),
    act("ask_cancel", NAMES, MOMENTS, st.sampled_from(["", "by agent"])),
    act("requeue", NAMES, keep_samples=st.booleans()),
    act("add_sample", NAMES, ATTEMPTS, st.builds(sample, st.sampled_from(["c1", "c2"]))),
    act("save_result", st.builds(result, NAMES), ATTEMPTS),
)


async def told(store, name, arguments, named):
    """What an act answers, and what is left."""
    answer = await getattr(store, name)(*arguments, **named)
    jobs = await store.jobs()
    assert sum(job.state is JobState.RUNNING for job in jobs) <= 1
    keys = [job.request.dedupe for job in jobs if job.request.dedupe and not job.state.ended]
    assert len(keys) == len(set(keys))
    return answer, jobs, [await store.samples(job.id) for job in jobs], await store.results()


async def both(path, acts):
    memory = MemoryJobStore(FakeClock(), RETENTION)
    async with await open_store(path, FakeClock(), retention=RETENTION) as store:
        for one in acts:
            assert await told(store.job_store, *one) == await told(memory, *one), one


@tries(15)
@given(st.lists(ACTS, max_size=40))
def test_both_stores_answer_alike(acts):
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(both(new_file(Path(directory) / "gpumod.db"), acts))
