"""The JSON document and its schema."""

import json
import math
from pathlib import Path

import jsonschema_rs
import pytest

from gpumod.bench.report import ReportFormat, render
from gpumod.bench.report.document import FORMAT, Report
from gpumod.bench.report.schema import schema
from gpumod.core.job import JobState, Metric, Outcome, Sample
from tests.bench.report.examples import hostile, job, result, speed_samples

SCHEMA = Path(__file__).resolve().parents[3] / "docs/report.schema.json"


def documents() -> list[str]:
    from dataclasses import replace

    odd = Sample(
        "chat", "odd", Outcome.WRONG, math.nan, {"x": math.inf}, {"n": [math.nan, {1: (2,)}]}, 0.0, -1.0
    )
    failed = replace(job(), state=JobState.FAILED, reason="the engine died")
    return [
        render(*one, ReportFormat.JSON)
        for one in (
            (job(), [result()], speed_samples()),
            (job(), [result()], [*speed_samples(), odd]),
            (failed, [], []),
            hostile(),
        )
    ]


def test_the_published_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "run: python -m gpumod.bench.report.schema > docs/report.schema.json"
    )


@pytest.mark.parametrize("text", documents())
def test_every_document_is_as_the_schema_says(text: str) -> None:
    value = json.loads(text, parse_constant=pytest.fail)
    jsonschema_rs.validator_for(json.loads(SCHEMA.read_text())).validate(value)
    assert value["format"] == FORMAT
    assert Report.model_validate_json(text, strict=True).model_dump(mode="json") == value


def test_the_schema_refuses_what_is_no_report() -> None:
    check = jsonschema_rs.validator_for(schema())
    good = json.loads(documents()[0])
    wrongs: tuple[dict[str, object], ...] = ({"format": "gpumod.report/2"}, {"targets": [{}]}, {"job": None})
    for wrong in wrongs:
        assert not check.is_valid({**good, **wrong})


def test_it_has_everything_that_was_measured() -> None:
    value = json.loads(render(job(), [result()], speed_samples(), "json"))
    (target,) = value["targets"]
    decode = next(one for one in target["metrics"] if one["formula"] == "speed.decode.client.v1")
    assert (decode["setting"], decode["value"], decode["count"]) == ("512", 99.0, 3)
    assert decode["by_case"] == {f"depth-512-{number}": 100.0 - number for number in range(3)}
    assert "Tokens generated after the first delta" in decode["definition"]
    assert len(target["samples"]) == 6
    assert target["samples"][0]["numbers"]["speed.ttft.v1@512"] == 512 / 5000
    assert (target["complete"], target["integrity"], target["notes"]) == (True, [], [])


def test_no_interval_is_beyond_its_scale() -> None:
    wide = (
        Metric("x.rate.v1", 0.9, "share", -0.2, 1.3, 3, True),
        Metric("coding.queue.points.v1", 24.0, "points", 20.0, 28.0, 3, True),
        Metric("coding.points.v1", 99.0, "points", 90.0, 108.0, 3, True),
        Metric("x.slope.v1", -5.0, "bytes/h", -9.0, math.inf, 3, False),
        Metric("x.decode.drift.v1", 0.1, "tokens/s", -0.2, 0.4, 3, False),
        Metric("x.rate.drift.v1", 0.1, "share", -0.2, 0.4, 3, False),
    )
    value = json.loads(render(job(suite="coding"), [result(suite="coding", metrics=wide)], [], "json"))
    ends = [(one["low"], one["high"]) for one in value["targets"][0]["metrics"]]
    assert ends == [(0.0, 1.0), (20.0, 25.0), (90.0, 100.0), (-9.0, None), (-0.2, 0.4), (-0.2, 0.4)]


def test_secrets_are_left_out() -> None:
    from gpumod.bench.redaction import HIDDEN, argv, redacted

    line = ["podman", "run", "-e", "HF_TOKEN=a", "--env=B=c", "--api-key=d", "-hft", "e", "--max-tokens", "9"]
    shown = "podman run -e HF_TOKEN=*** --env=B=*** --api-key=*** -hft *** --max-tokens 9"
    assert " ".join(argv(line)) == shown
    assert redacted({"env": {"A": "b"}, "url": "http://me:pw@host/x", "n": [1, "sk-" + "a" * 20]}) == {
        "env": HIDDEN,
        "url": "http://***@host/x",
        "n": [1, HIDDEN],
    }
    for kind in ReportFormat:
        text = render(job(), [result()], speed_samples(), kind)
        assert "sesame" not in text
        assert "hf_x" not in text


def test_the_command_submits_the_same_job_again() -> None:
    import shlex

    from gpumod.bench.report.building import command
    from gpumod.cli.job_options import parameters

    asked = {"a": "1", "b": "x y", "c": [1, "z"], "d": None, "e": "line\nend", "f": 1.5, "g": "true"}
    words = shlex.split(command(job(parameters=asked, label="it's", targets=("a", "-b")).request))
    assert words[:3] == ["gpumodctl", "job", "submit"]
    assert words[-4:] == ["--", "speed", "a", "-b"]
    given = [words[place + 1] for place, word in enumerate(words) if word == "--param"]
    assert parameters(given) == asked
    assert "--label=it's" in words


def test_a_report_in_a_file_is_read_back_as_the_results_it_was_made_from(tmp_path: Path) -> None:
    from dataclasses import replace

    from pydantic import TypeAdapter

    from gpumod.cli.result_files import results_in
    from gpumod.core.job import Result

    made = result(
        label="nightly", provenance={"driver": "580.95"}, integrity=("chat was restarted meanwhile",)
    )
    path = tmp_path / "report.json"
    path.write_text(render(job(), [made], speed_samples(), "json"))
    (read,) = TypeAdapter(list[Result]).validate_python(results_in(str(path)))
    assert replace(read, outcomes=dict(read.outcomes)) == replace(made, outcomes=dict(made.outcomes))


def test_times_that_are_no_numbers_are_left_out() -> None:
    from dataclasses import replace

    odd = replace(job(), created=math.inf, started=math.nan, ended=-math.inf)
    value = json.loads(render(odd, [result(started=math.nan)], [], "json"))
    assert (value["job"]["created"], value["job"]["started"], value["job"]["ended"]) == (0.0, None, None)
    assert "started not known" in render(odd, [result(started=math.nan)], [], "markdown")


def test_numbers_that_do_not_fit_the_samples_are_noted() -> None:
    value = json.loads(render(job(), [result()], speed_samples()[:2], "json"))
    assert "the numbers are from 6 samples, and 2 are kept" in value["targets"][0]["notes"][0]


def test_another_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="pdf"):
        render(job(), [], [], "pdf")
