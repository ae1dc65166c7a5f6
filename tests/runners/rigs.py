"""Runners with something to run, one rig per adapter, for the contract and the tests of faults."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Protocol

from gpumod.core.names import ServiceId
from gpumod.core.ports import Runner, RunRequest
from gpumod.core.service import ExitReport, RunKey
from gpumod.runners.process import ProcessRunner
from gpumod.runners.procfs import read_stat
from gpumod.testing.runner import FakeProcesses, FakeRunner, Script

ACTOR = str(Path(__file__).with_name("actor.py"))
PATIENCE = 60.0
FAMILY = 5
"""Processes of a `family`: the leader, a child, one in its own session, an orphan, one in disguise."""
MISSING = "/nonexistent/engine"


def key(generation: int = 1, service: str = "chat") -> RunKey:
    return RunKey(ServiceId(service), generation)


async def until(condition, what: str):
    """Waits until the condition is true; its value."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.002)


class Rig(Protocol):
    """A runner, what to run on it, and what the machine itself says of the processes."""

    runner: Runner

    def request(self, run_key: RunKey, behaviour: str) -> RunRequest: ...
    async def ready(self, run_key: RunKey) -> None: ...
    async def restart(self) -> Runner: ...
    def alive(self, run_key: RunKey) -> set[int]: ...
    async def close(self) -> None: ...


class Exits(list[ExitReport]):
    """The exits that a runner told of."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.stop = runner.subscribe(self.append)

    async def first(self) -> ExitReport:
        await until(lambda: self, "an exit is told of")
        return self[0]


class FakeRig:
    def __init__(self, _folder: Path) -> None:
        self.box = FakeProcesses()
        self.runner: Runner = FakeRunner(self.box)

    def request(self, run_key: RunKey, behaviour: str) -> RunRequest:
        leave: dict[int, int] = {signal.SIGUSR1: 3}
        scripts = {
            "plain": Script(exit_on=leave),
            "stubborn": Script(exit_on=leave, ignores=frozenset({signal.SIGTERM})),
            "family": Script(exit_on=leave, children=FAMILY - 1, survive=True),
            "missing": Script(fails=f"cannot run {MISSING}: No such file or directory"),
        }
        self.box.script(run_key.service, scripts[behaviour])
        return RunRequest(run_key, ("engine",), (), "/dev/null")

    async def ready(self, run_key: RunKey) -> None:
        pass

    async def restart(self) -> Runner:
        await self.runner.close()
        self.runner = FakeRunner(self.box)
        return self.runner

    def alive(self, run_key: RunKey) -> set[int]:
        return set(self.box.pids(run_key.service))

    async def close(self) -> None:
        await self.runner.close()


class RealRig:
    """Real processes; a subclass makes the runner."""

    runner: Runner

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = self.make()

    def make(self) -> Runner:
        raise NotImplementedError

    def log(self, run_key: RunKey) -> Path:
        return self.folder / "logs" / f"{run_key.service}.log"

    def _pids(self, run_key: RunKey) -> Path:
        return self.folder / f"{run_key.service}-{run_key.generation}.pids"

    def request(self, run_key: RunKey, behaviour: str) -> RunRequest:
        argv: tuple[str, ...] = (sys.executable, "-I", "-S", ACTOR, behaviour, str(self._pids(run_key)))
        if behaviour == "missing":
            argv = (MISSING,)
        return RunRequest(run_key, argv, (("PATH", os.defpath),), str(self.log(run_key)))

    async def ready(self, run_key: RunKey) -> None:
        await until(self._pids(run_key).exists, f"{run_key} is ready")

    async def restart(self) -> Runner:
        await self.runner.close()
        self.runner = self.make()
        return self.runner

    def alive(self, run_key: RunKey) -> set[int]:
        """What the actor wrote down of its tree, and still lives."""
        if not self._pids(run_key).exists():
            return set()
        found = (read_stat(int(pid)) for pid in self._pids(run_key).read_text().split())
        return {stat.pid for stat in found if stat is not None and not stat.dead}

    async def close(self) -> None:
        for run in await self.runner.runs():
            await self.runner.kill(run.key)
            await self.runner.forget(run.key)
        await self.runner.close()


class ProcessRig(RealRig):
    def make(self) -> Runner:
        return ProcessRunner(self.folder / "state")
