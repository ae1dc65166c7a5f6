"""The suite `exec` with harnesses that are short scripts: real processes, few of them."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.bench.suites import SUITES, suites_with
from gpumod.bench.suites.exec import suite
from gpumod.core.errors import GpumodError, InvalidRequestError
from gpumod.core.job import Outcome
from tests.bench.suites.exec_box import ENDPOINT, FakeBench, read, recipe, run, suite_with, write

SAYS = (
    "import json, os, sys; print(json.dumps({'speed': 12.5, 'argv': sys.argv[1:], 'env': dict(os.environ)}))"
)


def told(seen):
    """A script that writes down what it was given and says a number."""
    facts = "json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()])"
    return f"{SAYS}; print({facts}, file=open({str(seen)!r}, 'w'))"


async def test_a_harness_gets_the_target_and_its_numbers_become_metrics_of_the_recipes_version(tmp_path):
    seen = tmp_path / "seen"
    document = recipe(
        told(seen), "--url={url}/v1", "{model}", "{context}", "{cards}", "{tasks}", ["--limit", "{limit}"],
        ["-t", "{threads}"], "{output}",
        version=3,
        options={
            "tasks": {"type": "text", "description": "Tasks.", "pattern": "[a-z ;$]+", "default": "gsm"},
            "limit": {"type": "integer", "description": "Cases.", "default": 5},
            "threads": {"type": "integer", "description": "Threads."},
        },
    )  # fmt: skip
    sample, metrics = await run(tmp_path / "recipes", document, options={"tasks": "a b; $c"})
    assert (sample.outcome, sample.numbers) == (Outcome.OK, {"exec.mine.speed.v3": 12.5})
    assert [(one.formula, one.value, one.unit) for one in metrics] == [
        ("exec.mine.speed.v3", 12.5, "tokens/s")
    ]
    argv, _, folder = json.loads(seen.read_text())
    assert argv[:-1] == [
        "--url=http://127.0.0.1:18001/v1", "gemma-3", "8192", "GPU-1,GPU-2", "a b; $c", "--limit", "5",
    ]  # fmt: skip
    assert argv[-1] == f"{folder}/output"
    assert not await asyncio.to_thread(Path(folder).exists), "the working folder is left behind"


async def test_a_harness_has_a_short_environment_and_no_value_of_it_is_in_the_result(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "of-the-daemon")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    seen = tmp_path / "seen"
    script = f"{told(seen)}; print('token', os.environ['HF_TOKEN'], os.environ['OWN'], file=sys.stderr)"
    document = recipe(
        script,
        inherit=["HF_TOKEN"],
        env={"OWN": "own-0123456789", "BASE": "{url}/v1"},
        path=["~/tools"],
    )
    sample, _ = await run(tmp_path / "recipes", document)
    environment = json.loads(seen.read_text())[1]
    assert "SECRET_KEY" not in environment
    assert environment["HF_TOKEN"] == "hf_0123456789"
    assert environment["BASE"] == "http://127.0.0.1:18001/v1"
    assert environment["PATH"].startswith(f"{environment['HOME']}/tools:")
    assert sample.details["variables"] == ["BASE", "HF_TOKEN", "OWN"]
    assert sample.details["errors"] == "token <HF_TOKEN> <OWN>\n"
    assert "0123456789" not in json.dumps(sample.details)


@pytest.mark.parametrize(
    ("script", "outcome", "status", "errors"),
    [
        (
            "import sys; print('no such task', file=sys.stderr); sys.exit(3)",
            Outcome.WRONG,
            3,
            "no such task\n",
        ),
        ("print('{}')", Outcome.EMPTY, 0, ""),
        ("print('not json')", Outcome.EMPTY, 0, ""),
        ("import sys; sys.stderr.write('x' * 10**5); print('{\"speed\": 1}')", Outcome.OK, 0, "x" * 4000),
    ],
)
async def test_how_a_harness_ended_is_the_outcome(tmp_path, script, outcome, status, errors):
    sample, metrics = await run(tmp_path / "recipes", recipe(script))
    assert (sample.outcome, sample.details["status"], sample.details["errors"]) == (outcome, status, errors)
    assert bool(metrics) == (outcome is Outcome.OK)


# The child leaves session and process group; its own child is an orphan at once.
ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], 'w').write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.005)
time.sleep(float(sys.argv[2]))
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def written(path):
    """Wait until another process has written something there."""
    async with asyncio.timeout(60):
        while not (path.exists() and path.read_text()):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.005)


async def test_at_its_timeout_everything_that_the_harness_started_is_gone(tmp_path):
    pid = tmp_path / "pid"
    # A slow machine gets more time until all of it has been started.
    for seconds in (1.0, 5.0, 30.0, 120.0):
        document = recipe(ESCAPES, str(pid), "600")
        sample, metrics = await run(tmp_path / f"recipes-{seconds:g}", document, timeout=seconds)
        assert (sample.outcome, sample.details["status"], metrics) == (Outcome.TIMEOUT, None, ())
        if pid.exists() and pid.read_text():
            break
    assert not alive(int(pid.read_text()))


async def test_what_a_harness_leaves_running_at_its_end_is_ended_too(tmp_path):
    pid = tmp_path / "pid"
    sample, _ = await run(tmp_path / "recipes", recipe(ESCAPES + "print('{\"speed\": 2}')", str(pid), "0"))
    assert sample.outcome is Outcome.OK
    assert not alive(int(pid.read_text()))


async def test_a_cancelled_run_leaves_nothing(tmp_path):
    pid = tmp_path / "pid"
    running = asyncio.create_task(run(tmp_path / "recipes", recipe(ESCAPES, str(pid), "600")))
    await written(pid)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(int(pid.read_text()))


# A daemon of its own that is killed while its harness runs.
DAEMON = """
import asyncio, sys
from pathlib import Path
from gpumod.bench.suites.exec import environment, process
async def main():
    with environment.working_folder(None) as folder:
        Path(sys.argv[1]).write_text(str(folder))
        await process.run(sys.argv[2:], {"PATH": "/usr/bin:/bin"}, folder, 600)
