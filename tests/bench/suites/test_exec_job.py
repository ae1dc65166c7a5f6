"""A job with a recipe on a simulated box: the card is free while a harness loads the model itself."""

import asyncio
import json

from gpumod.core.job import JobRequest, JobState
from tests.bench.suites.exec_box import recipe, suite_with


async def test_a_harness_that_loads_the_model_has_the_card_to_itself(make_bench, tmp_path):
    bench = await make_bench()
    seen, go = tmp_path / "seen", tmp_path / "go"
    script = (
        "import json, os, sys, time\n"
        "open(sys.argv[1], 'w').close()\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.005)\n"
        "print(json.dumps({'speed': 3}))"
    )
    suite = suite_with(tmp_path / "recipes", recipe(script, str(seen), str(go), against="model"))
    bench.suites["exec"] = lambda: suite
    job = await bench.queue.submit(JobRequest("exec", ("qwen",), {"recipe": "mine"}))
    async with asyncio.timeout(60):
        while not seen.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.002)
    status = await bench.box.supervisor.status()
    assert not [one.id for one in status.services if one.state.value == "ready"]
    go.touch()
    async with asyncio.timeout(60):
        while not (await bench.queue.job(job.id)).state.ended:  # noqa: ASYNC110 - a process takes its time
            await asyncio.sleep(0.002)
    assert (await bench.queue.job(job.id)).state is JobState.DONE
    (result,) = await bench.queue.results(job.id)
    assert {one.formula: one.value for one in result.metrics} == {"exec.mine.speed.v1": 3.0}
    assert await bench.mode() == "chat"
    assert json.dumps(result.parameters)
