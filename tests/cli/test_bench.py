"""Benchmarks on the command line: to run, to report, to compare, and the matrix."""

import json
import threading

import pytest

from gpumod.core.job import JobId, Metric, Result
from gpumod.core.units import GIB


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    monkeypatch.setattr("gpumod.bench.comparison.findings._RESAMPLES", 1000)


@pytest.fixture
def bench(box, monkeypatch):
    """A daemon whose jobs run by themselves, and soon."""
    monkeypatch.setattr("gpumod.cli.job_progress._LOOK", 0.02)
    box.jobs.working = True
    return box


def result(job, target, speed, **more):
    by_case = {f"decode-{number}": speed + 0.1 * number for number in range(15)}
    decode = Metric("speed.decode.client.v1", speed + 0.7, "tokens/s", None, None, 15, True, by_case)
    points = Metric("speed.points.v1", 100.0, "points", None, None, 15, True, dict.fromkeys(by_case, 100.0))
    peak = Metric("speed.memory.peak.v1", 11.5 * GIB, "bytes", None, None, 1, False)
    made = {
        "job": JobId(job),
        "target": target,
        "suite": "speed",
        "suite_version": "1",
        "suite_hash": "0" * 64,
        "parameters": {},
        "provenance": {"driver": "1"},
        "metrics": (decode, points, peak),
        "outcomes": {"ok": 15},
        "started": 1e9,
        "ended": 1e9 + 60,
    }
    return Result(**(made | more))


def keep(box, *results):
    """Have the daemon know of results, as if jobs had found them."""

    async def go():
        for one in results:
            box.jobs.store._results[(one.job, one.target)] = one

    box.run(go())


def measured(ctl, *targets):
    done = ctl("job", "submit", "speed", *targets, "--wait", "--json")
    assert done.code == 0, done.out
    return done.json["job"]["id"]


def test_run_follows_the_job_to_its_report(ctl, bench):
    done = ctl("bench", "run", "speed", "gemma-chat", "-p", "repeats=3", "--label", "first")
    assert done.code == 0, done.err
    assert done.out.startswith("#")
    assert "gemma-chat" in done.out
    assert "speed on gemma-chat (first): done" in done.err
    answer = ctl("bench", "run", "speed", "chat", "--json").json
    assert answer["job"]["state"] == "done"
    assert [one["target"] for one in answer["results"]] == ["chat"]


def test_run_may_only_queue(ctl, box):
    assert ctl("bench", "run", "speed", "chat", "--no-wait").out == "job J1 is queued: speed on chat\n"


def test_a_run_that_fails_is_no_success(ctl, bench):
    bench.jobs.fails = "the engine died"
    failed = ctl("bench", "run", "speed", "chat")
    assert failed.code == 1
    assert "the engine died" in failed.err
    assert ctl("bench", "run", "nothing", "chat").code == 5


def test_a_report_is_written_in_every_format(ctl, bench, tmp_path):
    job = measured(ctl, "chat")
    assert ctl("bench", "report", job).out.startswith("#")
    assert json.loads(ctl("bench", "report", job, "--format", "json").out)["format"] == "gpumod.report/1"
    assert ctl("bench", "report", job, "--json").json["job"]["id"] == job
    page = tmp_path / "page.html"
    assert ctl("bench", "report", job, "--format", "html", "-o", page).out == ""
    assert "<html" in page.read_text()
    assert ctl("bench", "report", "gone").code == 5
    assert ctl("bench", "report", job, "-o", tmp_path / "no" / "where").code == 2


def test_results_are_listed_by_the_names_that_compare_takes(ctl, bench):
    assert ctl("bench", "results").out == "no result yet\n"
    job = measured(ctl, "gemma-chat", "chat")
    shown = ctl("bench", "results").out
    assert f"{job}/chat" in shown
    assert f"{job}/gemma-chat" in shown
    assert [one["target"] for one in ctl("bench", "results", "--target", "chat", "--json").json] == ["chat"]
    assert ctl("bench", "results", "--suite", "other", "--json").json == []


def test_the_targets_of_one_job_are_compared(ctl, bench):
    job = measured(ctl, "gemma-chat", "chat")
    shown = ctl("bench", "compare", job)
    assert shown.code == 0, shown.err
    assert "speed: gemma-chat against chat" in shown.out
    assert "fake.speed.1" in shown.out


