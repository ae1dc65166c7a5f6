"""Jobs as people read them."""

from gpumod.cli.job_view import job_blocks
from gpumod.cli.layout import lay_out, plain
from gpumod.client.job_calls import Job
from gpumod.core.job import JobId, JobRequest, JobState, Metric, Result


def shown(*metrics, **parameters):
    """What `job show` has of a job with these numbers and parameters."""
    job = Job(JobId("J1"), JobRequest("speed", ("chat",), parameters=parameters), JobState.DONE, 0.0)
    result = Result(
        job=job.id, target="chat", suite="speed", suite_version="1", suite_hash="0", parameters=parameters,
        provenance={}, metrics=metrics, outcomes={"ok": 1}, started=0.0, ended=1.0,
    )  # fmt: skip
    return plain(lay_out(job_blocks(job, [result]), None, unicode=False))


def test_bytes_are_shown_as_sizes():
    text = shown(Metric("memory", 1.5 * 2**30, "bytes", 2.0**30, 2.0**31, 1, larger_is_better=False))
    assert "1536 MiB  1024 MiB to 2048 MiB" in text
    assert "bytes" not in text


def test_other_numbers_keep_their_unit_and_none_is_a_dash():
    text = shown(
        Metric("decode", 20.0, "tokens/s", 19.0, 21.0, 1, larger_is_better=True),
        Metric("gap", None, "s", None, None, 0, larger_is_better=False),
    )
    assert "20 tokens/s" in text
    assert "19 to 21" in text
    assert "gap" in text
    assert "None" not in text


def test_parameters_are_shown_as_they_are_given():
    text = shown(depths=[512, 4096], thinking=True, sampler="GREEDY", max_tokens=None)
    assert "parameters: depths=[512, 4096], thinking=true, sampler=GREEDY\n" in text
