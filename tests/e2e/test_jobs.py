"""Benchmark jobs of a real daemon: llama.cpp on the CPU is measured, and the mode comes back."""

import asyncio
import json
import signal
import subprocess
import sys

import pytest

from gpumod.client import Work
from gpumod.core.job import JobId, JobPhase, JobRecord, JobRequest, JobState
from gpumod.core.switch import BoxState
from gpumod.daemon import SystemClock
from gpumod.store import open_store
from gpumod.testing.engine_server import Script
from gpumod.testing.gguf import TINY, write_gguf

pytest.importorskip("xllamacpp", reason="the embedded extra is not installed")

pytestmark = pytest.mark.shared_processes

PATIENCE = 120.0


@pytest.fixture
def box(make_real_box):
    """The mode chat, and a preset `tiny` for which it has to leave."""
    box = make_real_box()
    box.preset("chat", Script(host_mib=50), vram=700)
    box.mode("chat", "chat")
    model = box.root / "tiny.gguf"
    write_gguf(model, TINY)
    box.write(
        "presets/tiny.yaml",
        f"{{id: tiny, engine: llama.cpp, binary: embedded, model: {model}, context: 1024, slots: 1, "
        f'vram: 400MiB, llama: {{threads: 1}}, env: {{TEST_BOX: "{box.root}/"}}}}',
    )
    box.start()
    with box.client() as client:
        client.switch("chat")
    return box


def ask(box, question):
    """Ask the box's queue, from beside the daemon."""

    async def answer():
        store = await open_store(box.root / "state/gpumod.db", SystemClock())
        try:
            return await question(store.job_store)
        finally:
            await store.close()

    return asyncio.run(answer())


def submit(box, repeats):
    parameters = {"depths": [32], "concurrency": [], "tokens": 8, "repeats": repeats}
    request = JobRequest("speed", ("tiny",), parameters)
    return ask(box, lambda jobs: jobs.submit(JobRecord(JobId("j1"), request, JobState.QUEUED, 0.0)))


def job(box, name="j1"):
    return ask(box, lambda jobs: jobs.job(name))


def samples(box):
    return ask(box, lambda jobs: jobs.samples("j1"))


def assert_done(box, count):
    box.wait_until("the job is over", lambda: job(box).state.ended, PATIENCE)
    ended = job(box)
    assert (ended.state, ended.reason) == (JobState.DONE, ""), box.log()
    (result,) = ask(box, lambda jobs: jobs.results("j1"))
    assert result.outcomes == {"ok": count}
    assert len({sample.case for sample in samples(box)}) == len(samples(box)) == count
    speeds = [metric for metric in result.metrics if metric.unit == "tokens/s"]
    assert speeds
    assert all(metric.value > 0 for metric in speeds)
    with box.client() as client:
        status = client.status()
    assert (status.mode, status.state) == ("chat", BoxState.SETTLED)
    assert status.leases == ()
    assert set(box.engines()) == {"chat"}
    return result


def test_a_job_measures_llama_cpp_and_the_mode_is_back(box):
    submit(box, 2)
    result = assert_done(box, 2)
    (service,) = result.provenance["services"]
    assert service["id"] == "tiny"
    assert service["files"][0]["size"] == (box.root / "tiny.gguf").stat().st_size
    assert service["files"][0]["quant"] == "F32"
    assert service["build"]
    assert result.provenance["requests"]["others"] == {"prompt_tokens": 0.0, "generated_tokens": 0.0}
    assert result.integrity == ()
    switch = JobRequest("switch", ("tiny",), {"other": "chat", "repeats": 1})
    ask(box, lambda jobs: jobs.submit(JobRecord(JobId("j2"), switch, JobState.QUEUED, 0.0)))
    box.wait_until("the switches are over", lambda: job(box, "j2").state.ended, PATIENCE)
    assert (job(box, "j2").state, job(box, "j2").reason) == (JobState.DONE, ""), box.log()
    (result,) = ask(box, lambda jobs: jobs.results("j2"))
    assert result.integrity == ()
    values = {metric.formula: metric.value for metric in result.metrics}
    for way in ("there", "back"):
        assert 0 < values[f"switch.ready.v1@{way}"] < values[f"switch.total.v1@{way}"]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        (JobPhase.SWITCHING, signal.SIGKILL),
        (JobPhase.MEASURING, signal.SIGKILL),
        (JobPhase.MEASURING, signal.SIGTERM),
        (JobPhase.RESTORING, signal.SIGKILL),
    ],
)
def test_a_job_goes_on_with_the_next_daemon(box, phase, number):
    submit(box, 8)
    measuring = phase is JobPhase.MEASURING
    box.wait_until(
        f"it is {phase}",
        lambda: samples(box) if measuring else job(box).phase is phase or job(box).state.ended,
    )
    box.stop(number)
    box.start()
    assert_done(box, 8)


def ctl(box, *words):
    """Run gpumodctl as a user would."""
    command = [sys.executable, "-m", "gpumod.cli.main", *words, "--socket", box.socket]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_gpumodctl_submits_a_job_and_waits_for_what_it_found(box):
    small = ["-p", "depths=[32]", "-p", "concurrency=[]", "-p", "tokens=8", "-p", "repeats=2"]
    done = ctl(box, "job", "submit", "speed", "tiny", *small, "--dedupe", "--wait", "--json")
    assert done.returncode == 0, done.stdout + done.stderr + box.log()
    answer = json.loads(done.stdout)
    assert (answer["job"]["state"], answer["job"]["progress"]["done"]) == ("done", 2)
    (result,) = answer["results"]
    assert result["outcomes"] == {"ok": 2}
    assert any(metric["unit"] == "tokens/s" and metric["value"] > 0 for metric in result["metrics"])
    shown = ctl(box, "job", "show", answer["job"]["id"])
    assert "tiny: 2 ok" in shown.stdout
    assert len(ctl(box, "job", "logs", answer["job"]["id"]).stdout.splitlines()) == 2
    assert ctl(box, "job", "submit", "speed", "nosuch").returncode == 5
    assert ctl(box, "job", "submit", "speed", "tiny", "-p", "nosuch=1").returncode == 2
    with box.client() as client:
        assert client.status().mode == "chat"
        saved = client.save_schedule("nightly", "0 3 * * *", Work("speed", ["tiny"]), timezone="UTC")
        assert client.schedules() == (saved,)
    box.stop()
    box.start()
    with box.client() as client:
        assert client.schedule("nightly").next == saved.next


def test_gpumodctl_waits_for_a_job_over_a_restart_of_the_daemon(box):
    words = ["submit", "speed", "tiny", "-p", "depths=[32]", "-p", "concurrency=[]", "-p", "tokens=8"]
    command = [sys.executable, "-m", "gpumod.cli.main", "job", *words, "-p", "repeats=8", "--wait"]
    with subprocess.Popen(
        [*command, "--json", "--socket", box.socket], stdout=subprocess.PIPE, text=True
    ) as waiting:
        with box.client() as client:
            box.wait_until("it has measured something", lambda: any(map(client.samples, ids(client))))
        box.stop(signal.SIGKILL)
        box.start()
        out, _ = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0, out + box.log()
    answer = json.loads(out)
    assert answer["job"]["attempt"] == 2
    assert answer["results"][0]["outcomes"] == {"ok": 8}


def ids(client):
    return [job.id for job in client.jobs()]
