"""The real vLLM on the CPU: its start, its ends, its orphans. Each start takes half a minute."""

import asyncio
import contextlib
import os

import psutil
import pytest

from gpumod.core.ports import EngineBuild, Readiness
from gpumod.core.spec import EngineKind, VllmOptions
from gpumod.core.states import ServiceState
from gpumod.engines import engines
from tests.engines.processes import KILL, TERM, Listeners, launch_of, ready, spec_of, until
from tests.integration.test_llama_embedded import ask, busy

pytestmark = pytest.mark.engines

START = 300.0
"""Seconds; 30 on an idle machine."""


@pytest.fixture
def engine(vllm_program):
    return engines(Listeners(), vllm=str(vllm_program))[EngineKind.VLLM]


@pytest.fixture
def spec(hf_model):
    return spec_of(
        EngineKind.VLLM,
        model=str(hf_model),
        context=8192,
        slots=2,
        vllm=VllmOptions(enforce_eager=True, dtype="float32"),
        sampler=(("temperature", 0.7), ("repeat_penalty", 1.05)),
        env=(("OMP_NUM_THREADS", "1"), ("VLLM_CPU_KVCACHE_SPACE", "1")),
    )


async def serving(engine, start, spec):
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process, START)
    return launch, process


def workers(process) -> list[psutil.Process]:
    """Its children that hold the memory, whatever they call themselves."""
    return [one for one in process.tree() if "VLLM::" in " ".join(_title(one))]


def _title(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def living(processes) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def test_the_version_is_known_without_running_it(engine):
    build = await engine.build(spec_of(EngineKind.VLLM))
    assert isinstance(build, EngineBuild)
    assert build.version.startswith("0.32")


async def test_a_life(engine, start, spec):
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    seen = set()
    async with asyncio.timeout(START):
        while Readiness.READY not in seen:
            assert process.alive(), process.lines[-20:]
            seen.add((await engine.probe(spec, launch)).readiness)
            await asyncio.sleep(0.05)
    assert seen == {Readiness.CLOSED, Readiness.READY}, "nothing listens until it is ready"
    assert await engine.warm_up(spec, launch) == ""
    assert await engine.in_flight(spec, launch) == 0
    pids = [one.pid for one in process.tree()]
    assert await engine.owns_listener(spec, launch, pids) is True

    clients = [ask(launch.port, 6000) for _ in range(3)]
    await busy(engine, spec, launch, 3)  # two run, one waits
    for client in clients:
        client.close()
    await busy(engine, spec, launch, 0)

    tree = process.tree()
    rungs = engine.ladder(spec, launch, state=ServiceState.DRAINING, drained=True)
    assert rungs[0].act == "signal"
    process.signal(rungs[0].number)
    assert process.ended() == 0
    until(lambda: not living(tree), "the end of all its processes")


async def test_sigterm_while_its_engine_starts_is_ignored(engine, start, spec):
    """So the ladder of a loading engine is SIGKILL to the tree."""
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    until(lambda: workers(process), "the engine core", START)
    process.signal(TERM)
    await asyncio.sleep(5)
    assert process.alive()
    (rung,) = engine.ladder(spec, launch, state=ServiceState.LOADING, drained=False)
    assert rung.act == "kill"


async def test_a_killed_server_leaves_its_workers_behind(engine, start, spec):
    _, process = await serving(engine, start, spec)
    orphans = workers(process)
    assert orphans
    process.signal(KILL)
    process.ended()
    await asyncio.sleep(2)
    left = living(orphans)
    assert left, "the memory is theirs, so the whole tree is killed, never only the leader"
    for orphan in left:
        os.kill(orphan.pid, KILL)


async def test_a_crash_of_its_engine_core_ends_it_with_code_0(engine, start, spec):
    launch, process = await serving(engine, start, spec)
    core = next(one for one in workers(process) if "EngineCore" in " ".join(_title(one)))
    core.kill()
    seen = set()
    while process.alive():
        seen.add((await engine.probe(spec, launch)).readiness)
        await asyncio.sleep(0.01)
    assert process.ended() == 0, "an exit that nobody asked for is a failure whatever its code"
    assert Readiness.LOADING not in seen, "its 503 means that it is dead"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda argv: (*argv, "--bogus"), 2, "--bogus"),
        (lambda argv: (*argv, "--max-model-len", "999999"), 1, "max_model_len"),
        (lambda argv: (argv[0], argv[1], "/nonexistent", *argv[3:]), 1, "neither a folder"),
    ],
)
async def test_failures_are_explained(engine, start, spec, change, code, says):
    launch = await launch_of(engine, spec)
    process = start(change(launch.argv), launch.env)
    assert process.ended(START) == code
    assert says in engine.explain(process.lines, None, launch)