def test_two_results_are_compared_with_axes_verdicts_and_what_to_do(ctl, box):
    faster = result("J8", "qat", 60.0, provenance={"driver": "2", "gpumod": "9"})
    keep(box, result("J7", "gemma-chat", 50.0), faster)
    for job in ("J7", "J8"):
        box.run(_kept_job(box, job))
    shown = ctl("bench", "compare", "J7/gemma-chat", "J8/qat")
    assert shown.code == 0, shown.err
    assert "qat decodes 20 % faster than gemma-chat (+20 to +20 %, n=15 pairs)" in shown.out
    assert "They differ on 2 axes (driver, gpumod)" in shown.out
    assert "quality was not compared" in shown.out
    assert shown.out.count("11.5 GiB") == 2
    page = ctl("bench", "compare", "J7/gemma-chat", "J8/qat", "--format", "markdown").out
    assert page.startswith("## speed: gemma-chat against qat")
    answer = ctl("bench", "compare", "J7", "J8", "--json").json
    assert answer["comparisons"][0]["axes"][0] == {"name": "driver", "values": ["1", "2"]}


async def _kept_job(box, name):
    from gpumod.core.job import JobRecord, JobRequest, JobState

    record = JobRecord(JobId(name), JobRequest("speed", ("x",)), JobState.QUEUED, 0.0)
    await box.jobs.store.submit(record)


def test_reports_in_files_are_compared_in_the_order_given(ctl, bench, tmp_path):
    job = measured(ctl, "chat")
    old = tmp_path / "old.json"
    assert ctl("bench", "report", job, "--format", "json", "-o", old).code == 0
    plain = tmp_path / "plain.json"
    again = measured(ctl, "gemma-chat")
    plain.write_text(json.dumps(ctl("bench", "results", "--job", again, "--json").json))
    sides = ctl("bench", "compare", plain, old, "--json").json["comparisons"][0]["sides"]
    assert [side["name"] for side in sides] == ["gemma-chat", "chat"]
    sides = ctl("bench", "compare", old, again, "--json").json["comparisons"][0]["sides"]
    assert [side["name"] for side in sides] == ["chat", "gemma-chat"]


def test_results_that_are_not_comparable_fail_loudly(ctl, bench, tmp_path):
    job = measured(ctl, "chat")
    found = ctl("bench", "results", "--job", job, "--json").json
    other = tmp_path / "other.json"
    other.write_text(json.dumps([found[0] | {"job": "x", "suite_hash": "f" * 64}]))
    shown = ctl("bench", "compare", job, other)
    assert shown.code == 1
    assert "NOT COMPARABLE: Different states of the suite measured them" in shown.out


@pytest.mark.parametrize("text", ["", "[", "{}", "[[]]", '{"results": 5}', '{"format": "gpumod.report/1"}'])
def test_a_file_without_a_result_is_told(ctl, quiet_box, tmp_path, text):
    file = tmp_path / "odd.json"
    file.write_text(text)
    assert ctl("bench", "compare", file, file).code == 2
    assert ctl("bench", "compare", tmp_path / "none.json", file).code == 5


def test_a_matrix_is_one_report(ctl, bench):
    first = ctl("bench", "matrix", "gemma-chat", "chat", "--suites", "speed", "-p", "speed.repeats=2")
    assert first.code == 0, first.err
    assert "| speed on gemma-chat | J1 | done |" in first.out
    assert "`gpumodctl bench matrix gemma-chat chat --suites speed -p speed.repeats=2`" in first.out
    assert "there is none with the same suite and parameters" in first.out
    assert "### speed: gemma-chat against chat" in first.out
    second = ctl("bench", "matrix", "chat", "--suites", "speed", "-p", "speed.repeats=2", "--json").json
    (delta,) = second["deltas"]
    assert delta["earlier"] == "J2/chat"
    assert delta["comparison"]["comparisons"][0]["suite"] == "speed"
    assert second["phases"][0]["job"] == "J3"
    assert second["not_compared"].startswith("Nothing to compare")


def test_a_leg_waits_for_the_targets_leg_before_it(ctl, box):
    from gpumod.testing.jobs import FakeSuite

    box.jobs.queue.suites["stress"] = FakeSuite
    most = ("--suites", "speed,stress", "-p", "stress.repeats=1", "-p", "speed.repeats=3")
    queued = ctl("bench", "matrix", "chat", "embed", *most, "--label", "m", "--no-wait", "--json")
    assert queued.code == 2  # the fake has no parameter `context`: nothing of it stays queued
    more = ("--suites", "speed", "--label", "m", "--no-wait")
    queued = ctl("bench", "matrix", "chat", "gemma-chat", *more, "--json").json
    assert [job["request"]["targets"] for job in queued["jobs"]] == [["chat"], ["gemma-chat"]]
    assert {job["request"]["parameters"]["repeats"] for job in queued["jobs"]} == {2}  # the suite's default


