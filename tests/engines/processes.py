"""Real engine processes for tests: started, watched and ended; what they leave is killed by the fixture."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpumod.core.names import HOST_CARD, PresetId, ServiceId
from gpumod.core.ports import Engine, Readiness
from gpumod.core.service import Launch
from gpumod.core.spec import EngineKind, LlamaOptions, ServiceSpec
from gpumod.testing.ports import free_port

PATIENCE = 60.0
"""Seconds that anything may take on a noisy machine."""


class Listeners:
    """The part of HostProbe that engines use."""

    async def listens(self, port, pids):
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        return True
        return False


def until(condition, what: str, seconds: float = PATIENCE):
    """Wait for a condition, and return what it was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)
    return found


class Process:
    """An engine's process and its log."""

    def __init__(self, argv, env, log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                argv,
                env=dict(env) or None,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self.popen.pid

    @property
    def lines(self) -> list[str]:
        """The log so far."""
        return self._log.read_text(errors="replace").splitlines()

    def signal(self, number: int) -> None:
        """Signal the leader."""
        self.popen.send_signal(number)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the end, and return the exit code (negative: the signal)."""
        return self.popen.wait(seconds)

    def alive(self) -> bool:
        """Whether the leader runs."""
        return self.popen.poll() is None

    def tree(self) -> list[psutil.Process]:
        """The leader and all its descendants that live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def kill(self) -> None:
        """SIGKILL to the tree, and collect it."""
        for process in reversed(self.tree()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait(PATIENCE)


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Process]]:
    """Starts processes; those that still run at the end are killed, orphans included."""
    started: list[Process] = []
    known = set(psutil.Process().children())

    def run(argv, env=(), log="engine.log") -> Process:
        started.append(Process(argv, env, tmp_path / log))
        return started[-1]

    yield run
    for process in started:
        process.kill()
    # The test session is a subreaper: orphans have become its children.
    for orphan in set(psutil.Process().children(recursive=True)) - known:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    for orphan in set(psutil.Process().children()) - known:
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            os.waitpid(orphan.pid, 0)


def spec_of(engine: EngineKind = EngineKind.LLAMA_CPP, **keys) -> ServiceSpec:
    """A spec for tests; one thread, since ggml's threads busy-wait."""
    if engine is EngineKind.LLAMA_CPP:
        keys.setdefault("llama", LlamaOptions(threads=1))
        keys.setdefault("context", 512)
    keys.setdefault("id", ServiceId("chat"))
    return ServiceSpec(preset=PresetId("chat"), engine=engine, **keys)


async def launch_of(engine: Engine, spec: ServiceSpec, port: int | None = None, **more) -> Launch:
    """What the engine would run on the host card."""
    build = await engine.build(spec)
    assert not isinstance(build, str), build
    keys: dict[str, Any] = {"cards": (HOST_CARD,), "card_indexes": {}, "files": (), "generation": 1} | more
    return engine.compose(spec, build, port=port or free_port(), **keys)


async def ready(
    engine: Engine, spec: ServiceSpec, launch: Launch, process: Process, seconds=PATIENCE
) -> None:
    """Wait until the engine says that it is ready."""
    deadline = time.monotonic() + seconds
    while (answer := await engine.probe(spec, launch)).readiness is not Readiness.READY:
        assert process.alive(), "\n".join(process.lines[-20:])
        assert time.monotonic() < deadline, (answer, process.lines[-20:])
        await asyncio.sleep(0.01)


TERM = signal.SIGTERM
KILL = signal.SIGKILL
