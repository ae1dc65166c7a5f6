"""Benchmark jobs in memory: the real queue and schedules, and a worker that only pretends to measure."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gpumod.bench.queue import JobQueue
from gpumod.bench.schedules import Schedules
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import JobPhase, JobRecord, JobState, Metric, Outcome, Progress, Result, Sample
from gpumod.core.job_ports import Bench, Case, Endpoint
from gpumod.testing.job_store import MemoryJobStore
from gpumod.testing.switching import FakeBox

_OWNER = "fake"


class _Wall:
    """The system's clock, which times of answers are compared with."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeSuite:
    """A suite with one parameter: how many cases there are."""

    name, version, content_hash = "speed", "1", "0" * 64

    def parameters(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The parameters with the default filled in."""
        repeats = given.get("repeats", 2)
        if set(given) - {"repeats"} or type(repeats) is not int or not 0 < repeats <= 100:
            raise InvalidRequestError("`repeats`, the only parameter, is a whole number from 1 to 100")
        return {"repeats": repeats}

    async def hindrance(self, parameters: Mapping[str, object]) -> str:
        """Nothing stands in its way."""
        del parameters
        return ""

    def cases(self, parameters: Mapping[str, object], endpoint: Endpoint) -> Sequence[Case]:
        """As many as asked for."""
        del endpoint
        repeats = parameters["repeats"]
        assert isinstance(repeats, int)
        return [Case(f"repeat-{number}", {}) for number in range(repeats)]

    async def run(self, case: Case, parameters: Mapping[str, object], bench: Bench) -> Sample:
        """Always the same answer."""
        del parameters
        return Sample(bench.endpoint.target, case.key, Outcome.OK, 1.0, {"tokens/s": 20.0}, {}, 0.0, 0.5)

    def metrics(self, samples: Sequence[Sample], parameters: Mapping[str, object]) -> tuple[Metric, ...]:
        """One number."""
        del parameters
        return (Metric("fake.speed.1", 20.0, "tokens/s", 19.0, 21.0, len(samples), larger_is_better=True),)


class FakeJobs:
    """The queue and the schedules of a fake box.

    Jobs wait until `work` is called, or are worked through by themselves while `working` is set.
    """

    def __init__(self, box: FakeBox, *, working: bool = False, step_seconds: float = 0.0) -> None:
        self.working = working
        self.step_seconds = step_seconds
        self.fails: str = ""
        """Why jobs fail from now on."""
        self.outcome = Outcome.OK
        self.error = ""
        """How cases end from now on, and why."""
        self.left_out: list[str] = []
        """What their samples name as not fitting the target."""
        self.store = MemoryJobStore(_Wall())
        numbers = itertools.count(1)
        self.queue = JobQueue(
            store=self.store,
            switching=box,
            events=box.events,
            clock=_Wall(),
            suites={"speed": FakeSuite},
            new_id=lambda: f"J{next(numbers)}",
            poke=self._poke,
        )
        self.schedules = Schedules(self.store, self.queue.add, _Wall())
        self._tasks: set[asyncio.Task[None]] = set()

    def _poke(self) -> None:
        if self.working:
            task = asyncio.get_running_loop().create_task(self.work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def work(self) -> None:
        """Work through every job that may begin."""
        while job := await self.store.claim(_OWNER, time.time(), stale=3600.0):
            await self._run(job)

    async def _run(self, job: JobRecord) -> None:
        suite, request = FakeSuite(), job.request
        keys = [case.key for case in suite.cases(request.parameters, Endpoint("", "", "", "llama.cpp"))]
        total = len(keys) * len(request.targets)
        done = 0
        progress = Progress(done, total)
        for target in request.targets:
            for key in keys:
                progress = Progress(done, total, target, key, 0.5 * done)
                seen = await self.store.beat(
                    job.id, _OWNER, job.attempt, time.time(), phase=JobPhase.MEASURING, progress=progress
                )
                if seen is None or seen.cancel_asked or self.fails:
                    state = JobState.FAILED if self.fails else JobState.CANCELLED
                    reason = self.fails or (seen.reason if seen else "")
                    await self.store.finish(job.id, _OWNER, job.attempt, state, time.time(), reason)
                    return
                details = {"error": self.error, "left_out": self.left_out}
                sample = Sample(target, key, self.outcome, 1.0, {"tokens/s": 20.0}, details, time.time(), 0.5)
                await self.store.add_sample(job.id, job.attempt, sample)
                done += 1
                await asyncio.sleep(self.step_seconds)
            await self.store.save_result(
                _result(suite, job, target, {str(self.outcome): len(keys)}), job.attempt
            )
        last = replace(progress, done=total, seconds=0.5 * total)
        await self.store.beat(job.id, _OWNER, job.attempt, time.time(), progress=last)
        await self.store.finish(job.id, _OWNER, job.attempt, JobState.DONE, time.time())


def _result(suite: FakeSuite, job: JobRecord, target: str, outcomes: Mapping[str, int]) -> Result:
    return Result(
        job=job.id,
        target=target,
        suite=suite.name,
        suite_version=suite.version,
        suite_hash=suite.content_hash,
        parameters=job.request.parameters,
        provenance={"services": [{"id": target}]},
        metrics=suite.metrics([], job.request.parameters),
        outcomes=outcomes,
        started=job.started or 0.0,
        ended=time.time(),
    )
