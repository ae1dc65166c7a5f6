"""Notices engines that listen and do not answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpumod.core.ports import Readiness
from gpumod.core.states import ServiceState
from gpumod.core.units import format_duration

if TYPE_CHECKING:
    from gpumod.core.service import RunKey, ServiceRecord
    from gpumod.supervisor.parts import Parts
    from gpumod.supervisor.world import World


@dataclass(slots=True)
class _Silence:
    """A ready engine that fails its probes."""

    since: float
    failures: int
    log_end: int


class Pulse:
    """Probes what is ready. Hung is who fails several probes in a row, for long enough, and logs nothing."""

    def __init__(self, parts: Parts, world: World) -> None:
        self._parts = parts
        self._world = world
        self._silent: dict[RunKey, _Silence] = {}

    @property
    def weak(self) -> bool:
        """Whether an engine failed its last probe: a reason to look again soon."""
        return bool(self._silent)

    async def feel(self) -> list[tuple[ServiceRecord, str]]:
        """Probe every ready service; those that are hung, each with how that was seen."""
        ready = [record for record in self._world.all() if record.state is ServiceState.READY]
        keys = {record.key for record in ready}
        self._silent = {key: silence for key, silence in self._silent.items() if key in keys}
        seen = await asyncio.gather(*(self._probe(record) for record in ready))
        return [(record, how) for record, how in zip(ready, seen, strict=True) if how]

    async def _probe(self, record: ServiceRecord) -> str:
        """How the service is seen to be hung; empty when it is not, or not yet."""
        if record.launch is None:
            return ""
        answer = await self._parts.engine(record.spec.engine).probe(record.spec, record.launch)
        if answer.readiness is Readiness.READY:
            self._silent.pop(record.key, None)
            return ""
        now = self._parts.clock.monotonic()
        log_end = await asyncio.to_thread(_size, self._parts.log_path(record.id))
        silence = self._silent.get(record.key)
        if silence is None or silence.log_end != log_end:
            self._silent[record.key] = _Silence(now, 1, log_end)
            return ""
        silence.failures += 1
        lasted = now - silence.since
        bounds = self._parts.bounds
        if silence.failures < bounds.hung_probes or lasted < bounds.hung_window:
            return ""
        del self._silent[record.key]
        last = answer.detail or answer.readiness.value
        return f"hung: {silence.failures} probes failed over {format_duration(lasted)} (last: {last})"


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
