"""Recipe files: what is wrong with one, and the shipped ones against outputs in the harnesses' formats."""

import json
import sys

import pytest

from gpumod.bench.suites.exec.options import words
from gpumod.bench.suites.exec.parsing import parse
from gpumod.bench.suites.exec.paths import find, steps_of
from gpumod.bench.suites.exec.recipe import read_recipe, recipes_with, shipped_recipes
from gpumod.bench.suites.exec.running import values_of
from gpumod.core.errors import ConfigError
from tests.bench.suites.exec_box import ENDPOINT, NUMBER, read, recipe, write


def problems_of(folder, document):
    found, problems = read_recipe(write(folder, document))
    assert found is None
    return [(one.key, one.detail, one.suggestion) for one in problems]


@pytest.mark.parametrize(
    ("change", "key", "words", "hint"),
    [
        ({"argz": []}, "argz", "unknown key", "did you mean 'argv'?"),
        ({"version": 0}, "version", "greater than or equal to 1", ""),
        ({"recipe": "theirs"}, "recipe", "must be the file's name", ""),
        ({"argv": ["sh", "{modle}"]}, "argv.1", "no option or value {modle}", "did you mean 'model'?"),
        ({"argv": ["sh", ["-x", "{nothing}"]]}, "argv.1.1", "no option or value {nothing}", ""),
        ({"argv": ["{model}"]}, "argv.0", "must be the program", ""),
        ({"argv": [["sh"]]}, "argv.0", "must be the program", ""),
        ({"version_argv": ["sh", "{url}"]}, "version_argv.1", "has no placeholders", ""),
        ({"env": {"A": "{nothing}"}}, "env.A", "no option or value", ""),
        ({"env": {"A=": "x"}}, "env.A=", "is not a variable's name", ""),
        ({"inherit": ["A B"]}, "inherit.0", "is not a variable's name", ""),
        ({"recipe": "My.Recipe"}, "recipe", "is not a name", ""),
        (
            {"options": {"Limit": {"type": "integer", "description": "L."}}},
            "options.Limit",
            "is not a name",
            "",
        ),
        ({"timeout": "0s"}, "timeout", "must be more than 0s", ""),
        ({"timeout": 5}, "timeout", "must be a duration", ""),
        ({"against": "model-file"}, "against", "must be one of endpoint, model", "did you mean 'model'?"),
        ({"results": []}, "results", "at least 1", ""),
        ({"results": [NUMBER, NUMBER]}, "results.1.metrics.speed", "before this one", ""),
        ({"results": [NUMBER | {"format": "regex"}]}, "results.0", "`pattern` is for the format regex", ""),
        (
            {"results": [NUMBER | {"format": "regex", "pattern": "(a)"}]},
            "results.0",
            "needs a named group",
            "",
        ),
        (
            {"results": [NUMBER | {"format": "regex", "pattern": "("}]},
            "results.0.pattern",
            "no regular expression",
            "",
        ),
        ({"results": [NUMBER | {"file": "../x"}]}, "results.0", "below the working folder", ""),
        ({"results": [NUMBER | {"file": "/etc/x"}]}, "results.0", "below the working folder", ""),
        ({"results": [NUMBER | {"name": "(x)"}]}, "results.0", "`name` has one group", ""),
    ],
)
def test_a_mistake_is_told_with_its_key_and_what_was_meant(tmp_path, change, key, words, hint):
    document = recipe("", **{name: one for name, one in change.items() if name != "recipe"})
    path = write(tmp_path, document)
    path.write_text(json.dumps(document | change))
    _, problems = read_recipe(path)
    assert [one.key for one in problems] == [key]
    assert words in problems[0].detail
    assert problems[0].suggestion == hint


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"type": "choice"}, "`choices`"),
        ({"type": "text"}, "`pattern`"),
        ({"type": "text", "pattern": "a", "min": 1}, "`min` and `max`"),
        ({"type": "integer", "default": 1.5}, "whole number"),
        ({"type": "integer", "default": 5, "max": 4}, "must be -inf to 4"),
        ({"type": "choice", "choices": ["a"], "default": "b"}, "must be one of a"),
    ],
)
def test_an_options_mistake_is_told(tmp_path, option, words):
    ((key, detail, _),) = problems_of(tmp_path, recipe("", options={"x": {"description": "X.", **option}}))
    assert key.startswith("options.x")
    assert words in detail


