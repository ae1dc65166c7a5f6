"""A runner without processes: the contract of `Runner`, kept in memory and at once.

`FakeProcesses` is the machine: it outlives a daemon, so a daemon's restart is a second
`FakeRunner` on the same `FakeProcesses`. How a service behaves is scripted beforehand by `script`,
and what happens to it by itself is called for: `processes.end(key, code=1)`.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gpumod.core.errors import StartFailedError
from gpumod.core.names import ServiceId
from gpumod.core.ports import Liveness, RunFound, RunRequest
from gpumod.core.service import ExitReport, ProcessIdentity, RunKey

OnStart = Callable[[RunKey, RunRequest, int], None]
OnGone = Callable[[int], None]
OnExit = Callable[[ExitReport], None]


@dataclass(frozen=True, slots=True)
class Script:
    """How the processes of a service behave.

    Attributes:
        children: how many processes there are besides the leader.
        survive: the children outlive the leader instead of ending with it.
        ignores: signals that the leader ignores.
        exit_on: signals that make the leader exit, with which code; others kill it.
        unkillable: nothing ends these processes but `FakeProcesses.release`.
        fails: why the program cannot be executed; empty when it can.
        exits: the leader exits by itself with this code as soon as it has started.
    """

    children: int = 0
    survive: bool = False
    ignores: frozenset[int] = frozenset()
    exit_on: Mapping[int, int] = field(default_factory=dict)
    unkillable: bool = False
    fails: str = ""
    exits: int | None = None


@dataclass(slots=True)
class _Attempt:
    request: RunRequest
    script: Script
    leader: ProcessIdentity
    alive: list[ProcessIdentity]
    exit: ExitReport | None = None


class FakeProcesses:
    """The processes of a simulated box.

    Attributes:
        on_start: called with the pid that holds the service's memory: the first child's where
            there are children (as with vLLM), else the leader's.
        on_gone: called with the pid of each process that ends.
    """

    def __init__(
        self,
        *,
        on_start: OnStart = lambda _key, _request, _pid: None,
        on_gone: OnGone = lambda _pid: None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.on_start = on_start
        self.on_gone = on_gone
        self._now = now
        self._pids = itertools.count(1001)
        self._boots = itertools.count(1)
        self._boot = f"boot-{next(self._boots)}"
        self._scripts: dict[ServiceId, Script] = {}
        self._attempts: dict[RunKey, _Attempt] = {}
        self._listeners: list[OnExit] = []

    def script(self, service: ServiceId, script: Script) -> None:
        """Decide how later attempts of a service behave."""
        self._scripts[service] = script

    def requests(self, service: ServiceId) -> tuple[RunRequest, ...]:
        """What was asked to start for a service, oldest first, forgotten attempts left out."""
        return tuple(one.request for key, one in self._attempts.items() if key.service == service)

    def pids(self, service: ServiceId) -> tuple[int, ...]:
        """Living processes of a service, of all attempts."""
        alive = (one.alive for key, one in self._attempts.items() if key.service == service)
        return tuple(identity.pid for identity in itertools.chain.from_iterable(alive))

    def end(
        self, key: RunKey, *, code: int | None = None, number: int | None = None, oom: bool = False
    ) -> None:
        """The leader exits with a code, or is killed by a signal, without gpumod's doing."""
        attempt = self._attempts[key]
        if attempt.exit is not None:
            return
        attempt.exit = ExitReport(key, code, number, self._now(), out_of_memory=oom)
        self._remove(attempt, [attempt.leader] if attempt.script.survive else list(attempt.alive))
        for listener in tuple(self._listeners):
            listener(attempt.exit)

    def release(self, key: RunKey) -> None:
        """Let go of what was unkillable: it ends as killed."""
        attempt = self._attempts[key]
        self.end(key, number=signal.SIGKILL)
        self._remove(attempt, list(attempt.alive))

    def reboot(self) -> None:
        """The machine restarts: every process is gone, and nobody saw how it ended."""
        self._boot = f"boot-{next(self._boots)}"
        for key, attempt in self._attempts.items():
            attempt.exit = attempt.exit or ExitReport(key, None, None, self._now())
            self._remove(attempt, list(attempt.alive))

    # --- for FakeRunner ----------------------------------------------------------------------

    def start(self, request: RunRequest) -> RunFound:
        """See `Runner.start`."""
        key = request.key
        script = self._scripts.get(key.service, Script())
        if script.fails:
            raise StartFailedError(script.fails)
        if key in self._attempts:
            raise StartFailedError(f"generation {key.generation} of {key.service} was started before")
        alive = [self._new_process() for _ in range(1 + script.children)]
        attempt = self._attempts[key] = _Attempt(request, script, alive[0], alive)
        self.on_start(key, request, alive[min(1, script.children)].pid)
        if script.exits is not None:
            self.end(key, code=script.exits)
        return RunFound(key, Liveness.RUNNING, attempt.leader)

    def find(self, key: RunKey) -> RunFound:
        """See `Runner.find`."""
        attempt = self._attempts.get(key)
        if attempt is None:
            return RunFound(key, Liveness.ABSENT)
        liveness = Liveness.RUNNING if attempt.exit is None else Liveness.EXITED
        return RunFound(key, liveness, attempt.leader, attempt.exit)

    def runs(self) -> tuple[RunFound, ...]:
        """See `Runner.runs`."""
        return tuple(self.find(key) for key in sorted(self._attempts))

    def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """See `Runner.processes`."""
        attempt = self._attempts.get(key)
        return tuple(attempt.alive) if attempt else ()

    def signal(self, key: RunKey, number: int) -> None:
        """See `Runner.signal`."""
        attempt = self._attempts.get(key)
        if attempt is None or attempt.exit is not None or attempt.script.unkillable:
            return
        if number == signal.SIGKILL:
            self.end(key, number=number)
        elif number in attempt.script.exit_on:
            self.end(key, code=attempt.script.exit_on[number])
        elif number not in attempt.script.ignores:
            self.end(key, number=number)

    def kill(self, key: RunKey) -> None:
        """See `Runner.kill`."""
        attempt = self._attempts.get(key)
        if attempt is not None and not attempt.script.unkillable:
            self.release(key)

    def forget(self, key: RunKey) -> None:
        """See `Runner.forget`."""
        if not self.processes(key):
            self._attempts.pop(key, None)

    def subscribe(self, on_exit: OnExit) -> Callable[[], None]:
        """Call on every end of a leader."""
        self._listeners.append(on_exit)

        def stop() -> None:
            if on_exit in self._listeners:
                self._listeners.remove(on_exit)

        return stop

    def _new_process(self) -> ProcessIdentity:
        pid = next(self._pids)
        return ProcessIdentity(pid, start_ticks=pid, boot_id=self._boot)

    def _remove(self, attempt: _Attempt, gone: list[ProcessIdentity]) -> None:
        for identity in gone:
            if identity in attempt.alive:
                attempt.alive.remove(identity)
                self.on_gone(identity.pid)


