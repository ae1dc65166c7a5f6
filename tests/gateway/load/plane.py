"""Supervisor, gateway and control plane in this process, over engines and keepers that are processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from gpumod.config.settings import load_settings
from gpumod.core.errors import SwitchRunningError
from gpumod.core.names import ModeId, ServiceId
from gpumod.core.switch import SwitchRecord, SwitchRequest
from gpumod.daemon import SystemClock
from gpumod.serving import Listeners
from gpumod.supervisor.supervisor import Supervisor
from gpumod.wiring import build_jobs, build_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gpumod.gateway.exchange import Passage, Request, Transfer
    from tests.e2e.real_box import RealBox

PATIENCE = 120.0
_PID = re.compile(rb'"pid": (\d+)')


class Plane:
    """A daemon's inside, and what was seen of it.

    Attributes:
        entered: requests that were let in, by service.
        left: of these, those that were told to have ended.
        answered_by: by the attempt that admitted a request, the engine processes whose bytes it got.
        intruders: services that a request entered while they did not admit.
    """

    def __init__(self, box: RealBox, supervisor: Supervisor, listeners: Listeners, port: int) -> None:
        self.box = box
        self.supervisor = supervisor
        self.gate = supervisor.gate
        self.gateway = listeners._gateway
        self.door = self.gateway._door
        self.port = port
        self.entered: Counter[ServiceId] = Counter()
        self.left: Counter[ServiceId] = Counter()
        self.answered_by: dict[tuple[ServiceId, int], set[int]] = {}
        self.intruders: list[ServiceId] = []
        self._watch()

    def _watch(self) -> None:
        gate, door = self.gate, self.door
        enter, leave, observe = gate.entered, gate.left, door._observe

        def entered(service: ServiceId) -> None:
            self.entered[service] += 1
            if not gate.admits(service):
                self.intruders.append(service)
            enter(service)

        def left(service: ServiceId) -> None:
            self.left[service] += 1
            leave(service)

        def observed(request: Request, passage: Passage, transfer: Transfer) -> None:
            pids = self.answered_by.setdefault((passage.service, passage.generation), set())
            pids.update(map(int, _PID.findall(transfer.tail)))
            observe(request, passage, transfer)

        gate.entered, gate.left = entered, left  # type: ignore[method-assign]
        door._observe = observed

    async def switch(self, mode: str, **fields: Any) -> SwitchRecord:
        """Switch, after whatever is being switched now."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    begun = await self.supervisor.begin(SwitchRequest(mode=ModeId(mode), **fields))
                except SwitchRunningError:
                    await asyncio.sleep(0.01)
                    continue
                assert isinstance(begun, SwitchRecord), begun
                return begun if begun.state.ended else await self.supervisor.wait(begun.id)

    async def pids(self, service: str) -> list[int]:
        """Processes of a service."""
        return (await asyncio.to_thread(self.box.engines)).get(service, [])

    async def control(self, service: str, **changes: Any) -> None:
        """Change the script of a running engine."""
        port = self.gate.port(ServiceId(service))
        assert port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(changes).encode()
        writer.write(b"POST /control HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.read(1)  # nothing, where the change is that it ends
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def logs(self) -> str:
        """What all engines have said."""
        return "".join(path.read_text() for path in (self.box.root / "state/logs").glob("*.log*"))

    async def until(self, what: str, true: Callable[[], bool]) -> None:
        """Wait for a condition."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited in vain until {what}") from None

    async def assert_quiet(self) -> None:
        """Nobody is inside, waits or is connected, and all who entered have left."""
        await self.until("nobody is inside", lambda: not self.door.inside)
        await self.until("nobody waits", lambda: not self.gateway._demand.waiting)
        front = self.gateway._front
        assert front is not None
        await self.until("all connections of clients are gone", lambda: not front.connections)
        assert self.entered == self.left
        assert not any(self.gate._inside.values())
        assert self.intruders == []

    def assert_no_answer_of_another_attempt(self) -> None:
        """Each attempt answered with one process, which answered for no other attempt."""
        assert all(len(pids) <= 1 for pids in self.answered_by.values()), self.answered_by
        seen = [pid for pids in self.answered_by.values() for pid in pids]
        assert len(seen) == len(set(seen)), self.answered_by


@contextlib.asynccontextmanager
async def plane(box: RealBox) -> AsyncIterator[Plane]:
    """Run what a daemon runs, in this process; engines are gone afterwards."""
    settings = load_settings(box.root / "config")
    async with contextlib.AsyncExitStack() as stack:
        parts, job_store = await build_parts(settings, SystemClock(), stack)
        supervisor = Supervisor(parts)
        jobs = build_jobs(parts, job_store, supervisor, settings.config_dir)
        listeners = Listeners(settings, supervisor, parts, jobs.queue, jobs.schedules)
        listeners.bind()
        await supervisor.start(boot="last", rebooted=False)
        try:
            await listeners.start()
            await supervisor.settled()
            made = Plane(box, supervisor, listeners, settings.listen[0].port)
            yield made
            await made.switch("blank", force=True)
        finally:
            await supervisor.close()
            await listeners.close()
