"""Jobs on the command line: what is asked for, what is told, and what it exits with."""

import time

import pytest

from gpumod.core.job import Outcome, Progress


@pytest.fixture
def bench(box):
    """A daemon whose jobs run by themselves."""
    box.jobs.working = True
    return box


def submitted(ctl, *more):
    answer = ctl("job", "submit", "speed", "gemma-chat", *more, "--json")
    assert answer.code == 0, answer.out
    return answer.json


def test_a_job_that_is_waited_for_shows_what_it_found(ctl, bench):
    done = ctl("job", "submit", "speed", "gemma-chat", "--param", "repeats=3", "--wait")
    assert done.code == 0
    assert "gemma-chat: 3 ok" in done.out
    assert "20 tokens/s" in done.out
    assert "19 to 21" in done.out
    assert "speed on gemma-chat: done" in done.err


def test_cases_that_the_model_never_answered_are_told_with_their_reason(ctl, bench):
    bench.jobs.outcome, bench.jobs.error = Outcome.REFUSED, "HTTP 503:\nthe engine is gone"
    done = ctl("job", "submit", "speed", "gemma-chat", "--wait")
    assert done.code == 1
    assert "no case of gemma-chat was answered" in done.err
    assert "2 refused: HTTP 503: the engine is gone" in done.out
    assert "2 refused: HTTP 503: the engine is gone" in ctl("job", "show", "J1").out
    assert "refused, score 1, 500 ms: HTTP 503: the engine is gone\n" in ctl("job", "logs", "J1").out
    assert ctl("bench", "run", "speed", "gemma-chat").code == 1
    answer = ctl("bench", "run", "speed", "gemma-chat", "--json")
    assert answer.code == 1
    assert answer.json["job"]["state"] == "done"


def test_what_was_left_out_of_a_target_is_told(ctl, bench):
    bench.jobs.left_out = ["depth 16384: it does not fit"]
    submitted(ctl, "--wait")
    assert ctl("job", "show", "J1").out.count("left out: depth 16384: it does not fit") == 1
    assert ctl("bench", "report", "J1").out.count("left out: depth 16384: it does not fit") == 1


def test_wrong_answers_are_the_models_own(ctl, bench):
    bench.jobs.outcome = Outcome.WRONG
    assert ctl("bench", "run", "speed", "gemma-chat").code == 0


def test_a_job_that_is_only_queued_says_so(ctl, box):
    queued = ctl("job", "submit", "speed", "gemma-chat", "chat", "--label", "nightly")
    assert queued.code == 0
    assert queued.out == "job J1 is queued: speed on gemma-chat, chat (nightly)\n"


def test_every_option_reaches_the_queue(ctl, box):
    first = submitted(ctl)["id"]
    more = ["-p", "repeats=5", "--priority", "7", "--after", first, "--not-before", "2h"]
    more += ["--window", "22:00-06:00", "--timezone", "Europe/Berlin", "--dedupe"]
    request = submitted(ctl, *more)["request"]
    assert request["parameters"] == {"repeats": 5}
    assert request["priority"] == 7
    assert request["after"] == [first]
    assert 7100 < request["not_before"] - time.time() < 7201
    assert request["window"] == {"start": 1320, "end": 360, "timezone": "Europe/Berlin"}
    assert request["dedupe"]


def test_the_same_job_is_queued_once_where_it_is_asked_so(ctl, box):
    first = submitted(ctl, "--dedupe")["id"]
    assert submitted(ctl, "--dedupe")["id"] == first
    assert submitted(ctl, "--dedupe", "-p", "repeats=9")["id"] != first
    assert submitted(ctl)["id"] != first


def test_it_is_said_that_the_same_job_was_there(ctl, box):
    submit = ("job", "submit", "speed", "gemma-chat", "--dedupe")
    assert ctl(*submit).err == ""
    again = ctl(*submit)
    assert again.err == "gpumodctl: the same job is there already: no other one was queued, this is job J1\n"
    assert again.out.startswith("job J1 is queued")
    assert ctl(*submit, "--json").err == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ["--param", "repeats"],
        ["--param", "=1"],
        ["--param", "repeats=1", "--param", "repeats=2"],
        ["--param", "repeats=many"],
        ["--param", "repeats=NaN"],
        ["--param", "repeats=1e999"],
        ["--window", "22:00"],
        ["--window", "25:00-06:00"],
        ["--window", "22:60-06:00"],
        ["--window", "06:00-06:00"],
        ["--window", "22:00-06:00", "--timezone", "Mars/Olympus"],
        ["--not-before", "tomorrow"],
        ["--not-before", "2030-13-01T00:00"],
    ],
)
def test_a_wrong_option_is_a_mistake_of_usage(ctl, box, wrong):
    answer = ctl("job", "submit", "speed", "gemma-chat", *wrong, "--json")
    assert answer.code == 2
    assert answer.json["code"] == "invalid_request"
    assert ctl("job", "list", "--json").json == []


