"""Watches what runs: exits, hung engines, lost cards, and what each service holds."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gpumod.core.cards import CardEvent, CardEventKind, CardHealth, DriverState
from gpumod.core.errors import GpumodError, StopFailedError
from gpumod.core.events import EventKind
from gpumod.core.footprint import Stage
from gpumod.core.ports import Liveness
from gpumod.core.states import ServiceState
from gpumod.core.units import format_size
from gpumod.planner.budget import overcommitted
from gpumod.runners.log import last_attempt, rotate
from gpumod.supervisor.measuring import Measurer
from gpumod.supervisor.patience import sleep_unless
from gpumod.supervisor.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gpumod.core.cards import CardsReading
    from gpumod.core.facts import RunningService
    from gpumod.core.names import CardId, ServiceId
    from gpumod.core.ports import Events
    from gpumod.core.service import ExitReport, RunKey, ServiceRecord
    from gpumod.supervisor.facts import FactFinder
    from gpumod.supervisor.launcher import Launcher
    from gpumod.supervisor.leases import LeaseBook
    from gpumod.supervisor.memory import BoxMemory
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.quiesce import Quiescer
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)
_EXPLAIN_LINES = 60
_KEPT_LINES = 12
_UNWATCHED = 5
"""With nobody looking, the watcher looks this many times less often."""
_LOOKED_RECENTLY = 30.0
_PEAK_STEP = 16 * 1024 * 1024
"""A new peak is kept when it is this much above the last one."""


class Watch:
    """Notices what nobody asked for and says it; restarts are asked of `on_death`."""

    def __init__(
        self,
        parts: Parts,
        world: World,
        memory: BoxMemory,
        finder: FactFinder,
        launcher: Launcher,
        quiescer: Quiescer,
        leases: LeaseBook,
        events: Events,
        on_death: Callable[[ServiceId], None],
        on_cards_back: Callable[[], None],
    ) -> None:
        """Args: `on_cards_back` is told when cards can be used that could not be before."""
        self._parts = parts
        self._world = world
        self._memory = memory
        self._finder = finder
        self._launcher = launcher
        self._measurer = Measurer(parts, world, finder)
        self._quiescer = quiescer
        self._leases = leases
        self._events = events
        self._on_death = on_death
        self._on_cards_back = on_cards_back
        self._pulse = Pulse(parts, world)
        self._peaks: dict[tuple[RunKey, CardId], int] = {}
        self._overcommitted: tuple[CardId, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._undo: list[Callable[[], None]] = []
        self._looked_at = float("-inf")
        self._nudge = asyncio.Event()
        self._looking = asyncio.Lock()

    def start(self) -> None:
        """Subscribe to exits and card events, and begin to look."""
        for runner in self._parts.runners.values():
            self._undo.append(runner.subscribe(self._exited))
        self._undo.append(self._parts.hardware.subscribe(self._card_event))
        self._spawn(self._look_again_and_again())

    async def close(self) -> None:
        """Stop looking."""
        for undo in self._undo:
            undo()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def looked(self) -> None:
        """Somebody reads the status: keep it fresh for a while."""
        stale = self._parts.clock.monotonic() - self._looked_at > _LOOKED_RECENTLY
        self._looked_at = self._parts.clock.monotonic()
        if stale:
            self._nudge.set()

    async def refresh(self) -> None:
        """Look at the cards now and take over what is seen; an older look never replaces a newer one."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        facts = await self._finder.now()
        before, self._memory.facts = self._memory.facts, facts
        if _usable(facts.reading) - _usable(before.reading):
            self._on_cards_back()
        strays = await self._finder.strays()
        unkillable = {running.record.key: running.unkillable for running in facts.services}
        for key in self._world.gone_at_last(unkillable | strays):
            self._on_death(key.service)
        for running in facts.services:
            self._compare(running, facts.reading)
            if running.record.state is ServiceState.READY and running.held:
                await self._world.observe(running.record.key, dict(running.held))
                await self._keep_peak(running.record, dict(running.held))
        over = overcommitted(facts)
        if over != self._overcommitted:
            self._overcommitted = over
            message = f"overcommitted: {', '.join(over)}" if over else "no card is overcommitted any more"
            self._events.publish(EventKind.CARD, ",".join(over) or "all", message, overcommitted=list(over))

    def _compare(self, running: RunningService, reading: CardsReading) -> None:
        """Notice what no event told: its end, or a card's, came while nobody listened."""
        record = running.record
        if record.state not in {ServiceState.READY, ServiceState.DRAINING}:
            return
        lost = [card.id for card in reading.cards if card.health is CardHealth.LOST]
        if lost_here := [card for card in record.cards if card in lost]:
            self._spawn(self._lose(record, lost_here[0]))
        elif not running.alive:
            self._spawn(self._vanished(record))

    async def _vanished(self, record: ServiceRecord) -> None:
        runner = self._world.runner(record)
        found = await runner.find(record.key)
        # The look that found no process may have been one at a service that was just starting.
        if found.liveness is Liveness.RUNNING or await runner.processes(record.key):
            return
        await self._died(record, found.exit.phrase if found.exit else "ended unseen", found.exit)

    # --- the loop ----------------------------------------------------------------------------

    async def _look_again_and_again(self) -> None:
        while True:
            self._nudge.clear()
            try:
                await self.refresh()
                await self._bury_hung()
                await self._rotate_logs()
                await self._leases.expire()
            except GpumodError as error:
                _log.error("watch: %s", error.detail)
            except Exception:  # noqa: BLE001 - one bad look must not end the watching
                _log.exception("defect in the watcher")
            await self._pause()

    async def _pause(self) -> None:
        watched = self._parts.clock.monotonic() - self._looked_at < _LOOKED_RECENTLY or self._pulse.weak
        seconds = self._parts.bounds.watch_interval * (1 if watched else _UNWATCHED)
        await sleep_unless(self._parts.clock, seconds, self._nudge)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("defect in the watcher", exc_info=error)

    # --- exits -------------------------------------------------------------------------------

    def _exited(self, report: ExitReport) -> None:
        record = self._world.current(report.key)
        if record is None or self._launcher.exited(report):
            return
        if record.state in {ServiceState.READY, ServiceState.DRAINING}:
            self._spawn(self._died(record, report.phrase, report))

    async def _died(self, record: ServiceRecord, how: str, report: ExitReport | None = None) -> None:
        """A service ended that nobody asked to end: clear its remains, then see to its restart."""
        lines = await asyncio.to_thread(last_attempt, self._parts.log_path(record.id), _EXPLAIN_LINES)
        why = ""
        if report is not None and record.launch is not None:
            why = self._parts.engine(record.spec.engine).explain(lines, report, record.launch)
        reason = f"{how}, unasked" + (f": {why}" if why else "")
        current = self._world.current(record.key)
        if current is None or current.state not in {ServiceState.READY, ServiceState.DRAINING}:
            return
        await self._world.note(record.key, save=False, last_log=tuple(lines[-_KEPT_LINES:]))
        await self._world.change(record.key, ServiceState.FAILED, reason, admitting=False, observed=())
        try:
            await self._quiescer.remove(record)
        except StopFailedError:
            return
        self._on_death(record.id)

    async def _bury_hung(self) -> None:
        for record, how in await self._pulse.feel():
            await self._died(record, how)

    async def _rotate_logs(self) -> None:
        paths = [self._parts.log_path(one.id) for one in self._world.all() if one.state.may_hold_memory]
        for path in paths:
            try:
                await asyncio.to_thread(
                    rotate, path, max_bytes=self._parts.log_size, keep=self._parts.log_keep
                )
            except OSError as error:
                _log.error("%s could not be rotated: %s", path, error.strerror)

    # --- memory ------------------------------------------------------------------------------

    async def _keep_peak(self, record: ServiceRecord, held: dict[CardId, int]) -> None:
        grown = [
            card for card, size in held.items() if size >= self._peaks.get((record.key, card), 0) + _PEAK_STEP
        ]
        if not grown:
            return
        self._peaks = {
            key: size for key, size in self._peaks.items() if self._world.current(key[0]) is not None
        }
        self._peaks.update({(record.key, card): size for card, size in held.items()})
        # Whoever waits for this look, as the end of a switch does, need not wait for the models' disk.
        self._spawn(self._measurer.learn(record, held, Stage.PEAK))
        over = [card for card in grown if held[card] > record.reserved(card) > 0]
        for card in over:
            self._events.publish(
                EventKind.SERVICE,
                record.id,
                f"{record.id} holds {format_size(held[card])} on {card}, "
                f"more than the {format_size(record.reserved(card))} it was charged",
                card=card,
                held=held[card],
                reserved=record.reserved(card),
            )

    # --- cards -------------------------------------------------------------------------------

    def _card_event(self, event: CardEvent) -> None:
        code = f" {event.code}" if event.code is not None else ""
        message = f"{event.card}: {event.kind}{code}" + (f": {event.detail}" if event.detail else "")
        self._events.publish(EventKind.CARD, event.card, message, event=event.kind.value, xid=event.code)
        if event.kind in {CardEventKind.XID, CardEventKind.ECC}:
            when = datetime.fromtimestamp(event.at, UTC).isoformat(sep=" ", timespec="seconds")
            self._memory.card_errors[event.card] = f"{event.card}: {event.detail} (last at {when})"
        if event.kind is CardEventKind.LOST:
            for record in self._world.all():
                if event.card in record.cards and record.state.may_hold_memory:
                    self._spawn(self._lose(record, event.card))
        self._nudge.set()

    async def _lose(self, record: ServiceRecord, card: CardId) -> None:
        if record.state in {ServiceState.READY, ServiceState.DRAINING}:
            await self._died(record, f"its card {card} has fallen off the bus")
        else:
            await self._world.runner(record).kill(record.key)


def _usable(reading: CardsReading) -> set[CardId]:
    """Cards that something may be planned onto; none while the driver is away."""
    answers = reading.driver in {DriverState.OK, DriverState.ABSENT}
    return {card.id for card in reading.cards if card.usable} if answers else set()
