"""Measure what services hold, and keep it for the footprints of later launches."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from gpumod.core.errors import StoreError, TimedOutError
from gpumod.core.names import HOST_CARD
from gpumod.core.units import format_size
from gpumod.supervisor.model_files import read_models

if TYPE_CHECKING:
    from gpumod.core.footprint import Stage
    from gpumod.core.names import CardId
    from gpumod.core.service import Launch, ServiceRecord
    from gpumod.supervisor.facts import FactFinder
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)


class Measurer:
    """Looks at what an attempt holds on its cards and of the host."""

    def __init__(self, parts: Parts, world: World, finder: FactFinder) -> None:
        self._parts = parts
        self._world = world
        self._finder = finder

    async def measure(self, record: ServiceRecord, stage: Stage) -> str:
        """Look at what an attempt holds, keep it, and say it in words."""
        facts = await self._finder.now(only=record.cards)
        running = facts.running(record.id)
        held: dict[CardId, int] = dict(running.held) if running else {}
        if not held:
            return "an amount that the driver does not tell"
        await self._world.observe(record.key, held)
        await self.learn(record, held, stage)
        return ", ".join(f"{format_size(size)} on {card}" for card, size in sorted(held.items()))

    async def learn(self, record: ServiceRecord, held: dict[CardId, int], stage: Stage) -> None:
        """Keep what an attempt was seen to take, while its program and files are still the same."""
        launch = record.launch
        if launch is None:
            return
        reading = await self._parts.hardware.read(only=launch.cards)
        models = {card.id: card.model for card in reading.cards}
        told = launch.cards and all(card in held and card in models for card in launch.cards)
        if not told or len({models[card].name for card in launch.cards}) > 1:
            # Measurements are kept per model of card: a mixture of several is in no other launch's way.
            return
        build = await self._parts.engine(record.spec.engine).build(record.spec)
        if isinstance(build, str) or build.version != launch.build or await self._changed(launch):
            return
        measured = partial(
            self._parts.footprints.measured,
            record.spec,
            models[launch.cards[0]],
            build,
            stage=stage,
            used=tuple(held[card] for card in launch.cards),
            host=await self._host_memory(record, launch),
            at=self._parts.clock.now(),
            split=record.footprint.split if record.footprint else (),
            driver=reading.driver_version,
        )
        try:
            measurement = await read_models(self._parts, [record.id], measured)
        except TimedOutError as error:
            _log.error("what %s took could not be kept: %s", record.id, error.detail)
            return
        self._parts.footprints.learn(measurement)
        try:
            await self._parts.store.add_measurement(measurement)
        except StoreError as error:
            _log.error("what %s took could not be kept: %s", record.id, error.detail)

    async def _host_memory(self, record: ServiceRecord, launch: Launch) -> int:
        """Bytes of host memory that it has to itself; on the host's memory as a card they are the card's."""
        if HOST_CARD in launch.cards:
            return 0
        processes = await self._world.runner(record).processes(record.key)
        outside = await self._parts.engine(record.spec.engine).outside(record.spec, launch)
        return await self._parts.host.anonymous_pss([*(one.pid for one in processes), *outside])

    async def _changed(self, launch: Launch) -> bool:
        """Whether a file that it was started from is another one by now."""
        now = await asyncio.gather(*(self._parts.host.identify(file.path) for file in launch.files))
        return now != list(launch.files)