def test_an_option_cannot_take_the_name_of_a_value_of_the_target(tmp_path):
    option = {"type": "integer", "description": "X."}
    assert problems_of(tmp_path, recipe("", options={"url": option}))[0][0] == "options.url"


def test_all_mistakes_of_all_files_come_at_once_with_their_lines(tmp_path):
    (tmp_path / "one.yaml").write_text("recipe: one\nversion: first\nargs: [x]\n")
    (tmp_path / "two.yaml").write_text("recipe: [\n")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as caught:
        recipes_with(tmp_path)
    assert "one.yaml:2: version: must be a whole number, not 'first'" in caught.value.detail
    assert "one.yaml:3: args: unknown key 'args' (did you mean 'argv'?)" in caught.value.detail
    assert "two.yaml" in caught.value.detail
    assert "gone.yaml: the file cannot be read" in caught.value.detail


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", [({"a": {"b,c": [1, 2]}, "$x": 3}, ())]),
        ('a["b,c"][0]', [(1, ())]),
        ('["a"]["b,c"][-1]', [(2, ())]),
        ('a["b,c"][2]', []),
        ("a.b", []),
        ("$x", [(3, ())]),
        ("a.*[*]", [(1, ("b,c", "0")), (2, ("b,c", "1"))]),
    ],
)
def test_a_path_leads_to_values(path, found):
    document = {"a": {"b,c": [1, 2]}, "$x": 3}
    assert [(one.value, one.keys) for one in find(document, path)] == found


@pytest.mark.parametrize("path", [".a", "a..b", "a[", "a[x]", 'a["x]', "a b", "a" + ".a" * 40])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="path"):
        steps_of(path)


def found_in(folder, name, files, output=b""):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content if isinstance(content, str) else json.dumps(content))
    return parse(shipped_recipes()[name], folder, output)


def test_llama_bench_says_a_speed_for_each_test(tmp_path):
    def one(prompt, generate, depth, speed):
        return {
            "build_commit": "abc1234", "build_number": 9000, "model_type": "gemma", "model_size": 1234,
            "n_prompt": prompt, "n_gen": generate, "n_depth": depth,
            "avg_ns": 5, "avg_ts": speed, "stddev_ts": 1.0, "samples_ns": [5], "samples_ts": [speed],
        }  # fmt: skip

    tests = [one(512, 0, 0, 900.5), one(0, 128, 0, 30.25), one(512, 0, 4096, 800), one(0, 128, 4096, 25)]
    found = found_in(tmp_path, "llama-bench", {}, json.dumps(tests).encode())
    assert found.numbers == {
        "exec.llama-bench.prefill.v1@512/0": 900.5,
        "exec.llama-bench.prefill.v1@512/4096": 800.0,
        "exec.llama-bench.decode.v1@128/0": 30.25,
        "exec.llama-bench.decode.v1@128/4096": 25.0,
        "exec.llama-bench.model-size.v1": 1234.0,
    }
    assert (found.notes, found.version) == ([], "9000 abc1234")


