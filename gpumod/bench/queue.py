"""The queue as people see it: what they ask for is checked here, before it waits for its turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpumod.bench.worker.targets import aim_of
from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.events import EventKind
from gpumod.core.job import JobId, JobRecord, JobRequest, JobState, Result, Sample
from gpumod.store.windows import check_window

if TYPE_CHECKING:
    from gpumod.core.job_ports import JobStore, Suite
    from gpumod.core.ports import Clock, Events, Switching

_MOST_TARGETS = 64
_MOST_PRIORITY = 1_000_000
_LONGEST_TEXT = 500
_HOPELESS = frozenset({JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobQueue:
    """Implements the `Jobs` port.

    Args:
        suites: what makes a suite, by its name.
        new_id: makes ids for jobs.
        poke: tells the worker that there is news.
    """

    store: JobStore
    switching: Switching
    events: Events
    clock: Clock
    suites: Mapping[str, Callable[[], Suite]]
    new_id: Callable[[], str]
    poke: Callable[[], None]

    async def submit(self, request: JobRequest) -> JobRecord:
        """Queue a job; its parameters are kept with every default filled in.

        Raises:
            InvalidRequestError: what it asks for makes no sense.
            NotFoundError: no such suite, preset, mode or job to wait for.
        """
        return await self.add(JobRecord(JobId(self.new_id()), request, JobState.QUEUED, self.clock.now()))

    async def add(self, wanted: JobRecord) -> JobRecord:
        """Queue a job that has its id already, as a schedule's has; one that is there is answered as it is.

        Raises:
            InvalidRequestError: as `submit`.
            NotFoundError: as `submit`.
        """
        request = await self.check(wanted.request)
        kept = await self.store.submit(replace(wanted, request=request))
        if (kept.id, kept.created) == (wanted.id, wanted.created):
            self._tell(kept, f"is queued for {', '.join(request.targets)}")
        self.poke()
        return kept

    async def check(self, request: JobRequest) -> JobRequest:
        """The request with every default of its suite filled in; nothing is queued.

        Raises:
            InvalidRequestError: what it asks for makes no sense.
            NotFoundError: no such suite, preset, mode or job to wait for.
        """
        suite = self._suite(request.suite)
        checked = replace(request, parameters=suite.parameters(request.parameters))
        self._check_targets(request.targets)
        _check_numbers(request)
        for text in (request.dedupe, request.label, request.by):
            if len(text) > _LONGEST_TEXT:
                raise InvalidRequestError(f"a label or a key has at most {_LONGEST_TEXT} characters")
        await self._check_after(request.after)
        if hindrance := await suite.hindrance(checked.parameters):
            raise InvalidRequestError(
                f"{request.suite} cannot run here: {hindrance}", {"suite": request.suite}
            )
        return checked

    async def cancel(self, job: JobId, by: str = "") -> JobRecord:
        """Cancel a job; one that runs puts the box back first, one that has ended is left.

        Raises:
            NotFoundError: no such job.
        """
        before = await self.job(job)
        if before.state.ended:
            return before
        asked = await self.store.ask_cancel(
            job, self.clock.now(), f"cancelled by {by}" if by else "cancelled"
        )
        if asked is None:
            raise _unknown(job)
        if asked.state is JobState.CANCELLED:
            self._tell(asked, "is cancelled")
        elif not asked.state.ended:
            self._tell(asked, "is being cancelled")
        self.poke()
        return asked

    async def retry(self, job: JobId, *, afresh: bool = False) -> JobRecord:
        """Queue an ended job again, from where it was, or `afresh`.

        Raises:
            NotFoundError: no such job.
            InvalidRequestError: it has not ended, or it is done and has nothing left to measure.
        """
        queued = await self.store.requeue(job, keep_samples=not afresh)
        if queued is None:
            raise _not_queued_again(await self.job(job))
        self._tell(queued, "is queued again")
        self.poke()
        return queued

    async def job(self, job: JobId) -> JobRecord:
        """One job.

        Raises:
            NotFoundError: no such job.
        """
        found = await self.store.job(job)
        if found is None:
            raise _unknown(job)
        return found

    async def jobs(self, states: Collection[JobState] = (), limit: int = 100) -> tuple[JobRecord, ...]:
        """The latest jobs, newest first."""
        return await self.store.jobs(states, limit)

    async def samples(self, job: JobId) -> tuple[Sample, ...]:
        """What a job has measured so far.

        Raises:
            NotFoundError: no such job.
        """
        await self.job(job)
        return await self.store.samples(job)

    async def results(
        self, job: JobId | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """Results, newest first.

        Raises:
            NotFoundError: no such job.
        """
        if job is not None:
            await self.job(job)
        return await self.store.results(job, suite=suite, target=target, limit=limit)

    def _suite(self, name: str) -> Suite:
        make = self.suites.get(name)
        if make is None:
            there = ", ".join(sorted(self.suites)) or "none"
            raise NotFoundError(f"no suite is called {name}; there are: {there}", {"suite": name})
        return make()

    def _check_targets(self, targets: tuple[str, ...]) -> None:
        if not 0 < len(targets) <= _MOST_TARGETS:
            raise InvalidRequestError(f"a job has 1 to {_MOST_TARGETS} targets, this one has {len(targets)}")
        if len(set(targets)) != len(targets):
            raise InvalidRequestError("a target is named twice: its samples would be the same")
        catalog = self.switching.catalog()
        for target in targets:
            aim_of(catalog, target)

    async def _check_after(self, after: tuple[JobId, ...]) -> None:
        for needed in after:
            found = await self.job(needed)
            if found.state in _HOPELESS:
                raise InvalidRequestError(f"job {needed}, which has to be done first, {found.state}")

    def _tell(self, job: JobRecord, doing: str) -> None:
        message = f"job {job.id} ({job.request.suite}) {doing}"
        self.events.publish(EventKind.JOB, job.id, message, state=job.state.value, suite=job.request.suite)


def _check_numbers(request: JobRequest) -> None:
    if abs(request.priority) > _MOST_PRIORITY:
        raise InvalidRequestError(f"a priority lies between -{_MOST_PRIORITY} and {_MOST_PRIORITY}")
    if request.not_before is not None and not math.isfinite(request.not_before):
        raise InvalidRequestError("`not_before` is a unix time in seconds")
    if request.window is not None:
        check_window(request.window)


def _not_queued_again(job: JobRecord) -> InvalidRequestError:
    why = f"has not ended: it is {job.state}"
    if job.state is JobState.DONE:
        why = "is done: `--afresh` (`afresh` in the API) forgets what it has measured and measures again"
    return InvalidRequestError(f"job {job.id} {why}", {"job": job.id})


def _unknown(job: JobId) -> NotFoundError:
    return NotFoundError(f"no job {job}: `gpumodctl job list` shows the latest", {"job": job})
