"""Containers by the command line of podman or docker."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.ports import EngineBuild
from gpumod.core.service import ExitReport, RunKey
from gpumod.core.spec import ContainerOptions, EngineKind, Mount
from gpumod.core.states import ServiceState
from gpumod.engines.container import ContainerEngine
from tests.engines.processes import spec_of

A, B = CardId("GPU-a"), CardId("GPU-b")
PODMAN = EngineBuild("/usr/bin/podman", "sha256:1")
OPTIONS = ContainerOptions(
    "vllm/vllm:1", port=8000, mounts=(Mount("/models", "/m"), Mount("/cache", "/c", read_only=False)),
    command=("--model", "/m/x"),
)  # fmt: skip

FAKE_RUNTIME = """#!/bin/sh
echo "$@" >> {calls}
case "$1 $2" in
  "image inspect") {image} ;;
  "ps --all") printf 'gpumod-chat-g1\\ngpumod-chat-g3\\ngpumod-chat-g4\\nforeign\\n' ;;
  "container inspect") echo {pid} ;;
  "port gpumod-chat-g3") echo '8000/tcp -> 127.0.0.1:18003' ;;
  *) exit 0 ;;
esac
"""


def container_spec(**keys):
    return spec_of(EngineKind.CONTAINER, **({"container": OPTIONS} | keys))


def compose(engine, build=PODMAN, cards=(A,), generation=3, **keys):
    return engine.compose(
        container_spec(**keys),
        build,
        cards=cards,
        card_indexes={},
        port=18003,
        files=(),
        generation=generation,
    )


@pytest.fixture
def engine():
    return ContainerEngine()


@pytest.fixture
def runtime(tmp_path):
    """A stand-in for podman that notes what it is asked."""

    def make(image="echo sha256:abc", pid="0") -> Path:
        program: Path = tmp_path / "podman"
        program.write_text(FAKE_RUNTIME.format(calls=tmp_path / "calls", image=image, pid=pid))
        program.chmod(0o755)
        return program

    return make


def test_it_runs_in_the_foreground_named_labelled_and_published_on_loopback(engine):
    launch = compose(engine, args=("--shm-size=8g",), env=(("TOKEN", "secret"),))
    line = " ".join(launch.argv)
    assert launch.container == "gpumod-chat-g3"
    assert launch.argv[:2] == ("/usr/bin/podman", "run")
    for part in (
        "--rm", "--name gpumod-chat-g3", "--label gpumod.service=chat", "--publish 127.0.0.1:18003:8000",
        "--device nvidia.com/gpu=GPU-a", "--volume /models:/m:ro", "--volume /cache:/c ", "--pull never",
    ):  # fmt: skip
        assert part in line
    assert line.endswith("--shm-size=8g vllm/vllm:1 --model /m/x")
    assert "secret" not in line
    assert ("TOKEN", "secret") in launch.env


def test_docker_gets_its_gpus_as_one_option(engine):
    argv = compose(engine, EngineBuild("/usr/bin/docker", "1"), cards=(A, B)).argv
    assert argv[argv.index("--gpus") + 1] == '"device=GPU-a,GPU-b"'


def test_on_the_host_card_it_gets_no_gpu(engine):
    assert not {"--gpus", "--device"} & set(compose(engine, cards=(HOST_CARD,)).argv)


def test_two_daemons_do_not_share_names(engine):
    assert compose(ContainerEngine(instance="lab")).container == "gpumod-lab-chat-g3"


def test_the_fingerprint_does_not_know_the_generation(engine):
    assert compose(engine).fingerprint == compose(engine, generation=4).fingerprint
    other = replace(OPTIONS, command=("--model", "/m/y"))
    assert compose(engine).fingerprint != compose(engine, container=other).fingerprint


@pytest.mark.parametrize(
    "args", [("--name=x",), ("-d",), ("-p", "80:80"), ("--gpus", "all"), ("--network=host",)]
)
def test_options_that_gpumod_lives_by_are_refused(engine, args):
    assert len(engine.check(container_spec(args=args), None).contradictions) == 1


def test_it_is_stopped_through_its_runtime_with_its_grace(engine):
    launch = compose(engine)
    rungs = engine.ladder(container_spec(stop_grace=7.5), launch, state=ServiceState.DRAINING, drained=True)
    assert rungs[0].argv == ("/usr/bin/podman", "stop", "-t", "8", "gpumod-chat-g3")
    assert rungs[0].wait > 8
    assert rungs[-1].act == "kill"


def test_while_it_loads_it_is_killed_through_its_runtime_since_pid_1_ignores_sigterm(engine):
    rungs = engine.ladder(container_spec(), compose(engine), state=ServiceState.LOADING, drained=False)
    assert rungs[0].argv == ("/usr/bin/podman", "kill", "gpumod-chat-g3")
    assert rungs[-1].act == "kill"


def test_137_is_explained(engine):
    report = ExitReport(RunKey(ServiceId("chat"), 1), 137, None, 0.0)
    assert "memory limit" in engine.explain(["E last words: error"], report)


async def test_the_build_is_the_image(engine, runtime):
    build = await engine.build(container_spec(binary=str(runtime()), container=ContainerOptions("i:1")))
    assert isinstance(build, EngineBuild)
    assert build.version == "sha256:abc"


async def test_an_image_that_is_not_here_is_not_pulled_during_a_switch(engine, runtime):
    program = runtime(image="echo 'Error: i:1: image not known'; exit 125")
    problem = await engine.build(container_spec(binary=str(program), container=ContainerOptions("i:1")))
    assert "pull i:1" in problem


async def test_a_runtime_that_does_not_work_says_why(engine, runtime):
    program = runtime(image="echo 'permission denied on the socket'; exit 1")
    problem = await engine.build(container_spec(binary=str(program), container=ContainerOptions("i:1")))
    assert "permission denied" in problem


async def test_a_mount_that_is_missing_is_told(engine):
    assert "/models" in await engine.build(container_spec())


async def test_leftovers_of_this_and_earlier_attempts_are_removed_never_a_later_one(
    engine, runtime, tmp_path
):
    launch = compose(engine, EngineBuild(str(runtime()), "1"))
    await engine.clean(container_spec(), launch)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "--filter label=gpumod.service=chat" in calls[0]
    assert calls[1] == "rm --force gpumod-chat-g1 gpumod-chat-g3"


async def test_processes_inside_belong_to_the_service(engine, runtime):
    launch = compose(engine, EngineBuild(str(runtime(pid=str(os.getpid()))), "1"))
    assert os.getpid() in await engine.outside(container_spec(), launch)


async def test_a_container_that_has_gone_has_no_processes(engine, runtime):
    launch = compose(engine, EngineBuild(str(runtime(pid="0")), "1"))
    assert await engine.outside(container_spec(), launch) == ()
    assert await engine.outside(container_spec(), replace(launch, argv=("/nonexistent/podman",))) == ()


async def test_the_listener_is_known_by_the_port_mapping(engine, runtime):
    build = EngineBuild(str(runtime()), "1")
    assert await engine.owns_listener(container_spec(), compose(engine, build), ()) is True
    other = replace(compose(engine, build), port=18004)
    assert await engine.owns_listener(container_spec(), other, ()) is False