def test_lm_eval_says_scores_by_task_and_answers_by_case(tmp_path):
    results = {
        "results": {
            "gsm8k": {
                "name": "gsm8k", "alias": "gsm8k", "sample_len": 2,
                "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.5,
                "exact_match,flexible-extract": 1.0, "exact_match_stderr,flexible-extract": 0.0,
            }
        },
        "lm_eval_version": "0.4.13",
    }  # fmt: skip
    lines = [
        {"doc_id": number, "filter": name, "metrics": ["exact_match"], "exact_match": right}
        for name, both in {"strict-match": (1.0, 0.0), "flexible-extract": (1.0, 1.0)}.items()
        for number, right in enumerate(both)
    ]
    files = {
        "output/gemma-3/results_2026-01-02T03-04-05.123456.json": results,
        "output/gemma-3/samples_gsm8k_2026-01-02T03-04-05.123456.jsonl": "\n".join(map(json.dumps, lines))
        + "\n",
    }
    found = found_in(tmp_path, "lm-eval", files)
    assert found.numbers == {
        "exec.lm-eval.score.v1@gsm8k/exact_match,strict-match": 0.5,
        "exec.lm-eval.score.v1@gsm8k/exact_match,flexible-extract": 1.0,
    }
    assert found.cases == {
        "exec.lm-eval.exact-match.v1@gsm8k/strict-match": {"0": 1.0, "1": 0.0},
        "exec.lm-eval.exact-match.v1@gsm8k/flexible-extract": {"0": 1.0, "1": 1.0},
    }
    assert (found.notes, found.version) == ([], "0.4.13")


def test_vllm_bench_says_milliseconds_which_become_seconds(tmp_path):
    result = {
        "completed": 100, "failed": 0, "max_concurrency": 4, "request_rate": "inf", "duration": 12.5,
        "output_throughput": 204.8, "mean_ttft_ms": 250.0, "p95_ttft_ms": 500.0,
        "mean_tpot_ms": 20.0, "p95_itl_ms": 40.0,
    }  # fmt: skip
    found = found_in(tmp_path, "vllm-bench", {"output/result.json": result})
    assert found.numbers == pytest.approx(
        {
            "exec.vllm-bench.completed.v1": 100.0,
            "exec.vllm-bench.failed.v1": 0.0,
            "exec.vllm-bench.throughput.v1@4": 204.8,
            "exec.vllm-bench.ttft.v1@4": 0.25,
            "exec.vllm-bench.ttft-p95.v1@4": 0.5,
            "exec.vllm-bench.tpot.v1@4": 0.02,
            "exec.vllm-bench.itl-p95.v1@4": 0.04,
        }
    )


def test_requests_that_failed_take_the_numbers_of_speed_with_them(tmp_path):
    result = {"completed": 0, "failed": 100, "max_concurrency": 4, "output_throughput": 0, "mean_ttft_ms": 0}
    found = found_in(tmp_path, "vllm-bench", {"output/result.json": result})
    assert found.numbers == {"exec.vllm-bench.completed.v1": 0.0, "exec.vllm-bench.failed.v1": 100.0}


def test_guidellm_says_distributions_of_the_successful_requests(tmp_path):
    def spread(mean):
        return {"successful": {"mean": mean, "percentiles": {"p95": 2 * mean}}, "errored": {"mean": 0}}

    metrics = {
        "request_totals": {"successful": 100, "incomplete": 0, "errored": 0, "total": 100},
        "requests_per_second": spread(3.5),
        "output_tokens_per_second": spread(120),
        "time_to_first_token_ms": spread(200),
        "inter_token_latency_ms": spread(25),
        "request_latency": spread(1.5),
    }
    strategy = {"type_": "concurrent", "streams": 4}
    report = {
        "metadata": {"version": 2, "guidellm_version": "0.8.1"},
        "benchmarks": [{"config": {"strategy": strategy}, "metrics": metrics}],
    }
    found = found_in(tmp_path, "guidellm", {"output/benchmarks.json": report})
    assert found.numbers == pytest.approx(
        {
            "exec.guidellm.failed.v1@4": 0.0,
            "exec.guidellm.requests.v1@4": 3.5,
            "exec.guidellm.throughput.v1@4": 120.0,
            "exec.guidellm.ttft.v1@4": 0.2,
            "exec.guidellm.ttft-p95.v1@4": 0.4,
            "exec.guidellm.itl.v1@4": 0.025,
            "exec.guidellm.latency.v1@4": 1.5,
        }
    )


