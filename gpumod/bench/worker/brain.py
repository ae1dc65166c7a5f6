"""What a job does next: a function of its record and of the box, without I/O.

It is asked again after each act and after each restart of the daemon. So there is no way that only an
uninterrupted job goes: whatever was done already shows in the record, the results or the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gpumod.bench.worker.targets import Aim
from gpumod.core.job import JobPhase, JobRecord, JobState
from gpumod.core.names import SwitchId
from gpumod.core.service import Desired
from gpumod.core.switch import DAEMON_NAMES, SwitchRecord, SwitchState, is_automatic

_CHANGED = frozenset({SwitchState.COMMITTED, SwitchState.FAILED})


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the next act depends on.

    Args:
        aims: what the box has to be, by target, in the job's order.
        measured: targets that have their result.
        desired: what the box is to be at present.
        ready: the targets of which everything is ready now.
        switch: the switch under way, whoever asked for it.
        intruder: who has changed the box since the job began, in words; empty where nobody has.
        failure: why this attempt cannot go on; empty while it can.
        stuck: why the box cannot be put back; empty while that may be tried.
    """

    job: JobRecord
    aims: Mapping[str, Aim]
    measured: frozenset[str]
    desired: Desired
    ready: frozenset[str] = frozenset()
    switch: SwitchId | None = None
    intruder: str = ""
    failure: str = ""
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class AwaitSwitch:
    """Let a switch end before anything is decided."""

    switch: SwitchId


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep what the box is, before anything is changed."""

    former: Desired


@dataclass(frozen=True, slots=True)
class GoTo:
    """Make the box what a target needs."""

    aim: Aim


@dataclass(frozen=True, slots=True)
class Measure:
    """Do what is left of the suite on a target."""

    aim: Aim


@dataclass(frozen=True, slots=True)
class PutBack:
    """Make the box again what it was."""

    former: Desired


@dataclass(frozen=True, slots=True)
class LetGo:
    """Leave the box to who has taken it; nothing is put back."""


@dataclass(frozen=True, slots=True)
class End:
    """The job is over."""

    state: JobState
    reason: str = ""


Act: TypeAlias = AwaitSwitch | Remember | GoTo | Measure | PutBack | LetGo | End


def next_act(now: Situation) -> Act:
    """What to do next."""
    if now.switch is not None:
        return AwaitSwitch(now.switch)
    former, verdict = now.job.former, _verdict(now)
    if former is None:
        return verdict or Remember(now.desired)
    if not now.job.restore:
        return _forced_past(now)
    if now.intruder:
        return LetGo()
    if verdict is not None:
        return _end_or_put_back(now, former, verdict)
    aim = next(aim for target, aim in now.aims.items() if target not in now.measured)
    if now.desired.same(aim.desired) and aim.target in now.ready:
        return Measure(aim)
    return GoTo(aim)


def _verdict(now: Situation) -> End | None:
    """How the job ends once the box is put back; None while there is something to do."""
    if set(now.job.request.targets) <= now.measured:
        return End(JobState.DONE)
    if now.job.cancel_asked:
        return End(JobState.CANCELLED, now.job.reason)
    if now.failure:
        return End(JobState.FAILED, now.failure)
    if now.job.phase is JobPhase.RESTORING:
        return End(JobState.FAILED, now.job.reason)
    return None


def _end_or_put_back(now: Situation, former: Desired, verdict: End) -> Act:
    if now.desired.same(former):
        return verdict
    if not now.stuck:
        return PutBack(former)
    said = f"the box could not be put back to {former.phrase}: {now.stuck}"
    return End(JobState.FAILED, f"{verdict.reason}; {said}" if verdict.reason else said)


def _forced_past(now: Situation) -> End:
    if set(now.job.request.targets) <= now.measured:
        return End(JobState.DONE, now.job.reason)
    return End(JobState.CANCELLED, now.intruder or now.job.reason or "somebody else has changed the box")


def intruder_of(
    switches: Sequence[SwitchRecord], former: Desired, name: str, services: frozenset[str]
) -> SwitchRecord | None:
    """The latest switch by somebody else that has changed the box since the job remembered it.

    Args:
        switches: from the journal, newest first.
        former: what the box was; its time tells which switches are later.
        name: what the job's own switches are asked for by.
        services: the target's; who only starts or stops others, by leave of the lease, is no intruder.
    """
    for record in switches:
        if record.started <= former.since:
            return None
        if record.state in _CHANGED and is_intrusion(record, name, services):
            return record
    return None


def is_intrusion(record: SwitchRecord, name: str, services: frozenset[str]) -> bool:
    """Whether a switch takes the box away from a job. Arguments as in `intruder_of`.

    What requests or idle policies ask for never breaks a lease: it came in before the job had one, and the
    job goes to its target again.
    """
    request = record.request
    if request.by == name or request.by in DAEMON_NAMES or is_automatic(request.by):
        return False
    one = request.start or request.stop or request.restart
    beside = one is not None and not request.force and one not in services
    return not beside


def who(record: SwitchRecord) -> str:
    """An intruder in words."""
    by = f" by {record.request.by}" if record.request.by else ""
    return f"forced past{by}: {record.request.phrase}"
