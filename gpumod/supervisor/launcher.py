"""Start a service and wait until it is this service that answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gpumod.core.errors import StartFailedError
from gpumod.core.footprint import Stage
from gpumod.core.ports import Liveness, Readiness, RunRequest
from gpumod.core.service import ExitReport, ServiceRecord
from gpumod.core.states import ServiceState
from gpumod.core.units import format_duration
from gpumod.planner.fits import fits_now
from gpumod.runners.log import last_attempt, mark
from gpumod.supervisor.measuring import Measurer
from gpumod.supervisor.patience import Patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gpumod.core.names import ServiceId
    from gpumod.core.plan import StartOrder
    from gpumod.core.service import Launch, RunKey
    from gpumod.supervisor.facts import FactFinder
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.ports import PortBook
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_LOG_LINES = 60
"""Lines of an engine's log that are read to explain a failure."""
_KEPT_LINES = 12
"""Of these, kept with the failed service."""
_PATIENT_AFTER = 5.0
"""Seconds of loading after which frequent probes would only cost the engine CPU."""


class Launcher:
    """Brings services up. Every start re-reads the facts first (invariant 1)."""

    def __init__(self, parts: Parts, world: World, finder: FactFinder, ports: PortBook) -> None:
        self._parts = parts
        self._world = world
        self._finder = finder
        self._ports = ports
        self._measurer = Measurer(parts, world, finder)
        self._exits: dict[RunKey, asyncio.Future[ExitReport]] = {}
        self._claims = asyncio.Lock()

    def exited(self, report: ExitReport) -> bool:
        """An attempt has ended; whether a start was waiting for it."""
        waiting = self._exits.get(report.key)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(report)
        return True

    async def start(self, order: StartOrder) -> str:
        """Start a service's processes where they are proven to fit.

        Raises:
            StartFailedError: it does not fit any more, or its program cannot be executed.
        """
        service = order.spec.id
        # Two starts that share a card must not both pass the check before either is charged.
        async with self._claims:
            record = await self._claim(order)
        launch = record.launch
        if launch is None:  # pragma: no cover - _claim sets it
            raise StartFailedError(f"{service}: no launch record")
        engine = self._parts.engine(order.spec.engine)
        await engine.clean(order.spec, launch)
        words = f"{service}, generation {record.generation}, on {', '.join(launch.cards) or 'no card'}"
        await asyncio.to_thread(mark, self._parts.log_path(service), words)
        request = RunRequest(
            key=record.key,
            argv=launch.argv,
            env=launch.env,
            log=self._parts.log_path(service),
            cwd=launch.cwd,
            memory_max=order.spec.memory_max,
            user=self._parts.engine_user,
        )
        try:
            await self._world.runner(record).start(request)
        except StartFailedError as error:
            await self._world.change(record.key, ServiceState.FAILED, error.detail)
            raise
        await self._world.change(
            record.key, ServiceState.LOADING, "its processes run; waiting for it to load"
        )
        where = ", ".join(launch.cards) or "no card"
        return f"generation {record.generation} on {where}, port {launch.port}"

    async def ready(self, service: ServiceId) -> str:
        """Wait until this service answers, warm it up, and measure what it took.

        Raises:
            StartFailedError: it exited, answers as another model, or took too long.
        """
        record = self._world.get(service)
        if record is None or record.launch is None:
            raise StartFailedError(f"{service} was not started")
        if record.state is ServiceState.READY:
            return "already ready"
        started = self._parts.clock.monotonic()
        try:
            async with self._exit_of(record) as exit_seen:
                await self._until_ready(record, exit_seen)
                loaded = self._parts.clock.monotonic() - started
                await self._check_listener(record)
                await self._measurer.measure(record, Stage.READY)
                await self._warm_up(record, exit_seen)
                warm = self._parts.clock.monotonic() - started
                held = await self._measurer.measure(record, Stage.WARM)
                if exit_seen.done():
                    raise await self._explained(record, exit_seen.result())
        except StartFailedError as error:
            await self._fail(record, error)
            raise
        # Nothing is awaited between that last look and the change: from here on exits are the watcher's.
        reason = f"ready after {format_duration(loaded)}, first answer after {format_duration(warm)}"
        now = self._parts.clock.now()
        moved = await self._world.change(record.key, ServiceState.READY, reason, ready_at=now)
        if moved is None:
            raise StartFailedError(f"{service}: a newer attempt took its place")
        return f"{reason}; holds {held}"

    async def open(self, service: ServiceId) -> str:
        """Let requests in."""
        record = self._world.get(service)
        if record is None or record.state is not ServiceState.READY:
            raise StartFailedError(f"{service} stopped being ready before its admission was opened")
        await self._world.note(record.key, admitting=True)
        return "admission open"

    async def _claim(self, order: StartOrder) -> ServiceRecord:
        """Check the facts and charge the service, as one act."""
        facts = await self._finder.now()
        refusals = fits_now(facts, order)
        if refusals:
            raise StartFailedError(
                f"{order.spec.id} does not fit any more: " + "; ".join(one.detail for one in refusals),
                {"service": order.spec.id, "reasons": [one.detail for one in refusals]},
            )
        former = self._world.get(order.spec.id)
        generation = await self._parts.store.next_generation(order.spec.id)
        launch = order.launch or await self._finder.compose(order, generation, facts.reading)
        if isinstance(launch, str):
            raise StartFailedError(f"{order.spec.id} cannot be started: {launch}")
        await self._ports.keep(order.spec.id, launch.port)
        record = ServiceRecord(
            id=order.spec.id,
            state=ServiceState.STARTING,
            generation=generation,
            reason="starting",
            since=self._parts.clock.now(),
            spec=order.spec,
            launch=launch,
            footprint=order.footprint,
            runner=self._parts.runner,
            restarts=former.restarts if former else (),
        )
        await self._world.put(record)
        return record

    @asynccontextmanager
    async def _exit_of(self, record: ServiceRecord) -> AsyncIterator[asyncio.Future[ExitReport]]:
        future: asyncio.Future[ExitReport] = asyncio.get_running_loop().create_future()
        self._exits[record.key] = future
        try:
            found = await self._world.runner(record).find(record.key)
            if found.liveness is not Liveness.RUNNING and not future.done():
                unseen = ExitReport(record.key, None, None, self._parts.clock.now())
                future.set_result(found.exit or unseen)
            yield future
        finally:
            del self._exits[record.key]
            future.cancel()

    async def _until_ready(self, record: ServiceRecord, exit_seen: asyncio.Future[ExitReport]) -> None:
        engine, launch = self._parts.engine(record.spec.engine), _launch(record)
        bounds, clock = self._parts.bounds, self._parts.clock
        patience = Patience(clock, record.spec.startup_timeout, look=bounds.probe)
        last = ""
        while True:
            if exit_seen.done():
                raise await self._explained(record, exit_seen.result())
            late = not patience.left()
            answer = await engine.probe(record.spec, launch)
            if answer.readiness is Readiness.READY:
                return
            if answer.readiness is Readiness.WRONG_MODEL:
                raise StartFailedError(
                    f"{record.id}: port {launch.port} answers, but not as ours: {answer.detail}"
                )
            last = answer.detail or answer.readiness.value
            if late:
                waited = format_duration(patience.waited)
                message = f"{record.id} was not ready after {waited} (startup_timeout)"
                raise StartFailedError(f"{message}; it last said: {last}")
            eager = patience.waited < _PATIENT_AFTER
            await clock.sleep(bounds.probe_interval if eager else 2 * bounds.probe_interval)

    async def _check_listener(self, record: ServiceRecord) -> None:
        """Invariant 7: the listener belongs to the service itself."""
        launch = _launch(record)
        engine = self._parts.engine(record.spec.engine)
        pids = [process.pid for process in await self._world.runner(record).processes(record.key)]
        owned = await engine.owns_listener(record.spec, launch, pids)
        if owned is None:
            owned = await self._parts.host.listens(launch.port, pids)
        if owned is False:
            holder = await self._parts.host.port_holder(launch.port)
            who = f"process {holder.pid} ({holder.command})" if holder else "another process"
            raise StartFailedError(
                f"{record.id}: {who} answers on port {launch.port}, not the service itself"
            )

    async def _warm_up(self, record: ServiceRecord, exit_seen: asyncio.Future[ExitReport]) -> None:
        engine = self._parts.engine(record.spec.engine)
        asking = asyncio.ensure_future(engine.warm_up(record.spec, _launch(record)))
        try:
            either: set[asyncio.Future[Any]] = {asking, exit_seen}
            await asyncio.wait(
                either, timeout=self._parts.bounds.warm_up, return_when=asyncio.FIRST_COMPLETED
            )
            if exit_seen.done():
                raise await self._explained(record, exit_seen.result())
            if not asking.done():
                bound = format_duration(self._parts.bounds.warm_up)
                raise StartFailedError(f"{record.id} did not answer its warm-up request within {bound}")
            if problem := asking.result():
                raise StartFailedError(f"{record.id} failed its warm-up request: {problem}")
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _explained(self, record: ServiceRecord, report: ExitReport) -> StartFailedError:
        lines = await asyncio.to_thread(last_attempt, self._parts.log_path(record.id), _LOG_LINES)
        why = self._parts.engine(record.spec.engine).explain(lines, report, _launch(record))
        silence = "its log does not say why" if any(map(str.strip, lines)) else "it wrote nothing to its log"
        return StartFailedError(
            f"{record.id} {report.phrase} before it was ready: {why or silence}",
            {"service": record.id, "log": list(lines[-_KEPT_LINES:])},
        )

    async def _fail(self, record: ServiceRecord, error: StartFailedError) -> None:
        lines = error.facts.get("log")
        if not isinstance(lines, list):
            lines = list(await asyncio.to_thread(last_attempt, self._parts.log_path(record.id), _KEPT_LINES))
        current = self._world.current(record.key)
        if current is not None and current.state.is_starting:
            await self._world.note(record.key, save=False, last_log=tuple(lines))
            await self._world.change(record.key, ServiceState.FAILED, error.detail)
        error.facts.setdefault("log", lines)


def _launch(record: ServiceRecord) -> Launch:
    if record.launch is None:
        raise StartFailedError(f"{record.id} has no launch record")
    return record.launch