asyncio.run(main())
"""


async def test_what_a_killed_daemon_left_is_ended_before_the_box_is_changed(tmp_path):
    pid, noted = tmp_path / "pid", tmp_path / "folder"
    harness = [sys.executable, "-S", "-c", ESCAPES, str(pid), "600"]
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, str(noted), *harness)
    await written(pid)
    daemon.kill()
    await daemon.wait()
    assert alive(int(pid.read_text()))
    await suite_with(tmp_path / "recipes", recipe(SAYS)).hindrance({"recipe": "mine"})
    assert not alive(int(pid.read_text()))
    assert not await asyncio.to_thread(Path(noted.read_text()).exists)


async def test_a_harness_that_loads_the_model_runs_while_the_target_is_away(tmp_path):
    bench = FakeBench()
    script = f"{SAYS}; assert sys.argv[1] == '/models/gemma.gguf'"
    sample, _ = await run(tmp_path / "recipes", recipe(script, "{model_file}", against="model"), bench=bench)
    assert (sample.outcome, bench.visits) == (Outcome.OK, ["to blank", "back"])


async def test_a_fact_that_is_not_known_of_the_target_ends_the_job_with_its_name(tmp_path):
    with pytest.raises(GpumodError, match=r"the recipe needs \{context\}"):
        await run(tmp_path / "recipes", recipe(SAYS, "{context}"), replace(ENDPOINT, context=None))


async def test_the_version_is_what_the_harness_says(tmp_path):
    document = recipe(SAYS, version_argv=[*recipe("print('fake 1.2')")["argv"]])
    sample, _ = await run(tmp_path / "recipes", document)
    assert sample.details["version"] == "fake 1.2"


async def test_a_missing_program_is_a_hindrance_that_says_what_to_install(tmp_path):
    one = suite_with(tmp_path, recipe("", argv=["no-such-harness", "{url}"], install="install it with pip"))
    parameters = one.parameters({"recipe": "mine"})
    assert await one.hindrance(parameters) == "no-such-harness was not found: install it with pip"
    with pytest.raises(InvalidRequestError, match="install it with pip"):
        await one.run(one.cases(parameters, ENDPOINT)[0], parameters, FakeBench())


async def test_a_harness_that_runs_the_models_code_needs_the_owners_word_and_no_root(tmp_path, monkeypatch):
    document = recipe(SAYS, runs_model_code=True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    one = suite_with(tmp_path, document)
    assert "`trusted: true`" in await one.hindrance({"recipe": "mine"})
    write(tmp_path, document | {"trusted": True})
    assert await one.hindrance({"recipe": "mine"}) == ""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "as root" in await one.hindrance({"recipe": "mine"})
    assert await suite(tmp_path, "nobody").hindrance({"recipe": "mine"}) == ""


def test_parameters_are_filled_in_once_and_name_the_recipe_with_its_hash(tmp_path):
    document = recipe(
        SAYS,
        "{limit}",
        timeout="10m",
        options={"limit": {"type": "integer", "description": "L.", "default": 5}},
    )
    one = suite_with(tmp_path, document)
    parameters = one.parameters({"recipe": "mine"})
    digest = read(tmp_path, document).digest[:16]
    assert parameters == {
        "recipe": f"mine@{digest}", "options": {"limit": 5}, "repeats": 1, "timeout": 600.0,
    }  # fmt: skip
    assert one.parameters(parameters) == parameters
    write(tmp_path, document | {"version": 2})
    with pytest.raises(InvalidRequestError, match="has changed since the job was submitted"):
        one.parameters(parameters)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "recipe is needed: there are .*mine"),
        ({"recipe": 3}, "recipe must be a name"),
        ({"recipe": "mime"}, r"there is no recipe 'mime'.*did you mean 'mine'"),
        ({"recipe": "mine", "argv": ["sh"]}, "no parameter 'argv'"),
        ({"recipe": "mine", "repeats": 0}, "repeats must be"),
        ({"recipe": "mine", "timeout": 1e9}, "timeout must be"),
        ({"recipe": "mine", "options": ["-x"]}, "options must be a mapping"),
        ({"recipe": "mine", "options": {"task": "a"}}, r"no option 'task'.*did you mean 'tasks'"),
        ({"recipe": "mine", "options": {"tasks": "a,b"}}, "tasks must match"),
        ({"recipe": "mine", "options": {"tasks": "--trust"}}, "does not begin with '-'"),
        ({"recipe": "mine", "options": {"tasks": "a\nb"}}, "printable"),
        ({"recipe": "mine", "options": {"tasks": 3}}, "tasks must be text"),
        ({"recipe": "mine", "options": {"limit": 0}}, "limit must be 1 to inf, not 0"),
        ({"recipe": "mine", "options": {"limit": 1.5}}, "limit must be a whole number"),
        ({"recipe": "mine", "options": {"limit": True}}, "limit must be a whole number"),
        ({"recipe": "mine", "options": {"kind": "c"}}, "kind must be one of a, b"),
    ],
)
def test_a_job_gives_only_values_that_the_recipe_declares(tmp_path, given, words):
    options = {
        "tasks": {"type": "text", "description": "T.", "pattern": r"[\sa-z-]+"},
        "limit": {"type": "integer", "description": "L.", "min": 1},
        "kind": {"type": "choice", "description": "K.", "choices": ["a", "b"]},
    }
    with pytest.raises(InvalidRequestError, match=words):
        suite_with(tmp_path, recipe(SAYS, options=options)).parameters(given)


async def test_cases_of_several_runs_stay_apart_and_one_runs_cases_pair(tmp_path):
    metric = {
        "definition": "Right.", "unit": "points", "larger_is_better": True,
        "each": "cases", "value": "ok", "key": ["id"], "pooling": "share",
    }  # fmt: skip
    script = 'print(\'{"cases": [{"id": 1, "ok": true}, {"id": 2, "ok": false}]}\')'
    document = recipe(script, results=[{"format": "json", "metrics": {"right": metric}}])
    sample, (right,) = await run(tmp_path, document)
    assert (right.formula, right.value, right.count, right.by_case) == (
        "exec.mine.right.v1", 50.0, 2, {"1": 1.0, "2": 0.0},
    )  # fmt: skip
    one = suite_with(tmp_path, document)
    (twice,) = one.metrics([sample, replace(sample, case="run/002")], one.parameters({"recipe": "mine"}))
    assert (twice.count, sorted(twice.by_case)) == (4, ["1/run/001", "1/run/002", "2/run/001", "2/run/002"])


def test_own_recipes_come_from_the_config_folder_and_replace_shipped_ones(tmp_path):
    write(tmp_path / "recipes", recipe(SAYS, recipe="llama-bench"))
    one = suites_with(tmp_path)["exec"]()
    assert (
        one.parameters({"recipe": "llama-bench"})["recipe"]
        != (SUITES["exec"]().parameters({"recipe": "llama-bench"})["recipe"])
    )
    assert len(one.content_hash) == 64