def test_a_suite_that_cannot_run_here_is_left_out_and_told(ctl, bench, monkeypatch):
    from gpumod.testing.jobs import FakeSuite

    class Hindered(FakeSuite):
        name = "smoke"

        async def hindrance(self, parameters):
            return "there is no sandbox"

    bench.jobs.queue.suites["smoke"] = Hindered
    told = ctl("bench", "matrix", "chat", "--suites", "smoke,speed")
    assert told.code == 1
    assert "| smoke on chat | - | refused: smoke cannot run here: there is no sandbox |" in told.out
    assert "| speed on chat | J2 | done |" in told.out
    assert ctl("bench", "matrix", "chat", "--suites", "smoke").code == 2


def test_a_matrix_is_found_again_by_its_label(ctl, box, monkeypatch, tmp_path):
    monkeypatch.setattr("gpumod.cli.job_progress._LOOK", 0.02)
    queued = ctl("bench", "matrix", "chat", "--suites", "speed", "--label", "night", "--no-wait")
    assert "--collect 'night'" in queued.out
    late = ctl("bench", "matrix", "--collect", "night", "--timeout", "0.05")
    assert late.code == 6
    assert "--collect 'night'" in late.err
    worked = threading.Thread(target=lambda: box.run(box.jobs.work()))
    worked.start()
    page = tmp_path / "matrix.md"
    assert ctl("bench", "matrix", "--collect", "night", "-o", page).code == 0
    worked.join()
    assert page.read_text().startswith("# Benchmarks: night")
    assert ctl("bench", "matrix", "--collect", "never").code == 5


def test_a_leg_that_failed_is_no_success_and_is_told(ctl, bench):
    bench.jobs.fails = "the engine died"
    told = ctl("bench", "matrix", "chat", "--suites", "speed")
    assert told.code == 1
    assert "failed: the engine died" in told.out


def test_a_target_that_is_not_there_leaves_nothing_queued(ctl, box):
    assert ctl("bench", "matrix", "chat", "nothing", "--suites", "speed").code == 5
    assert [job["state"] for job in ctl("job", "list", "--json").json] == ["cancelled"]


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("chat", "--collect", "x"),
        ("chat", "--suites", ","),
        ("chat", "--suites", "speed,speed"),
        ("chat", "--suites", "speed", "-p", "repeats=3"),
        ("chat", "--suites", "speed", "-p", "coding.iterations=3"),
    ],
)
def test_a_wrong_matrix_is_a_mistake_of_usage(ctl, quiet_box, wrong):
    assert ctl("bench", "matrix", *wrong).code == 2


def test_who_stops_waiting_for_a_matrix_is_told_how_to_find_it(ctl, box, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gpumod.cli.job_progress.time.sleep", interrupted)
    left = ctl("bench", "matrix", "chat", "--suites", "speed", "--label", "m")
    assert left.code == 130
    assert "the jobs go on" in left.err


def test_a_schedule_from_end_to_end(ctl, box):
    assert ctl("job", "schedule", "list").out == "no schedule yet\n"
    more = ["--timezone", "Europe/Berlin", "--window", "22:00-06:00", "-p", "repeats=3", "--priority", "2"]
    added = ctl("job", "schedule", "add", "nightly", "30 2 * * *", "speed", "chat", *more, "--json")
    assert added.code == 0, added.out
    assert added.json["timezone"] == "Europe/Berlin"
    assert added.json["request"]["window"]["timezone"] == "Europe/Berlin"
    assert added.json["request"]["parameters"] == {"repeats": 3}
    assert "30 2 * * * Europe/Berlin" in ctl("job", "schedule", "list").out
    off = ctl("job", "schedule", "add", "nightly", "0 3 * * *", "speed", "chat", "--disabled")
    assert "disabled" in off.out
    assert [one["cron"] for one in ctl("job", "schedule", "list", "--json").json] == ["0 3 * * *"]
    assert ctl("job", "schedule", "delete", "nightly").code == 0
    assert ctl("job", "schedule", "delete", "nightly").code == 5


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (("often", "speed", "chat"), 2),
        (("30 2 * * *", "speed", "chat", "--timezone", "Mars/Olympus"), 2),
        (("30 2 * * *", "none", "chat"), 5),
        (("30 2 * * *", "speed", "nothing"), 5),
        (("30 2 * * *", "speed"), 2),
    ],
)
def test_a_wrong_schedule_is_refused(ctl, quiet_box, wrong, code):
    assert ctl("job", "schedule", "add", "nightly", *wrong).code == code
    assert ctl("job", "schedule", "list", "--json").json == []


def test_schedules_are_completed(ctl, box):
    from gpumod.cli import complete

    ctl("job", "schedule", "add", "nightly", "30 2 * * *", "speed", "chat")
    assert complete.schedule_names("ni") == ["nightly"]
    assert complete.schedule_names("x") == []
