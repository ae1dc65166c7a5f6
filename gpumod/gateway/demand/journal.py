"""What former switches tell: how long they take, and what idle policies have taken away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from gpumod.core.errors import GpumodError
from gpumod.core.names import BLANK, ModeId, ServiceId
from gpumod.core.ports import Switching
from gpumod.core.switch import SwitchRecord
from gpumod.gateway.demand.idle import Idled, idled_by
from gpumod.gateway.demand.learned import StartTimes
from gpumod.gateway.demand.values import Goal

_log = logging.getLogger(__name__)
_LATEST = 50
"""Switches that are read."""


class Journal:
    """Learns from switches."""

    def __init__(self, switching: Switching) -> None:
        self._switching = switching
        self._times = StartTimes()
        self.idled = Idled()

    async def read(self) -> None:
        """At the start: what was learned, and what idle policies took away before this daemon ran."""
        try:
            records = tuple(reversed(await self._switching.switches(_LATEST)))
        except GpumodError as error:
            _log.warning("nothing is learned from former switches: %s", error.detail)
            return
        self._times.learn(records)
        self.idled = idled_by(records)

    def over(self, record: SwitchRecord) -> None:
        """A switch was seen to end."""
        self._times.learn([record])
        self.idled = self.idled.after(record)

    def looked(self, mode: ModeId, admits: Callable[[ServiceId], bool]) -> None:
        """What runs again is idle no longer, whoever started it."""
        idled = self.idled
        back = {service for service in idled.services if admits(service)}
        if back or (idled.mode is not None and mode != BLANK):
            kept = idled.mode if mode == BLANK else None
            self.idled = replace(idled, services=idled.services - back, mode=kept)

    def seconds(self, goal: Goal | None) -> float:
        """How long it takes to get there."""
        return self._times.seconds(goal, self._switching.catalog())
