"""Ports of benchmark jobs: their store, the queue that people see, and a suite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gpumod.core.job import (
    JobId,
    JobPhase,
    JobRecord,
    JobRequest,
    JobState,
    Metric,
    Progress,
    Result,
    Sample,
    Schedule,
    ScheduleId,
)
from gpumod.core.names import LeaseId
from gpumod.core.ports import Clock
from gpumod.core.service import Desired
from gpumod.core.switch import SwitchRecord


class JobStore(Protocol):
    """Jobs, samples, results and schedules that survive the daemon.

    Raises (all methods):
        StoreError: as in `Store`.
    """

    async def submit(self, job: JobRecord) -> JobRecord:
        """Keep a new job; where its dedupe key is queued or running already, answer that job instead."""
        ...

    async def job(self, job: JobId) -> JobRecord | None:
        """One job."""
        ...

    async def jobs(self, states: Collection[JobState] = (), limit: int = 100) -> tuple[JobRecord, ...]:
        """The latest jobs in any of these states (none given: all), newest first."""
        ...

    async def claim(self, owner: str, now: float, *, stale: float) -> JobRecord | None:
        """Take the job that is to run next, in one statement: its attempt grows, its owner is `owner`.

        That is a running job whose owner has not been heard of for `stale` seconds, else the queued job of
        the highest priority that may run at `now`. None while another owner's job runs, or where none may.
        """
        ...

    async def beat(
        self,
        job: JobId,
        owner: str,
        attempt: int,
        now: float,
        *,
        phase: JobPhase | None = None,
        progress: Progress | None = None,
        reason: str | None = None,
    ) -> JobRecord | None:
        """Say that the owner lives, how far it is, and why it will fail once the box is put back.

        None: it is not the owner any more.
        """
        ...

    async def hold(
        self,
        job: JobId,
        owner: str,
        attempt: int,
        *,
        former: Desired | None,
        restore: bool,
        lease: LeaseId | None,
    ) -> bool:
        """Keep what has to be put back, and the lease, before the box is changed."""
        ...

    async def finish(
        self, job: JobId, owner: str, attempt: int, state: JobState, now: float, reason: str = ""
    ) -> bool:
        """End a job; only its owner's present attempt can."""
        ...

    async def ask_cancel(self, job: JobId, now: float, reason: str) -> JobRecord | None:
        """Cancel a queued job, or mark a running one to be cancelled by its owner."""
        ...

    async def requeue(self, job: JobId, *, keep_samples: bool) -> JobRecord | None:
        """Queue an ended job again; None where there is nothing to go on with."""
        ...

    async def add_sample(self, job: JobId, attempt: int, sample: Sample) -> bool:
        """Keep a sample; a case that is there already is left, and an earlier attempt's is refused."""
        ...

    async def samples(self, job: JobId, target: str | None = None) -> tuple[Sample, ...]:
        """The samples of a job, in the order of their cases' ends."""
        ...

    async def save_result(self, result: Result, attempt: int) -> bool:
        """Keep a result, in place of the same job's and target's; an earlier attempt's is refused."""
        ...

    async def results(
        self, job: JobId | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """Results, newest first."""
        ...

    async def save_schedule(self, schedule: Schedule) -> None:
        """Keep a schedule, in place of the former one of that id."""
        ...

    async def delete_schedule(self, schedule: ScheduleId) -> bool:
        """Forget a schedule; whether there was one."""
        ...

    async def schedules(self) -> tuple[Schedule, ...]:
        """All schedules."""
        ...


class Jobs(Protocol):
    """The queue, as the API and the CLI see it."""

    async def check(self, request: JobRequest) -> JobRequest:
        """The request with every default of its suite filled in; nothing is queued.

        Raises:
            InvalidRequestError: as `submit`.
            NotFoundError: as `submit`.
        """
        ...

    async def submit(self, request: JobRequest) -> JobRecord:
        """Queue a job.

        Raises:
            InvalidRequestError: the suite's parameters or the window make no sense; the sentence says why.
            NotFoundError: no such suite, preset, mode or job to wait for.
        """
        ...

    async def cancel(self, job: JobId, by: str = "") -> JobRecord:
        """Cancel a job; one that runs puts the box back first.

        Raises:
            NotFoundError: no such job.
        """
        ...

    async def retry(self, job: JobId, *, afresh: bool = False) -> JobRecord:
        """Queue an ended job again, from where it was, or `afresh`.

        Raises:
            NotFoundError: no such job.
            InvalidRequestError: it has not ended.
        """
        ...

    async def job(self, job: JobId) -> JobRecord:
        """One job.

        Raises:
            NotFoundError: no such job.
        """
        ...

    async def jobs(self, states: Collection[JobState] = (), limit: int = 100) -> tuple[JobRecord, ...]:
        """The latest jobs, newest first."""
        ...

    async def samples(self, job: JobId) -> tuple[Sample, ...]:
        """What a job has measured so far."""
        ...

    async def results(
        self, job: JobId | None = None, *, suite: str = "", target: str = "", limit: int = 100
    ) -> tuple[Result, ...]:
        """Results, newest first."""
        ...


class ScheduleBook(Protocol):
    """The schedules, as the API and the CLI see them."""

    async def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, by their ids.

        Raises:
            StoreError: they cannot be read.
        """
        ...

    async def save(self, schedule: Schedule) -> Schedule:
        """Keep a schedule, in place of the former one of that id; its times count from now on.

        Raises:
            InvalidRequestError: the cron expression or the time zone is wrong; the sentence says how.
            StoreError: it could not be kept.
        """
        ...

    async def delete(self, schedule: ScheduleId) -> None:
        """Forget a schedule; the jobs that it has submitted stay.

        Raises:
            NotFoundError: there is none.
            StoreError: it could not be forgotten.
        """
        ...

    def next_firing(self, schedule: Schedule) -> float | None:
        """When a schedule fires next, unix time; None where it is disabled.

        Raises:
            InvalidRequestError: the system does not know its time zone any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a target's model answers.

    Args:
        target: the preset or mode.
        url: the server's root, on loopback, without a slash at the end.
        model: the name to ask for.
        engine: `llama.cpp`, `vllm` ..., for what only one engine understands.
        context: tokens per request; None where it is not known.
        slots: requests at once; None where it is not known.
        files: the model's files, the first one first to be opened.
        cards: the cards that the model is on, as the driver identifies them.
    """

    target: str
    url: str
    model: str
    engine: str
    context: int | None = None
    slots: int | None = None
    files: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to do and to score. `key` names it within its suite for ever: results are paired by it."""

    key: str
    data: Mapping[str, object]


class Bench(Protocol):
    """What a suite may use while a case runs."""

    @property
    def endpoint(self) -> Endpoint:
        """The server to ask."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Bytes that the target holds now, by card."""
        ...

    async def visit(
        self, mode: str, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> tuple[SwitchRecord, SwitchRecord]:
        """Move the box to a mode, `blank` included, do something there, and come back to the target.

        Returns:
            The switch there and the switch back, as journaled.

        Raises:
            GpumodError: one of them was refused or failed.
        """
        ...


class Suite(Protocol):
    """A set of cases with their checkers. Stateless: a job that resumes asks a new one."""

    @property
    def name(self) -> str:
        """As in `job submit --suite`."""
        ...

    @property
    def version(self) -> str:
        """Grows with every change that changes scores."""
        ...

    @property
    def content_hash(self) -> str:
        """SHA-256 over texts, data and checkers."""
        ...

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with every default filled in.

        Raises:
            InvalidRequestError: an unknown or a wrong one.
        """
        ...

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Why it cannot run on this machine (no sandbox, a program that is missing); empty where it can.

        Asked when a job is submitted, and again before the box is changed for it.
        """
        ...

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """Everything to do, in order; the same for the same parameters and endpoint."""
        ...

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Do one case. What goes wrong with the server or the answer is the sample's outcome, not an error.

        Raises:
            GpumodError: the suite cannot go on at all (no sandbox, for one); the job fails with it.
        """
        ...

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """The numbers over all samples of one target."""
        ...
