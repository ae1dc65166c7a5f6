"""One attempt at a job: does what the brain says until the job is over."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from gpumod.bench.worker.attending import Attendant
from gpumod.bench.worker.brain import (
    Act,
    AwaitSwitch,
    End,
    GoTo,
    LetGo,
    Measure,
    PutBack,
    Remember,
    Situation,
    next_act,
)
from gpumod.bench.worker.interrupts import Interrupted, Lost
from gpumod.bench.worker.measuring import Measuring
from gpumod.bench.worker.moving import begin_move, misfortune, refusal
from gpumod.bench.worker.targets import Aim, aim_of, ready_record
from gpumod.core.errors import GpumodError, NotFoundError, StoreError, SwitchRunningError, UnreachableError
from gpumod.core.events import EventKind
from gpumod.core.job import JobPhase, JobRecord
from gpumod.core.names import BLANK, SwitchId
from gpumod.core.plan import Refused
from gpumod.core.service import Desired
from gpumod.core.spec import OnFailure
from gpumod.core.switch import SwitchRecord, SwitchState

if TYPE_CHECKING:
    import asyncio

    from gpumod.bench.worker.parts import WorkerParts

_log = logging.getLogger(__name__)
_MOST_TRIPS = 10
"""So often the box is brought to one target, or the target waited for, within one attempt."""


class JobRun:
    """One attempt at one job, from its claim to its end or to the end of this daemon."""

    def __init__(self, parts: WorkerParts, job: JobRecord, wake: asyncio.Event) -> None:
        self._parts = parts
        self._attendant = Attendant(parts, job, wake)
        self._aims: dict[str, Aim] = {}
        self._measuring: Measuring | None = None
        self._failure = ""
        self._preempted = ""
        self._trips: Counter[str] = Counter()
        self._put_back_tries = 0
        self._stuck = ""

    @property
    def _job(self) -> JobRecord:
        return self._attendant.job

    async def run(self) -> None:
        """Do the job.

        Raises:
            Lost: it has another owner now; nothing was touched since that was known.
            StoreError: the store does not keep what the job does; it is to be taken up again later.
        """
        await self._prepare()
        await self._attendant.release()
        while True:
            act = next_act(await self._situation())
            if isinstance(act, End):
                await self._end(act)
                return
            try:
                await self._do(act)
            except Interrupted:
                _log.info("%s is interrupted", self._attendant.name)
            except (Lost, StoreError, UnreachableError):
                raise
            except GpumodError as error:
                self._failure = self._failure or error.detail
            except Exception as error:  # noqa: BLE001 - a suite's defect must not keep the box from being put back
                _log.exception("defect in %s", self._attendant.name)
                self._failure = self._failure or f"a defect in the suite: {error!r}"

    async def _prepare(self) -> None:
        request = self._job.request
        catalog = self._parts.switching.catalog()
        try:
            self._aims = {target: aim_of(catalog, target) for target in request.targets}
            suite = self._parts.suites.get(request.suite)
            if suite is None:
                raise GpumodError(f"there is no suite {request.suite} any more")
            self._measuring = Measuring(self._parts, self._attendant, suite())
            if self._job.phase is not JobPhase.RESTORING and (why := await self._measuring.hindrance()):
                raise GpumodError(f"{request.suite} cannot run here: {why}")
        except GpumodError as error:
            self._failure = error.detail
        except Exception as error:  # noqa: BLE001 - a suite's defect ends its job, not the worker
            _log.exception("defect in the suite %s", request.suite)
            self._failure = f"a defect in the suite: {error!r}"
        self._attendant.services = frozenset(name for aim in self._aims.values() for name in aim.services)

    async def _situation(self) -> Situation:
        self._attendant.integrity = None
        job = await self._attendant.beat()
        status = await self._parts.switching.status()
        running = status.switch is not None and not status.switch.state.ended
        return Situation(
            job=job,
            aims=self._aims,
            measured=await self._measured(),
            desired=await self._desired(),
            ready=frozenset(name for name, aim in self._aims.items() if ready_record(aim, status)),
            switch=status.switch.id if status.switch is not None and running else None,
            intruder=self._preempted or await self._attendant.intruder(),
            failure=self._failure,
            stuck=self._stuck,
        )

    async def _measured(self) -> frozenset[str]:
        """Targets with a result that counts every sample: one of samples that were dropped is none."""
        found = set()
        for result in await self._parts.store.results(self._job.id):
            samples = await self._parts.store.samples(self._job.id, result.target)
            if sum(result.outcomes.values()) == len(samples):
                found.add(result.target)
        return frozenset(found)

    async def _desired(self) -> Desired:
        return await self._parts.desired() or Desired(BLANK)

    async def _do(self, act: Act) -> None:
        match act:
            case AwaitSwitch(switch):
                await self._attendant.attend(self._parts.switching.wait(switch), yields=False)
            case Remember(former):
                await self._attendant.hold(former=former, restore=True, lease=None)
            case GoTo(aim):
                await self._go_to(aim)
            case Measure(aim):
                await self._measure(aim)
            case PutBack(former):
                await self._put_back(former)
            case LetGo():
                await self._attendant.release()
                await self._attendant.hold(former=self._job.former, restore=False, lease=None)

    async def _go_to(self, aim: Aim) -> None:
        """Make the box what a target needs; where it was that already, its restart policy sees to it."""
        await self._attendant.beat(JobPhase.SWITCHING)
        self._trips[aim.target] += 1
        if self._trips[aim.target] > _MOST_TRIPS:
            raise GpumodError(f"{aim.target} does not stay ready: it was waited for {_MOST_TRIPS} times")
        if (await self._desired()).same(aim.desired) and self._measuring is not None:
            await self._measuring.revived(aim)
            return
        self._tell(f"goes to {aim.target}", target=aim.target)
        problem = await self._switch(aim.desired, on_failure=OnFailure.RESTORE, yields=True)
        if problem:
            raise GpumodError(f"{aim.target} cannot be measured: {problem}")

    async def _measure(self, aim: Aim) -> None:
        if self._measuring is None:
            return
        await self._attendant.beat(JobPhase.MEASURING)
        try:
            await self._attendant.lease(aim)
        except NotFoundError as error:  # it went down, or somebody has begun to take it
            raise Interrupted from error
        await self._measuring.measure(aim)
        self._tell(f"has measured {aim.target}", target=aim.target)

    async def _put_back(self, former: Desired) -> None:
        await self._attendant.beat(JobPhase.RESTORING, reason=self._failure or None)
        pace = self._parts.pace
        self._put_back_tries += 1
        if self._put_back_tries > pace.put_back_tries:
            self._stuck = "it was switched to, and the box is not in it"
            return
        self._tell(f"puts the box back to {former.phrase}", mode=former.mode)
        try:
            problem = await self._switch(former, on_failure=None, yields=False)
        except (StoreError, UnreachableError):
            raise
        except GpumodError as error:
            problem = error.detail
        if not problem:
            return
        if self._put_back_tries >= pace.put_back_tries:
            self._stuck = problem
        else:
            await self._attendant.attend(self._parts.clock.sleep(pace.put_back_pause), yields=False)

    async def _switch(self, desired: Desired, *, on_failure: OnFailure | None, yields: bool) -> str:
        """Go through the same lock and planner as anybody; why it did not come to that, or nothing.

        Where another switch is faster, nothing is done: the next decision waits for it.
        """
        try:
            begun = await begin_move(self._parts, self._attendant, desired, on_failure)
        except SwitchRunningError:
            return ""
        if isinstance(begun, Refused):
            return refusal(begun)
        ended = begun if begun.state.ended else await self._await(begun.id, yields=yields)
        if ended.state is SwitchState.COMMITTED or ended.request.by != self._attendant.name:
            return ""
        if _was_preempted(ended):
            self._preempted = f"forced past: {ended.reason}"
        return misfortune(ended)

    async def _await(self, switch: SwitchId, *, yields: bool) -> SwitchRecord:
        try:
            return await self._attendant.attend(self._parts.switching.wait(switch), yields=yields)
        except Interrupted:
            await self._parts.switching.cancel(switch, by=self._attendant.name)
            raise

    async def _end(self, end: End) -> None:
        await self._attendant.release()
        job = self._job
        now = self._parts.clock.now()
        await self._attendant.beat()
        if not await self._parts.store.finish(job.id, job.owner, job.attempt, end.state, now, end.reason):
            raise Lost
        self._tell(f"is {end.state.value}", end.reason, state=end.state.value, reason=end.reason)

    def _tell(self, doing: str, why: str = "", **data: object) -> None:
        job = self._job
        said = f"job {job.id} ({job.request.suite}) {doing}"
        message = f"{said}: {why}" if why else said
        fields: dict[str, object] = {"state": job.state.value, "phase": job.phase, "suite": job.request.suite}
        self._parts.events.publish(EventKind.JOB, job.id, message, **{**fields, **data})


def _was_preempted(record: SwitchRecord) -> bool:
    """Whether a forced blank came in the middle of a switch: what it leaves is who forced it's."""
    return record.state is SwitchState.FAILED and record.left.startswith("as it is: pre-empted")
