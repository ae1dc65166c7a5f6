"""What is asked of the queue is checked before it waits."""

import pytest

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.job import JobId, JobRequest, JobState, Window


@pytest.fixture
async def bench(make_bench):
    bench = await make_bench(start="")
    await bench.worker.close()
    return bench


async def test_parameters_are_kept_with_their_defaults(bench):
    job = await bench.submit("qwen", parameters={})
    assert job.request.parameters == {"n": 3}
    assert job.state is JobState.QUEUED


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (JobRequest("nope", ("qwen",)), NotFoundError, "there are: scripted"),
        (JobRequest("scripted", ("nope",)), NotFoundError, "neither a mode nor a preset"),
        (JobRequest("scripted", ("qwen",), {"m": 1}), InvalidRequestError, "only `n`"),
        (JobRequest("scripted", ()), InvalidRequestError, "1 to 64 targets"),
        (JobRequest("scripted", ("qwen", "qwen")), InvalidRequestError, "twice"),
        (JobRequest("scripted", ("blank",)), InvalidRequestError, "generates text"),
        (JobRequest("scripted", ("qwen",), after=(JobId("gone"),)), NotFoundError, "no job gone"),
        (JobRequest("scripted", ("qwen",), window=Window(0, 60, "Mars/X")), InvalidRequestError, "Mars/X"),
        (JobRequest("scripted", ("qwen",), not_before=float("nan")), InvalidRequestError, "not_before"),
        (JobRequest("scripted", ("qwen",), priority=10**9), InvalidRequestError, "priority"),
        (JobRequest("scripted", ("qwen",), label="x" * 501), InvalidRequestError, "500"),
    ],
)
async def test_what_makes_no_sense_is_refused(bench, request_, error, words):
    with pytest.raises(error, match=words):
        await bench.queue.submit(request_)
    assert await bench.queue.jobs() == ()


async def test_a_suite_that_cannot_run_here_is_refused_with_the_reason(bench):
    bench.suite.hindered = "there is no sandbox"
    with pytest.raises(InvalidRequestError, match="scripted cannot run here: there is no sandbox"):
        await bench.queue.check(JobRequest("scripted", ("qwen",)))
    with pytest.raises(InvalidRequestError, match="there is no sandbox"):
        await bench.submit("qwen")
    assert await bench.queue.jobs() == ()


async def test_the_same_key_is_queued_once(bench):
    first = await bench.submit("qwen", dedupe="nightly")
    assert (await bench.submit("tiny", dedupe="nightly")).id == first.id
    assert len(await bench.queue.jobs()) == 1


async def test_a_job_after_a_cancelled_one_is_refused_or_fails(bench):
    first = await bench.submit("qwen")
    second = await bench.submit("tiny", after=(first.id,))
    assert (await bench.queue.cancel(first.id, by="ann")).reason == "cancelled by ann"
    assert (await bench.queue.job(second.id)).state is JobState.FAILED
    with pytest.raises(InvalidRequestError, match="has to be done first"):
        await bench.submit("tiny", after=(first.id,))


async def test_only_an_ended_job_is_retried(bench):
    job = await bench.submit("qwen")
    with pytest.raises(InvalidRequestError, match="has not ended"):
        await bench.queue.retry(job.id)
    await bench.queue.cancel(job.id)
    assert (await bench.queue.retry(job.id)).state is JobState.QUEUED


@pytest.mark.parametrize("ask", ["job", "cancel", "retry", "samples", "results"])
async def test_a_job_that_is_not_there(bench, ask):
    with pytest.raises(NotFoundError, match="no job gone"):
        await getattr(bench.queue, ask)("gone")
