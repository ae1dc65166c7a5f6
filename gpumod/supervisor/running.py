"""The switch that is under way: who may join it, and whom it gives way to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gpumod.core.errors import SwitchRunningError
from gpumod.core.plan import Refused, Target
from gpumod.core.switch import SwitchRecord, SwitchRequest, is_automatic
from gpumod.supervisor.conductor import Conductor


@dataclass(slots=True)
class RunningSwitch:
    """A switch with its task, and what others get who ask for one meanwhile."""

    request: SwitchRequest
    target: Target
    conductor: Conductor
    task: asyncio.Task[SwitchRecord]
    own: bool
    """Whether somebody asked for it, or has joined it; else a policy did, and it gives way."""

    def join(self, request: SwitchRequest) -> SwitchRecord:
        """One more caller waits for the same end."""
        self.own = self.own or not is_automatic(request.by)
        self.conductor.join()
        return self.conductor.record

    def check_gives_way(self, request: SwitchRequest) -> None:
        """Raises SwitchRunningError unless a policy asked for this switch, and somebody for the other one."""
        if self.own or is_automatic(request.by):
            raise already_running(self.conductor.record)

    def leads_to(self, request: SwitchRequest, target: Target | Refused) -> bool:
        """Whether whoever asks for this gets it from what is under way.

        The same words are not enough: a restart or a recovery keeps what was added by hand, which a switch
        to the same mode takes away.
        """
        if isinstance(target, Refused) or not self.request.same_wish(request):
            return False
        return _end_of(self.target) == _end_of(target)


def already_running(record: SwitchRecord) -> SwitchRunningError:
    """The error for whoever asks for another one; its facts have the id and the target."""
    return SwitchRunningError(
        f"{record.request.phrase} is under way (switch {record.id}); wait for it, cancel it, "
        "or pre-empt it with `gpumodctl switch blank --force`",
        {"switch": record.id, "target": record.target},
    )


def _end_of(target: Target) -> tuple[object, ...]:
    return target.mode, {spec.id for spec in target.services}, target.added, target.removed
