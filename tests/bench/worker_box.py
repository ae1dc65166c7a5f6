"""A simulated box with a queue, a worker, and a suite that does what a test says."""

import asyncio

from gpumod.bench.queue import JobQueue
from gpumod.bench.worker import JobWorker, Pace, WorkerParts
from gpumod.core.errors import InvalidRequestError
from gpumod.core.job import JobRequest, Metric, Outcome, Sample
from gpumod.core.job_ports import Case
from gpumod.testing.job_store import MemoryJobStore


class ScriptedSuite:
    """Cases `c0`, `c1` ... of ten seconds each. `on_case` may do anything while one runs."""

    name, version, content_hash = "scripted", "1", "0" * 64

    def __init__(self):
        self.ran = []
        self.count = 3
        self.seconds = 10.0
        self.on_case = {}
        self.hindered = ""

    def parameters(self, given):
        if set(given) - {"n"}:
            raise InvalidRequestError("there is only `n`")
        return {"n": self.count, **given}

    async def hindrance(self, parameters):
        return self.hindered

    def cases(self, parameters, endpoint):
        return [Case(f"c{number}", {}) for number in range(parameters["n"])]

    async def run(self, case, parameters, bench):
        began = bench.clock.now()
        self.ran.append((bench.endpoint.target, case.key))
        act = self.on_case.pop((bench.endpoint.target, case.key), None)
        outcome = await act(bench) if act else None
        await bench.clock.sleep(self.seconds)
        return Sample(
            "", case.key, outcome or Outcome.OK, score=1.0, at=began, seconds=bench.clock.now() - began
        )

    def metrics(self, samples, parameters):
        return (Metric("scripted.mean", 1.0, "points", count=len(samples)),)


class Bench:
    """The daemon's part of the queue on a box; `restart` is a new daemon, `kill` an end without goodbye."""

    def __init__(self, box, **pace):
        self.box = box
        self.jobs = MemoryJobStore(box.clock)
        self.suite = ScriptedSuite()
        self.pace = Pace(**pace)
        self.daemons = 0
        self.pages = {}
        self.worker = None
        self.suites = {"scripted": lambda: self.suite}
        self.begin()

    def begin(self):
        self.daemons += 1
        box = self.box
        self.worker = JobWorker(
            WorkerParts(
                store=self.jobs,
                switching=box.supervisor,
                leases=box.supervisor.leases,
                events=box.supervisor.events,
                clock=box.clock,
                desired=box.store.desired,
                owner=f"daemon-{self.daemons}",
                suites=self.suites,
                pace=self.pace,
                page=self.page,
            )
        )
        self.queue = JobQueue(
            self.jobs,
            box.supervisor,
            box.supervisor.events,
            box.clock,
            self.suites,
            lambda: f"job-{len(self.jobs._jobs)}",
            self.worker.poke,
        )
        self.worker.start(box.supervisor.settled)

    async def page(self, endpoint, path):
        """What an engine's server has at a path: a text, or what makes one."""
        found = self.pages.get(path, "")
        return found() if callable(found) else found

    async def close(self):
        """End the worker and the box's supervisor."""
        await self._end()
        await self.box.supervisor.close()

    async def _end(self):
        if self.worker is not None:
            await self.worker.close()

    async def restart(self, **fields):
        await self._end()
        await self.box.restart(**fields)
        self.begin()

    async def submit(self, *targets, **fields):
        return await self.queue.submit(JobRequest("scripted", targets, **fields))

    async def until(self, what, seconds=3600.0):
        """Wait in virtual time until `what` holds."""
        end = self.box.clock.now() + seconds
        while not await what():
            assert self.box.clock.now() < end, "it did not happen"
            await asyncio.sleep(0)

    async def ended(self, job):
        async def over():
            return (await self.queue.job(job.id)).state.ended

        await self.until(over)
        return await self.queue.job(job.id)

    async def phase(self, job, phase):
        async def there():
            return (await self.queue.job(job.id)).phase is phase

        await self.until(there)

    async def mode(self):
        return (await self.box.store.desired()).phrase

    async def leases(self):
        return [one.holder for one in await self.box.supervisor.leases.active()]
