"""What a switch that was given up leaves between two states is brought to one of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError
from gpumod.core.states import ServiceState

if TYPE_CHECKING:
    from gpumod.core.service import ServiceRecord
    from gpumod.supervisor.launcher import Launcher
    from gpumod.supervisor.quiesce import Quiescer
    from gpumod.supervisor.world import World

_log = logging.getLogger(__name__)


class LooseEnds:
    """Only a switch waits for a start, a drain or a stop: without one nobody would ever end it.

    None of this takes memory, so none of it needs the journal: it also works when the disk is full.
    """

    def __init__(self, world: World, quiescer: Quiescer, launcher: Launcher) -> None:
        self._world = world
        self._quiescer = quiescer
        self._launcher = launcher

    async def tie(self) -> None:
        """Bring every service to a state that it can stay in. Never raises."""
        for record in self._world.all():
            try:
                await self._settle(record)
            except GpumodError as error:
                _log.error("%s: %s", record.id, error.detail)
            except Exception:  # noqa: BLE001 - one service must not keep the others from being settled
                _log.exception("defect while settling %s", record.id)

    async def _settle(self, record: ServiceRecord) -> None:
        """A half start is removed, a drain taken back, a stop finished, and what is ready is open."""
        if record.state.is_starting:
            reason = "its start was given up when another step of the switch failed"
            await self._world.change(record.key, ServiceState.FAILED, reason)
            await self._quiescer.remove(record)
        elif record.state is ServiceState.FAILED and record.launch is not None:
            if not self._world.unkillable(record.key):
                await self._quiescer.remove(record)
        elif record.state is ServiceState.DRAINING:
            await self._quiescer.reopen(record.id)
        elif record.state is ServiceState.STOPPING:
            await self._quiescer.stop(record.id)
        elif record.state is ServiceState.READY and not record.admitting:
            await self._launcher.open(record.id)