class FakeRunner:
    """One daemon's runner on a simulated box."""

    name = "fake"

    def __init__(self, processes: FakeProcesses | None = None) -> None:
        self.box = processes or FakeProcesses()
        self._stops: list[Callable[[], None]] = []

    async def start(self, request: RunRequest) -> RunFound:
        """See `Runner`."""
        return self.box.start(request)

    async def find(self, key: RunKey) -> RunFound:
        """See `Runner`."""
        return self.box.find(key)

    async def runs(self) -> tuple[RunFound, ...]:
        """See `Runner`."""
        return self.box.runs()

    async def processes(self, key: RunKey) -> tuple[ProcessIdentity, ...]:
        """See `Runner`."""
        return self.box.processes(key)

    async def signal(self, key: RunKey, number: int) -> None:
        """See `Runner`."""
        self.box.signal(key, number)

    async def kill(self, key: RunKey) -> None:
        """See `Runner`."""
        self.box.kill(key)

    async def forget(self, key: RunKey) -> None:
        """See `Runner`."""
        self.box.forget(key)

    def subscribe(self, on_exit: OnExit) -> Callable[[], None]:
        """See `Runner`. The news comes in a later turn of the event loop, as from real ones."""
        loop = asyncio.get_running_loop()
        stopped = False

        def tell(report: ExitReport) -> None:
            if not stopped:
                on_exit(report)

        def tell_later(report: ExitReport) -> None:
            loop.call_soon(tell, report)

        undo = self.box.subscribe(tell_later)

        def stop() -> None:
            nonlocal stopped
            stopped = True
            undo()

        self._stops.append(stop)
        return stop

    async def close(self) -> None:
        """See `Runner`."""
        for stop in self._stops:
            stop()
        self._stops.clear()
