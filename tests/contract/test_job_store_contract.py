"""What every store of jobs does: the one in memory and the one on disk."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gpumod.core.errors import StoreError
from gpumod.core.job import JobPhase, JobState, Progress, Window
from gpumod.core.job_ports import JobStore
from gpumod.core.retention import Retention
from gpumod.store import open_store
from gpumod.testing.clock import FakeClock
from gpumod.testing.job_store import MemoryJobStore
from tests.store.job_samples import full, job, result, sample, schedule
from tests.store.samples import desired, new_file

RETENTION = Retention(jobs=3, results=4)
STALE = 60.0


class House:
    """Jobs, and how to find them again as the next daemon would."""

    def __init__(self, kind, path):
        self.clock = FakeClock()
        self._path = new_file(path) if kind == "sqlite" else None
        self._store = None
        self.jobs: JobStore = MemoryJobStore(self.clock, RETENTION)

    async def restart(self):
        await self.close()
        if self._path:
            self._store = await open_store(self._path, self.clock, retention=RETENTION)
            self.jobs = self._store.job_store
        return self.jobs

    async def close(self):
        if self._store:
            await self._store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def house(request, tmp_path):
    house = House(request.param, tmp_path / "gpumod.db")
    await house.restart()
    yield house
    await house.close()


@pytest.fixture
def store(house):
    return house.jobs


async def submit(store, *names, **request):
    for name in names:
        await store.submit(job(name, **request))


async def claimed(store, now=1000.0, owner="d1", stale=STALE):
    taken = await store.claim(owner, now, stale=stale)
    return taken and taken.id


async def end(store, name, state=JobState.DONE, now=1000.0):
    """Run the next job to its end; it has to be this one."""
    taken = await store.claim("d1", now, stale=STALE)
    assert taken.id == name
    assert await store.finish(name, "d1", taken.attempt, state, now)


async def states(store):
    return {job.id: str(job.state) for job in await store.jobs()}


async def test_new_store_is_empty(store):
    assert await store.jobs() == ()
    assert await store.job("j1") is None
    assert await store.claim("d1", 0.0, stale=STALE) is None
    assert await store.ask_cancel("j1", 0.0, "") is None
    assert await store.requeue("j1", keep_samples=True) is None
    assert await store.samples("j1") == ()
    assert await store.results() == ()
    assert await store.schedules() == ()
    assert not await store.delete_schedule("s1")


async def test_why_a_job_will_fail_is_kept_until_it_ends(house):
    store = house.jobs
    await submit(store, "j1")
    await store.claim("d1", 1000.0, stale=STALE)
    beaten = await store.beat("j1", "d1", 1, 1001.0, phase=JobPhase.RESTORING, reason="no room")
    assert beaten.reason == "no room"
    assert (await store.beat("j1", "d1", 1, 1002.0)).reason == "no room"
    store = await house.restart()
    assert (await store.job("j1")).reason == "no room"


async def test_everything_is_there_after_a_restart(house):
    store = house.jobs
    assert await store.submit(full()) == full()
    await submit(store, "j2", priority=9)
    taken = await store.claim("d1", 1000.0, stale=STALE)
    progress = Progress(3, 15, "code", "c3", 12.5)
    await store.hold("j2", "d1", 1, former=desired(), restore=True, lease="l1")
    beaten = await store.beat("j2", "d1", 1, 1010.0, phase=JobPhase.MEASURING, progress=progress)
    await store.add_sample("j2", 1, sample())
    assert await store.save_result(result("j2"), 1)
    await store.save_schedule(schedule(last=5.0, enabled=False))
    store = await house.restart()
    assert await store.jobs() == (beaten, full())
    assert beaten.request == taken.request == job(priority=9).request
    assert (beaten.state, beaten.attempt, beaten.owner, beaten.started) == (JobState.RUNNING, 1, "d1", 1000.0)
    assert (beaten.heartbeat, beaten.phase, beaten.progress) == (1010.0, JobPhase.MEASURING, progress)
    assert (beaten.former, beaten.restore, beaten.lease) == (desired(), True, "l1")
    assert await store.samples("j2") == (sample(),)
    assert await store.results() == (result("j2"),)
    assert await store.schedules() == (schedule(last=5.0, enabled=False),)


# --- submission ---------------------------------------------------------------------------------------


async def test_dedupe_key_lives_once_among_queued_and_running_jobs(store):
    first = await store.submit(job("j1", dedupe="key"))
    assert await store.submit(job("j2", dedupe="key")) == first
    await store.claim("d1", 1000.0, stale=STALE)
    assert (await store.submit(job("j3", dedupe="key"))).id == "j1"
    assert (await store.submit(job("j4", dedupe="other"))).id == "j4"
    await store.finish("j1", "d1", 1, JobState.DONE, 1001.0)
    assert (await store.submit(job("j5", dedupe="key"))).id == "j5"
    await submit(store, "j6", "j7")
    assert await states(store) == {
        "j7": "queued",
        "j6": "queued",
        "j5": "queued",
        "j4": "queued",
        "j1": "done",
    }


async def test_job_that_was_submitted_already_is_answered_as_it_is_now(store):
    await submit(store, "j1")
    await end(store, "j1")
    assert (await store.submit(job("j1"))).state is JobState.DONE
    assert len(await store.jobs()) == 1


async def test_jobs_are_told_newest_first_by_state_and_up_to_a_limit(store):
    await submit(store, "j1", "j2", "j3")
    await end(store, "j1")
    assert [job.id for job in await store.jobs()] == ["j3", "j2", "j1"]
    assert [job.id for job in await store.jobs([JobState.QUEUED])] == ["j3", "j2"]
    assert [job.id for job in await store.jobs([JobState.QUEUED, JobState.DONE], 2)] == ["j3", "j2"]


# --- claims -------------------------------------------------------------------------------------------


async def test_highest_priority_first_and_equals_in_the_order_of_submission(store):
    await submit(store, "a", "b")
    await submit(store, "urgent", priority=5)
    await submit(store, "last", priority=-1)
    for name in ("urgent", "a", "b", "last"):
        await end(store, name)
    assert await claimed(store) is None


async def test_one_job_runs_at_a_time(store):
    await submit(store, "j1", "j2")
    taken = await store.claim("d1", 1000.0, stale=STALE)
    assert (taken.id, taken.attempt, taken.owner, taken.phase) == ("j1", 1, "d1", JobPhase.CLAIMED)
    assert (taken.started, taken.heartbeat) == (1000.0, 1000.0)
    assert await claimed(store, owner="d1") is None
    assert await claimed(store, owner="d2") is None
    await store.finish("j1", "d1", 1, JobState.DONE, 1001.0)
    assert await claimed(store, owner="d2") == "j2"


async def test_job_of_a_lost_owner_is_taken_over_before_any_other(store):
    await submit(store, "j1")
    await store.claim("d1", 1000.0, stale=STALE)
    await store.hold("j1", "d1", 1, former=desired(), restore=True, lease="l1")
    await store.beat("j1", "d1", 1, 1010.0, phase=JobPhase.MEASURING)
    await submit(store, "urgent", priority=99)
    assert await claimed(store, 1069.0, "d2") is None
    taken = await store.claim("d2", 1070.0, stale=STALE)
    assert (taken.id, taken.attempt, taken.owner, taken.heartbeat) == ("j1", 2, "d2", 1070.0)
    assert taken.started == 1000.0
    assert taken.phase is JobPhase.MEASURING, "the new owner has to know where the former one was lost"
    assert (taken.former, taken.restore, taken.lease) == (desired(), True, "l1")


async def test_daemon_that_knows_to_be_alone_takes_over_at_once(store):
    await submit(store, "j1")
    await claimed(store)
    assert await claimed(store, 1000.0, "d2", stale=0.0) == "j1"


async def test_job_is_taken_over_although_the_clock_was_put_back(store):
    await submit(store, "j1")
    await claimed(store, 1_000_000.0)
    assert await claimed(store, 999_990.0, "d2") is None
    assert await claimed(store, 5000.0, "d2") == "j1"


async def test_writes_of_an_earlier_attempt_are_refused(store):
    await submit(store, "j1")
    await claimed(store)
    assert await store.add_sample("j1", 1, sample("c1"))
    taken = await store.claim(
        "d1", 2000.0, stale=STALE
    )  # by the same name: the attempt is what tells them apart
    assert taken.attempt == 2
    assert await store.beat("j1", "d1", 1, 3000.0, progress=Progress(9)) is None
    assert not await store.hold("j1", "d1", 1, former=None, restore=False, lease="l9")
    assert not await store.add_sample("j1", 1, sample("c2"))
    assert not await store.finish("j1", "d1", 1, JobState.FAILED, 3000.0, "late")
    assert await store.job("j1") == taken
    assert await store.samples("j1") == (sample("c1"),)
    assert not await store.finish("j1", "d2", 2, JobState.DONE, 3000.0), "another owner"
    assert await store.finish("j1", "d1", 2, JobState.DONE, 3000.0)
    assert not await store.finish("j1", "d1", 2, JobState.FAILED, 3001.0), "it has ended"
    assert not await store.add_sample("j1", 2, sample("c3"))
    assert await store.beat("j1", "d1", 2, 3002.0) is None


async def test_end_of_a_job(store):
    await submit(store, "j1")
    await claimed(store)
    assert await store.finish("j1", "d1", 1, JobState.FAILED, 1005.0, "the model did not start")
    ended = await store.job("j1")
    assert (ended.state, ended.ended, ended.reason, ended.phase) == (
        JobState.FAILED,
        1005.0,
        "the model did not start",
        None,
    )


# --- when a job may begin -------------------------------------------------------------------------------


async def test_not_before_lets_others_pass(store):
    await submit(store, "later", not_before=2000.0, priority=9)
    await submit(store, "now")
    await end(store, "now", now=1999.0)
    assert await claimed(store, 1999.5) is None
    assert await claimed(store, 2000.0) == "later"


def at(text, zone="Europe/Berlin", fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


NIGHT = Window(22 * 60, 6 * 60, "Europe/Berlin")
NOON = Window(12 * 60, 13 * 60 + 30, "Asia/Kolkata")


@pytest.mark.parametrize(
    ("window", "when", "runs"),
    [
        (NIGHT, at("2026-01-15T21:59:59"), False),
        (NIGHT, at("2026-01-15T22:00"), True),
        (NIGHT, at("2026-01-16T05:59:59"), True),
        (NIGHT, at("2026-01-16T06:00"), False),
        (NIGHT, at("2026-07-15T20:00", "UTC"), True),  # summer: UTC+2
        (NIGHT, at("2026-01-15T20:00", "UTC"), False),  # winter: UTC+1
        (Window(2 * 60, 3 * 60, "Europe/Berlin"), at("2026-10-25T02:30", fold=0), True),
        (Window(2 * 60, 3 * 60, "Europe/Berlin"), at("2026-10-25T02:30", fold=1), True),
        (
            Window(2 * 60, 3 * 60, "Europe/Berlin"),
            at("2026-03-29T01:00", "UTC"),
            False,
        ),  # 03:00, skipping 02:xx
        (NOON, at("2026-01-15T06:30", "UTC"), True),
        (NOON, at("2026-01-15T08:00", "UTC"), False),
        (Window(0, 24 * 60), at("2026-01-15T23:59:59", "UTC"), True),
        (Window(0, 60, "Mars/Olympus"), at("2026-01-15T00:30", "UTC"), False),
    ],
)
async def test_job_begins_in_its_window_only_and_others_pass(store, window, when, runs):
    await submit(store, "windowed", window=window, priority=9)
    await submit(store, "other")
    assert await claimed(store, when) == ("windowed" if runs else "other")


async def test_window_does_not_stop_a_job_from_being_taken_over(store):
    await submit(store, "j1", window=NIGHT)
    begun = at("2026-01-16T05:59")
    assert await claimed(store, begun) == "j1"
    assert await claimed(store, begun + 3600, "d2") == "j1"


# --- dependencies ---------------------------------------------------------------------------------------


async def test_job_waits_until_all_it_needs_is_done(store):
    await submit(store, "a", "b")
    await submit(store, "c", after=("a", "b"), priority=9)
    await end(store, "a")
    await end(store, "b")
    await end(store, "c")


@pytest.mark.parametrize("how", ["failed", "cancelled while running", "cancelled while queued"])
async def test_what_waits_in_vain_fails_and_says_for_which_job(store, how):
    await submit(store, "a")
    await submit(store, "b", after=("a",))
    await submit(store, "c", after=("b",))
    await submit(store, "other")
    if how == "failed":
        await end(store, "a", JobState.FAILED, 1234.0)
    elif how == "cancelled while running":
        await end(store, "a", JobState.CANCELLED, 1234.0)
    else:
        await store.ask_cancel("a", 1234.0, "")
    b, c = await store.job("b"), await store.job("c")
    assert (b.state, c.state, b.ended, c.ended) == (JobState.FAILED, JobState.FAILED, 1234.0, 1234.0)
    word = "failed" if how == "failed" else "was cancelled"
    assert b.reason == f"job a, which has to be done first, {word}"
    assert c.reason == "job b, which has to be done first, failed"
    assert await claimed(store) == "other"


async def test_job_that_waits_for_a_failed_or_an_unknown_one_fails_at_once(store):
    await submit(store, "a")
    await end(store, "a", JobState.FAILED)
    failed = await store.submit(job("b", after=("a",)))
    assert (failed.state, failed.reason) == (JobState.FAILED, "job a, which has to be done first, failed")
    lost = await store.submit(job("c", after=("nobody",)))
    assert lost.reason == "job nobody, which has to be done first, is not known"
    assert await claimed(store) is None


# --- cancelling and retrying ------------------------------------------------------------------------------


async def test_queued_job_is_cancelled_at_once(store):
    await submit(store, "j1")
    ended = await store.ask_cancel("j1", 1500.0, "by agent")
    assert (ended.state, ended.ended, ended.reason) == (JobState.CANCELLED, 1500.0, "by agent")
    assert await claimed(store) is None
    assert await store.ask_cancel("j1", 1600.0, "again") == ended


async def test_running_job_is_told_to_its_owner_who_ends_it(store):
    await submit(store, "j1")
    await claimed(store)
    asked = await store.ask_cancel("j1", 1500.0, "by agent")
    assert (asked.state, asked.cancel_asked, asked.ended) == (JobState.RUNNING, True, None)
    assert (await store.beat("j1", "d1", 1, 1510.0)).cancel_asked
    taken = await store.claim("d2", 9000.0, stale=STALE)
    assert taken.cancel_asked, "the next owner has to know too"
    await store.finish("j1", "d2", 2, JobState.CANCELLED, 9001.0)
    assert (await store.job("j1")).reason == "by agent"


async def test_job_that_was_done_before_the_cancel_was_seen_is_done(store):
    await submit(store, "j1")
    await claimed(store)
    await store.ask_cancel("j1", 1500.0, "by agent")
    await store.finish("j1", "d1", 1, JobState.DONE, 1501.0)
    assert ((await store.job("j1")).state, (await store.job("j1")).reason) == (JobState.DONE, "")


@pytest.mark.parametrize("keep", [True, False])
async def test_retry_goes_on_or_begins_afresh_in_a_larger_attempt(store, keep):
    await submit(store, "j1", "j2")
    await claimed(store)
    await store.hold("j1", "d1", 1, former=desired(), restore=True, lease="l1")
    await store.beat("j1", "d1", 1, 1001.0, phase=JobPhase.MEASURING, progress=Progress(1, 2))
    await store.add_sample("j1", 1, sample("c1"))
    assert await store.requeue("j1", keep_samples=keep) is None, "it has not ended"
    await store.ask_cancel("j1", 1002.0, "why")
    await store.finish("j1", "d1", 1, JobState.CANCELLED, 1003.0)
    again = await store.requeue("j1", keep_samples=keep)
    progress = Progress(1, 2) if keep else Progress()
    assert again == await store.job("j1")
    assert (again.state, again.started, again.ended, again.reason) == (JobState.QUEUED, None, None, "")
    assert (again.cancel_asked, again.former, again.restore, again.lease) == (False, None, False, None)
    assert (again.progress, again.phase, again.heartbeat) == (progress, None, None)
    assert len(await store.samples("j1")) == keep
    assert not await store.add_sample("j1", 1, sample("c2")), "the first attempt is still over"
    taken = await store.claim("d1", 2000.0, stale=STALE)
    assert (taken.id, taken.attempt, taken.started) == ("j1", 2, 2000.0)


async def test_a_done_job_keeps_its_record_unless_it_begins_afresh(store):
    await submit(store, "j1")
    await end(store, "j1")
    before = await store.job("j1")
    assert await store.requeue("j1", keep_samples=True) is None
    assert await store.job("j1") == before
    assert (await store.requeue("j1", keep_samples=False)).state is JobState.QUEUED
    await end(store, "j1")


async def test_retry_answers_the_job_that_has_the_same_key_meanwhile(store):
    await submit(store, "j1", dedupe="key")
    await end(store, "j1", JobState.FAILED)
    await submit(store, "j2", dedupe="key")
    assert (await store.requeue("j1", keep_samples=True)).id == "j2"
    assert await states(store) == {"j2": "queued", "j1": "failed"}


async def test_retry_of_a_job_that_still_waits_in_vain_fails(store):
    await submit(store, "a")
    await submit(store, "b", after=("a",))
    await end(store, "a", JobState.FAILED)
    assert (await store.requeue("b", keep_samples=True)).state is JobState.FAILED
    await store.requeue("a", keep_samples=True)
    assert (await store.requeue("b", keep_samples=True)).state is JobState.QUEUED
    await end(store, "a")
    await end(store, "b")


# --- samples, results, schedules ----------------------------------------------------------------------------


async def test_sample_is_kept_once_per_target_and_case_in_order(store):
    await submit(store, "j1")
    await claimed(store)
    for case, target in [("c2", "code"), ("c1", "code"), ("c2", "chat")]:
        assert await store.add_sample("j1", 1, sample(case, target))
    assert await store.add_sample("j1", 1, sample("c2", score=0.0)), "there already: nothing is amiss"
    assert await store.samples("j1") == (sample("c2"), sample("c1"), sample("c2", "chat"))
    assert await store.samples("j1", "chat") == (sample("c2", "chat"),)
    assert not await store.add_sample("j9", 1, sample())


async def save(store, kept):
    """Have a running job keep a result."""
    assert await store.save_result(kept, (await store.job(kept.job)).attempt)


async def test_result_takes_the_place_of_the_former_one(store):
    await submit(store, "j1")
    await claimed(store)
    await save(store, result(label="old"))
    await save(store, result(target="chat", suite="smoke"))
    await save(store, result(label="new"))
    await store.finish("j1", "d1", 1, JobState.DONE, 1000.0)
    await submit(store, "j2")
    await claimed(store)
    await save(store, result("j2"))
    assert await store.results() == (result("j2"), result(label="new"), result(target="chat", suite="smoke"))
    assert await store.results("j1", suite="smoke") == (result(target="chat", suite="smoke"),)
    assert await store.results(target="code", limit=1) == (result("j2"),)
    assert await store.results(suite="soak") == ()


async def test_result_of_an_earlier_attempt_is_refused(store):
    assert not await store.save_result(result(), 1), "there is no such job"
    await submit(store, "j1")
    assert not await store.save_result(result(), 0), "nobody runs it"
    await claimed(store)
    await save(store, result(label="first"))
    await claimed(store, now=1000.0 + 10 * STALE, owner="d2")
    assert not await store.save_result(result(label="late"), 1)
    assert await store.results() == (result(label="first"),)
    await save(store, result(label="second"))
    await store.finish("j1", "d2", 2, JobState.DONE, 2000.0)
    assert not await store.save_result(result(label="after the end"), 2)
    assert await store.results() == (result(label="second"),)


async def test_schedules_are_replaced_and_forgotten(store):
    await store.save_schedule(schedule("s2"))
    await store.save_schedule(schedule("s1"))
    await store.save_schedule(schedule("s2", enabled=False))
    assert await store.schedules() == (schedule("s1"), schedule("s2", enabled=False))
    assert await store.delete_schedule("s2")
    assert not await store.delete_schedule("s2")
    assert await store.schedules() == (schedule("s1"),)


# --- retention ----------------------------------------------------------------------------------------


async def test_old_ended_jobs_go_with_their_samples_and_leave_their_results(store):
    await submit(store, "queued", not_before=9e9)
    for number in range(5):
        name = f"j{number}"
        await submit(store, name)
        taken = await store.claim("d1", 1000.0, stale=STALE)
        await store.add_sample(name, taken.attempt, sample())
        if name == "j0":
            await save(store, result("j0"))
        await store.finish(name, "d1", taken.attempt, JobState.DONE, 1001.0)
    await submit(store, "last")
    assert [job.id for job in await store.jobs()] == ["last", "j4", "j3", "j2", "queued"]
    assert await store.samples("j1") == ()
    assert await store.samples("j2") == (sample(),)
    assert await store.results() == (result("j0"),)


async def test_job_that_another_waits_for_is_kept(store):
    await submit(store, "first")
    await submit(store, "waits", after=("first",), not_before=2000.0)
    await end(store, "first")
    for number in range(5):
        await submit(store, f"j{number}")
        await end(store, f"j{number}")
    await submit(store, "last", not_before=9e9)
    assert (await store.job("first")).state is JobState.DONE
    assert await store.job("j0") is None
    assert await claimed(store, 2000.0) == "waits"


async def test_only_the_newest_results_are_kept(store):
    for number in range(6):
        await submit(store, f"j{number}")
        await claimed(store)
        await save(store, result(f"j{number}"))
        await store.finish(f"j{number}", "d1", 1, JobState.DONE, 1000.0)
    assert [result.job for result in await store.results()] == ["j5", "j4", "j3", "j2"]


async def test_store_in_memory_fails_on_demand():
    store = MemoryJobStore(FakeClock())
    store.fail(StoreError("the disk is full"), "submit")
    with pytest.raises(StoreError, match="full"):
        await store.submit(job())
    assert await store.jobs() == ()
    store.heal()
    await store.submit(job())
    assert len(await store.jobs()) == 1