@pytest.mark.parametrize(
    "args",
    [
        ("submit", "none", "chat"),
        ("submit", "speed", "nothing"),
        ("submit", "speed", "chat", "--after", "gone"),
        ("show", "gone"),
        ("cancel", "gone"),
        ("retry", "gone"),
        ("logs", "gone"),
    ],
)
def test_what_is_not_there_is_not_found(ctl, box, args):
    assert ctl("job", *args).code == 5


def test_a_job_that_fails_is_no_success(ctl, bench):
    bench.jobs.fails = "the engine died"
    failed = ctl("job", "submit", "speed", "gemma-chat", "--wait")
    assert failed.code == 1
    assert "job J1 failed: the engine died" in failed.err
    assert ctl("job", "retry", "J1", "--wait", "--json").json["job"]["state"] == "failed"
    bench.jobs.fails = ""
    assert ctl("job", "retry", "J1", "--wait").code == 0


def test_a_job_that_is_cancelled_meanwhile_is_no_success(ctl, box, before):
    job = submitted(ctl)["id"]
    assert ctl("job", "cancel", job).out.startswith(f"job {job}: cancelled")
    assert ctl("job", "show", job).code == 0
    before("job", lambda: box.run(box.jobs.queue.cancel("J2")))
    waited = ctl("job", "submit", "speed", "chat", "--wait")
    assert waited.code == 1
    assert "job J2 was cancelled" in waited.err


def test_to_wait_too_long_leaves_the_job(ctl, box):
    waited = ctl("job", "submit", "speed", "gemma-chat", "--wait", "--timeout", "0.3", "--json")
    assert waited.code == 6
    assert waited.json["job"]["state"] == "queued"
    assert ctl("job", "show", waited.json["job"]["id"], "--json").json["job"]["state"] == "queued"


def test_a_daemon_that_goes_away_for_good_is_told_of(ctl, box, before, monkeypatch):
    monkeypatch.setattr("gpumod.cli.job_progress._LOST", 0.1)
    before("job", box.end)
    waited = ctl("job", "submit", "speed", "gemma-chat", "--wait")
    assert waited.code == 4
    assert "it takes the job up when it is started again" in waited.err


def test_a_terminal_has_one_line_that_changes(ctl, bench, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    told = ctl("job", "submit", "speed", "gemma-chat", "--label", "x" * 60, "--wait").err
    assert told.count("\n") == 1
    assert told.endswith("\n")
    assert all(len(line) < 40 for line in told.rstrip().split("\r\x1b[K"))


def test_who_stops_waiting_is_told_that_the_job_goes_on(ctl, box, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gpumod.cli.job_progress.time.sleep", interrupted)
    left = ctl("job", "submit", "speed", "gemma-chat", "--wait")
    assert left.code == 130
    assert "job J1 goes on" in left.err


def test_a_running_job_tells_how_far_it_is(ctl, box):
    job = submitted(ctl)["id"]

    async def half():
        claimed = await box.jobs.store.claim("me", time.time(), stale=60.0)
        progress = Progress(done=2, total=4, target="gemma-chat", seconds=120.0)
        await box.jobs.store.beat(job, "me", claimed.attempt, time.time(), progress=progress)

    box.run(half())
    for shown in (ctl("job", "show", job).out, ctl("job", "list").out):
        assert "claimed 2 of 4, gemma-chat, about 2 min to go" in shown
    assert ctl("job", "cancel", job).out.endswith("being cancelled\n")


def test_the_list_is_filtered_and_the_log_has_every_case(ctl, bench):
    assert ctl("job", "list").out == "no job yet\n"
    ctl("job", "submit", "speed", "gemma-chat", "chat", "--wait")
    assert [one["state"] for one in ctl("job", "list", "--state", "done", "--json").json] == ["done"]
    assert ctl("job", "list", "--state", "failed", "--json").json == []
    lines = ctl("job", "logs", "J1").out.splitlines()
    assert len(lines) == 4
    assert "gemma-chat repeat-0: ok, score 1" in lines[0]
    assert len(ctl("job", "logs", "J1", "--json").json) == 4
