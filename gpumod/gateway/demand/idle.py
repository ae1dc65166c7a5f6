"""What is stopped because nobody has asked it anything for a while. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gpumod.core.names import BLANK, ModeId, ServiceId
from gpumod.core.spec import Idle, IdleAction
from gpumod.core.switch import IDLE, SwitchRecord, SwitchRequest, SwitchState

BY: Final = IDLE
"""Who asks, in the journal: what was stopped so is started again by a request."""
LOOK_AGAIN: Final = 30.0
"""Seconds until what was due, but not allowed, is looked at again: a lease ends without a sign."""


@dataclass(frozen=True, slots=True)
class IdleService:
    """A running service.

    Args:
        used: when its last request ended, or when it was first seen to admit.
        since: when it was first seen to admit.
        needed_by: running services that depend on it.
    """

    id: ServiceId
    idle: Idle | None
    used: float
    in_flight: int
    since: float = 0.0
    needed_by: frozenset[ServiceId] = frozenset()


@dataclass(frozen=True, slots=True)
class IdleSight:
    """What the box is like for the idle policies.

    Args:
        settled: since when the mode is what it is.
        residency: neither a mode nor a service is stopped sooner after its start: what a request brings back
            at once could else come and go with each.
        held: whether anything forbids it: a lease, a job, a running switch, a waiting request.
    """

    mode: ModeId
    idle: Idle | None
    services: tuple[IdleService, ...]
    settled: float
    residency: float
    held: bool


@dataclass(frozen=True, slots=True)
class IdleTurn:
    """What to do now; or when to look again."""

    request: SwitchRequest | None = None
    again: float | None = None


def idle_turn(sight: IdleSight, now: float) -> IdleTurn:
    """What has idled long enough: the whole mode before single services, one of these at a time."""
    due: list[tuple[float, SwitchRequest]] = []
    latest = max((service.since for service in sight.services), default=0.0)
    if sight.services and sight.idle is not None and sight.idle.then is IdleAction.BLANK:
        last = max(_used(service, now) for service in sight.services)
        earliest = max(sight.settled, latest) + sight.residency
        due.append((max(earliest, last + sight.idle.after), SwitchRequest(mode=BLANK, by=BY)))
    for service in sorted(sight.services, key=lambda one: one.id):
        policy = service.idle or sight.idle
        if policy is not None and policy.then is IdleAction.STOP and not service.needed_by:
            earliest = max(sight.settled, service.since) + sight.residency
            at = max(earliest, _used(service, now) + policy.after)
            due.append((at, SwitchRequest(stop=service.id, by=BY)))
    if not due:
        return IdleTurn()
    ripe = next((wish for when, wish in due if when <= now), None)
    if ripe is None:
        return IdleTurn(again=min(when for when, _ in due))
    return IdleTurn(again=now + LOOK_AGAIN) if sight.held else IdleTurn(request=ripe)


def _used(service: IdleService, now: float) -> float:
    """A request that is inside uses it still."""
    return now if service.in_flight else service.used


@dataclass(frozen=True, slots=True)
class Idled:
    """What idle policies have taken away and nobody has changed since.

    Args:
        services: stopped one by one.
        mode: the one that was left for blank.
    """

    services: frozenset[ServiceId] = frozenset()
    mode: ModeId | None = None

    def after(self, record: SwitchRecord) -> Idled:
        """What is so after a switch."""
        request = record.request
        if record.state is not SwitchState.COMMITTED:
            return self
        if request.stop is not None:
            idled = request.by == BY
            return Idled(
                self.services | {request.stop} if idled else self.services - {request.stop}, self.mode
            )
        started = request.start or request.restart
        if started is not None:
            return Idled(self.services - {started}, self.mode)
        return Idled(mode=record.source if request.by == BY else None)


def idled_by(records: Iterable[SwitchRecord]) -> Idled:
    """The same from a journal, the oldest first."""
    found = Idled()
    for record in records:
        found = found.after(record)
    return found
