"""Looks at files that may hang: bounded, and no second one where one hangs."""

import asyncio
import threading
import time

import pytest

from gpumod.core.spec import ContainerOptions, EngineKind, Mount
from gpumod.engines import aside as aside_module
from gpumod.engines import programs
from gpumod.engines.aside import aside
from gpumod.engines.container import ContainerEngine
from gpumod.testing.box import service


@pytest.fixture
def release():
    """What hangs in a test goes on when it ends, and is waited for."""
    event, before = threading.Event(), set(threading.enumerate())
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)


async def test_what_was_found_or_went_wrong_is_the_callers():
    assert await aside("/here", lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await aside("/here", lambda: 1 // 0)


async def test_a_look_that_hangs_is_given_up_and_not_repeated_until_it_is_back(release):
    looks = []

    def hang():
        looks.append(1)
        release.wait(60)

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await aside("/away", hang, 0.05)
    assert len(looks) == 1
    assert await aside("/elsewhere", lambda: 7) == 7
    release.set()
    deadline = time.monotonic() + 60
    while "/away" in aside_module._since:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    assert await aside("/away", lambda: 7) == 7


async def test_a_program_on_a_disk_that_hangs_is_said_so(release, monkeypatch):
    monkeypatch.setattr(programs, "locate", lambda program: release.wait(60))
    monkeypatch.setattr(aside_module.aside, "__defaults__", (0.05,))
    builds = programs.Builds(lambda identity: pytest.fail("it was asked"))
    assert (
        await builds.of("/mnt/llama-server")
        == "/mnt/llama-server: its file system does not answer within 5 s"
    )


async def test_mounts_on_a_disk_that_hangs_are_said_so(release, monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda self: release.wait(60))
    monkeypatch.setattr(aside_module.aside, "__defaults__", (0.05,))
    options = ContainerOptions("image", mounts=(Mount("/mnt/nfs/models", "/models"),))
    spec = service("boxed", 1, engine=EngineKind.CONTAINER, container=options)
    said = await ContainerEngine("podman", "i").build(spec)
    assert said == "container.mounts: /mnt/nfs/models: no answer within 5 s"