def test_aider_says_which_exercises_passed_and_those_it_failed_at_did_not(tmp_path):
    def exercise(outcomes):
        return {"tests_outcomes": outcomes, "num_malformed_responses": 1, "duration": 2.5}

    folder = "output/2026-01-02-03-04-05--run/python/exercises/practice"
    files = {
        f"{folder}/bowling/.aider.results.json": exercise([False, True]),
        f"{folder}/connect/.aider.results.json": exercise([False, False]),
        f"{folder}/wordy/.aider.results.json": {"exception": "no answer"},
    }
    found = found_in(tmp_path, "aider", files)
    case = "python/exercises/practice"
    assert found.cases["exec.aider.passed.v1"] == {
        f"{case}/bowling": 1.0, f"{case}/connect": 0.0, f"{case}/wordy": 0.0,
    }  # fmt: skip
    assert sum(found.cases["exec.aider.passed-first.v1"].values()) == 0
    assert len(found.cases["exec.aider.duration.v1"]) == 2


def metric(**other):
    return {"m": {"definition": "It.", "unit": "x", "larger_is_better": None, **other}}


def test_csv_and_regex_are_items_of_text(tmp_path):
    table = {"format": "csv", "metrics": metric(value="speed", at=["name"], where={"kind": "a", "size": 2})}
    found = parse(
        read(tmp_path, recipe("", results=[table])), tmp_path,
        b"name,kind,size,speed\none,a,2,1.5\ntwo,b,2,2\nthree,a,3,3\n",
    )  # fmt: skip
    assert found.numbers == {"exec.mine.m.v1@one": 1.5}
    lines = {
        "format": "regex",
        "pattern": r"(?P<who>\w+): (?P<n>[\d.]+)%",
        "metrics": metric(value="n", key=["who"]),
    }
    found = parse(read(tmp_path, recipe("", results=[lines])), tmp_path, b"ann: 12%\nbob: 7.5%\nnan%\n")
    assert found.cases == {"exec.mine.m.v1": {"ann": 12.0, "bob": 7.5}}


@pytest.mark.parametrize(
    ("metric_file", "output", "words"),
    [
        ({"each": "l", "value": ""}, {"l": [1, 2]}, "there are two numbers"),
        ({"each": "l", "value": "v", "key": ["k"]}, {"l": [{"v": 1, "k": 1}] * 2}, "there are two cases '1'"),
    ],
)
def test_what_cannot_be_told_apart_is_no_number_at_all(tmp_path, metric_file, output, words):
    source = {"format": "json", "metrics": metric(**metric_file)}
    found = parse(read(tmp_path, recipe("", results=[source])), tmp_path, json.dumps(output).encode())
    assert not found
    assert words in found.notes[0]


def test_a_link_out_of_the_folder_is_not_read(tmp_path):
    (tmp_path / "elsewhere").write_text('{"v": 1}')
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "out.json").symlink_to(tmp_path / "elsewhere")
    source = {"format": "json", "file": "*.json", "metrics": metric(value="v")}
    found = parse(read(tmp_path / "own", recipe("", results=[source])), folder, b"")
    assert not found
    assert found.notes == ["there is no file *.json"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"v": NaN}', '{"v": 1e999}', '{"v": "inf"}', '{"v": [1]}', "\0"]
)
def test_hostile_output_gives_no_number(tmp_path, text):
    source = {"format": "json", "metrics": metric(value="v")}
    assert not parse(read(tmp_path, recipe("", results=[source])), tmp_path, text.encode())


def test_shipped_recipes_need_no_option_but_a_tokenizer_and_none_is_trusted():
    for one in shipped_recipes().values():
        options = {"tokenizer": "org/model"} if "tokenizer" in one.file.options else {}
        command = words(one.file, values_of(one.file, options, ENDPOINT, "/run/output"))
        assert not any("{" in word for word in command), command
        assert not one.file.trusted
        assert sys.executable not in command
    assert shipped_recipes()["aider"].file.runs_model_code
