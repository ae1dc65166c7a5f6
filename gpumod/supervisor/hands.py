"""What acts: each kind of step handed to the part of the supervisor that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.core.errors import GpumodError
from gpumod.core.plan import Step, StepKind
from gpumod.core.states import ServiceState
from gpumod.supervisor.loose_ends import LooseEnds

if TYPE_CHECKING:
    from gpumod.supervisor.barrier import Barrier
    from gpumod.supervisor.facts import FactFinder
    from gpumod.supervisor.launcher import Launcher
    from gpumod.supervisor.quiesce import Quiescer
    from gpumod.supervisor.world import World


class Hands:
    """What acts: the parts of the supervisor that a step is handed to."""

    def __init__(
        self, quiescer: Quiescer, barrier: Barrier, launcher: Launcher, finder: FactFinder, world: World
    ) -> None:
        self.loose_ends = LooseEnds(world, quiescer, launcher)
        self.quiescer = quiescer
        self.barrier = barrier
        self.launcher = launcher
        self.finder = finder
        self.world = world

    async def act(self, step: Step) -> str:
        """Do one step and say what was seen.

        Raises:
            GpumodError: the step failed.
        """
        if step.kind is StepKind.RELEASE:
            return await self.barrier.wait(step)
        if step.kind is StepKind.START and step.order is not None:
            return await self.launcher.start(step.order)
        if step.service is None:
            raise GpumodError(f"defect in gpumod: {step.phrase} names no service")
        match step.kind:
            case StepKind.CLOSE:
                return await self.quiescer.close(step.service)
            case StepKind.DRAIN:
                return await self.quiescer.drain(step.service)
            case StepKind.STOP:
                await self.barrier.remember(step.service)
                return await self.quiescer.stop(step.service)
            case StepKind.READY:
                return await self.launcher.ready(step.service)
            case StepKind.OPEN:
                return await self._open(step)
            case _:
                raise GpumodError(f"defect in gpumod: {step.phrase} cannot be acted on")

    async def _open(self, step: Step) -> str:
        record = self.world.get(step.service) if step.service else None
        if record is not None and record.state is ServiceState.DRAINING:
            return await self.quiescer.reopen(record.id)
        return await self.launcher.open(step.service) if step.service else ""
