"""Jobs with every field filled in."""

from gpumod.core.job import (
    JobRecord,
    JobRequest,
    JobState,
    Metric,
    Outcome,
    Result,
    Sample,
    Schedule,
    Window,
)


def job(name="j1", *, created=1000.0, schedule=None, suite="speed", targets=("code", "chät"), **request):
    given = JobRequest(suite, targets, **{"parameters": {"n": 15, "deep": {"a": [1, None]}}, **request})
    return JobRecord(name, given, JobState.QUEUED, created, schedule=schedule)


def full(name="full", **fields):
    return job(
        name,
        priority=3,
        not_before=10.0,
        window=Window(22 * 60, 6 * 60, "Europe/Berlin"),
        dedupe="nightly",
        label="a läbel",
        by="agent",
        schedule="s1",
        **fields,
    )


def sample(case="c1", target="code", score=2.5, **fields):
    return Sample(
        target, case, Outcome.OK, score, {"ttft": 0.25}, {"said": "ünïcode 🚀"}, 1001.0, 2.0, **fields
    )


def result(job="j1", target="code", suite="speed", label=""):
    metric = Metric("decode/1", 51.5, "tokens/s", 50.0, 53.0, 15, larger_is_better=True, by_case={"c1": 51.5})
    unknown = Metric("drafts/1", None, "share")
    captured = {"argv": ["llama-server"], "files": [{"size": 2**34}]}
    return Result(
        job,
        target,
        suite,
        "1",
        "f" * 64,
        {"n": 15},
        captured,
        (metric, unknown),
        {"ok": 15},
        1.0,
        2.0,
        ("foreign use",),
        label,
    )


def schedule(name="s1", **fields):
    given = {"cron": "0 2 * * 1-5", "timezone": "Europe/Berlin", "created": 1000.0, **fields}
    return Schedule(name, request=job().request, **given)
