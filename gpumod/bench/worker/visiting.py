"""What a suite may use of the box while it measures a target, and its ways to other modes and back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.bench.worker.integrity import memory_of
from gpumod.bench.worker.interrupts import Interrupted, Lost
from gpumod.bench.worker.moving import begin_move, misfortune, refusal
from gpumod.bench.worker.targets import endpoint_of, ready_record
from gpumod.core.errors import GpumodError, NotFoundError, SwitchRunningError
from gpumod.core.job import JobPhase
from gpumod.core.names import BLANK, ModeId, SwitchId
from gpumod.core.plan import Refused
from gpumod.core.service import Desired
from gpumod.core.spec import OnFailure
from gpumod.core.switch import SwitchState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gpumod.bench.worker.attending import Attendant
    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.bench.worker.targets import Aim
    from gpumod.core.job_ports import Endpoint
    from gpumod.core.ports import Clock
    from gpumod.core.switch import SwitchRecord


class TargetBench:
    """Implements the `Bench` port."""

    def __init__(self, parts: WorkerParts, attendant: Attendant, aim: Aim, endpoint: Endpoint) -> None:
        self._parts = parts
        self._attendant = attendant
        self._aim = aim
        self._endpoint = endpoint
        self._moving: SwitchId | None = None
        self._switches: list[SwitchRecord] = []
        self._visiting = asyncio.Lock()

    @property
    def endpoint(self) -> Endpoint:
        """The server to ask; after a visit it may be another one."""
        return self._endpoint

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._parts.clock

    async def memory(self) -> Mapping[str, int]:
        """Bytes that the target holds now, by card."""
        held = memory_of(self._aim, await self._parts.switching.status())
        return {str(card): size for card, size in held.items()}

    async def visit(
        self, mode: str, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> tuple[SwitchRecord, SwitchRecord]:
        """Move the box to a mode, `blank` included, do something there, and come back to the target.

        The lease is given back for the time: who takes the box in between has it, and the job ends.
        What the box does on the way says nothing against the result.

        Returns:
            The switch there and the switch back, as journaled.

        Raises:
            GpumodError: one of them was refused or failed; where it could, the box came back.
            Interrupted: somebody takes the box.
            Lost: the job has another owner.
        """
        if self._visiting.locked():
            raise GpumodError("a visit is under way: the box can be in one mode only")
        async with self._visiting:
            away = self._mode(mode)
            integrity, self._attendant.integrity = self._attendant.integrity, None
            self._switches.clear()
            try:
                return await self._there_and_back(away, meanwhile)
            finally:
                if integrity is not None:
                    integrity.visited(self._switches)
                self._attendant.integrity = integrity

    async def abandon(self) -> None:
        """Cancel the switch of a visit, if one is under way: something comes before it."""
        if self._moving is not None:
            await self._parts.switching.cancel(self._moving, by=self._attendant.name)

    def _mode(self, name: str) -> Desired:
        mode = ModeId(name)
        if mode != BLANK and self._parts.switching.catalog().mode(mode) is None:
            raise NotFoundError(f"there is no mode {name} to go to", {"mode": name})
        return Desired(mode)

    async def _there_and_back(
        self, away: Desired, meanwhile: Callable[[], Awaitable[None]] | None
    ) -> tuple[SwitchRecord, SwitchRecord]:
        await self._attendant.beat(JobPhase.SWITCHING)
        try:
            there = await self._move(away)
            if meanwhile is not None:
                await meanwhile()
        except (Interrupted, Lost):
            raise
        except Exception:
            await self._return()
            raise
        return there, await self._return()

    async def _return(self) -> SwitchRecord:
        """Go back to the target and take it again; where nothing has changed, that switch has no steps."""
        back = await self._move(self._aim.desired)
        record = ready_record(self._aim, await self._parts.switching.status())
        if record is None:
            raise Interrupted
        fresh = endpoint_of(self._aim, record)
        self._endpoint = fresh if fresh.context else replace(fresh, context=self._endpoint.context)
        try:
            await self._attendant.lease(self._aim)
        except NotFoundError as error:  # it went down, or somebody has begun to take it
            raise Interrupted from error
        await self._attendant.beat(JobPhase.MEASURING)
        return back

    async def _move(self, desired: Desired) -> SwitchRecord:
        switching = self._parts.switching
        try:
            begun = await begin_move(self._parts, self._attendant, desired, OnFailure.RESTORE)
        except SwitchRunningError as error:
            raise Interrupted from error
        if isinstance(begun, Refused):
            raise GpumodError(f"{desired.phrase} cannot be visited: {refusal(begun)}")
        self._moving = begun.id
        ended = begun if begun.state.ended else await switching.wait(begun.id)
        self._moving = None
        self._switches.append(ended)
        if ended.request.by != self._attendant.name:
            raise Interrupted
        if ended.state is not SwitchState.COMMITTED:
            raise GpumodError(f"the switch to {desired.phrase} failed: {misfortune(ended)}")
        return ended
