"""A real llama-server in a real container."""

import os
import signal
import subprocess

import psutil
import pytest

from gpumod.core.ports import EngineBuild
from gpumod.core.spec import ContainerOptions, EngineKind, Mount
from gpumod.core.states import ServiceState
from gpumod.engines import engines, run_command
from tests.engines.processes import Listeners, launch_of, ready, spec_of, until

pytestmark = pytest.mark.engines


@pytest.fixture
def engine():
    return engines(Listeners(), container_runtime="podman", instance=f"test{os.getpid()}")[
        EngineKind.CONTAINER
    ]


@pytest.fixture
def spec(container_image, llama_server, gguf_models):
    return container_spec(container_image, llama_server, gguf_models, "tiny.gguf")


def container_spec(image, binary, models, model):
    mounts = [Mount(one, one) for one in ("/usr", "/lib", "/lib64")]
    mounts += [Mount(str(binary), "/engine/llama-server"), Mount(str(models), "/models")]
    command = f"/engine/llama-server -m /models/{model} --host 0.0.0.0 --port 8000 --alias chat --metrics"
    command += " -t 1 -c 512 --load-mode none"
    options = ContainerOptions(image, port=8000, mounts=tuple(mounts), command=tuple(command.split()))
    return spec_of(EngineKind.CONTAINER, container=options, stop_grace=10.0)


def containers(engine) -> str:
    name = f"test{os.getpid()}"
    listing = ["podman", "ps", "--all", "--quiet", "--filter", f"label=gpumod.instance={name}"]
    return subprocess.run(listing, capture_output=True, text=True, timeout=60, check=True).stdout


async def test_a_life(engine, start, spec):
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process)
    assert await engine.warm_up(spec, launch) == ""
    assert engine.counts_requests(spec)
    assert await engine.in_flight(spec, launch) == 0
    assert await engine.owns_listener(spec, launch, ()) is True
    inside = await engine.outside(spec, launch)
    assert "llama-server" in psutil.Process(inside[0]).name()

    rungs = engine.ladder(spec, launch, state=ServiceState.DRAINING, drained=True)
    assert await run_command(rungs[0].argv, rungs[0].wait) == ""
    assert process.ended() == 0
    assert await engine.outside(spec, launch) == ()
    await engine.clean(spec, launch)
    assert containers(engine) == ""


async def test_a_container_outlives_its_command_line_tool_and_is_removed(engine, start, spec):
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    await ready(engine, spec, launch, process)
    inside = await engine.outside(spec, launch)
    process.signal(signal.SIGKILL)
    process.ended()
    assert await engine.outside(spec, launch) == inside
    await engine.clean(spec, launch)
    assert containers(engine) == ""
    until(lambda: not psutil.pid_exists(inside[0]), "the end of the server inside")


async def test_while_it_loads_it_ignores_sigterm_as_pid_1_and_is_killed(
    engine, start, container_image, llama_server, gguf_models
):
    spec = container_spec(container_image, llama_server, gguf_models, "slow.gguf")
    launch = await launch_of(engine, spec)
    process = start(launch.argv, launch.env)
    while not await engine.outside(spec, launch):
        assert process.alive(), process.lines
    rung = engine.ladder(spec, launch, state=ServiceState.LOADING, drained=False)[0]
    assert await run_command(rung.argv, rung.wait) == ""
    assert process.ended() == 137
    await engine.clean(spec, launch)
    assert containers(engine) == ""


async def test_an_image_that_is_not_here_is_refused_before_anything_is_stopped(engine, container_image):
    missing = spec_of(EngineKind.CONTAINER, container=ContainerOptions("localhost/never-made:1"))
    assert "is not on this box" in await engine.build(missing)
    present = spec_of(EngineKind.CONTAINER, container=ContainerOptions(container_image))
    build = await engine.build(present)
    assert isinstance(build, EngineBuild)
    assert build.version
