"""A suite on one target: its cases in order, a checkpoint after each, and the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.bench.worker.integrity import Integrity
from gpumod.bench.worker.interrupts import Interrupted, Lost
from gpumod.bench.worker.others import OthersWatch
from gpumod.bench.worker.provenance import completed, host_of, provenance_of, with_context
from gpumod.bench.worker.targets import endpoint_of, ready_record
from gpumod.bench.worker.visiting import TargetBench
from gpumod.core.errors import GpumodError
from gpumod.core.events import EventKind
from gpumod.core.job import Outcome, Progress, Result, Sample
from gpumod.core.spec import RestartWhen
from gpumod.core.states import ServiceState
from gpumod.core.units import format_duration

if TYPE_CHECKING:
    from gpumod.bench.worker.attending import Attendant
    from gpumod.bench.worker.parts import WorkerParts
    from gpumod.bench.worker.targets import Aim
    from gpumod.core.job_ports import Case, Suite
    from gpumod.core.service import ServiceRecord

_TELL_EVERY = 2.0
_CUT = frozenset({Outcome.DISCONNECTED, Outcome.REFUSED})


class Measuring:
    """Does what is left of a suite on targets, one after the other."""

    def __init__(self, parts: WorkerParts, attendant: Attendant, suite: Suite) -> None:
        self._parts = parts
        self._attendant = attendant
        self._suite = suite
        self._parameters = suite.parameters(attendant.job.request.parameters)
        self._cases: dict[str, int] = {}
        self._told = float("-inf")

    async def hindrance(self) -> str:
        """Why the suite cannot run on this machine; empty where it can."""
        return await self._suite.hindrance(self._parameters)

    async def measure(self, aim: Aim) -> None:
        """Do the cases that have no sample yet, and keep the result.

        Raises:
            GpumodError: it cannot be measured; the sentence says why.
            Interrupted: something comes before it.
            Lost: the job has another owner.
        """
        status = await self._parts.switching.status()
        record = ready_record(aim, status)
        if record is None:
            raise Interrupted
        endpoint = await with_context(endpoint_of(aim, record), self._parts.page)
        integrity = self._attendant.integrity = Integrity(aim)
        integrity.look(status)
        captured = provenance_of(aim, status)
        cases = self._suite.cases(self._parameters, endpoint)
        self._cases[aim.target] = len(cases)
        samples = await self._parts.store.samples(self._attendant.job.id)
        done = {sample.case for sample in samples if sample.target == aim.target}
        self._attendant.progress = replace(self._attendant.progress, done=len(samples))
        bench = TargetBench(self._parts, self._attendant, aim, endpoint)
        others = OthersWatch(self._parts, self._attendant, aim, integrity)
        with others.watching():
            await others.begin(bench.endpoint)
            for case in cases:
                if case.key not in done:
                    await self._do(case, aim, bench)
                    await others.after(case.key, bench.endpoint)
        captured["requests"] = others.document
        await self._keep(aim, captured, integrity, endpoint.context)
        self._attendant.integrity = None

    async def revived(self, aim: Aim) -> None:
        """Wait until everything of a target is ready again, as its restart policy makes it.

        Raises:
            GpumodError: it is not, and why.
        """
        clock, deadline = self._parts.clock, None
        while True:
            status = await self._attendant.look()
            if status.switch is None and ready_record(aim, status) is not None:
                return
            records = [one for one in status.services if one.id in aim.services]
            down = [one for one in records if one.state is not ServiceState.READY]
            if deadline is None:
                startup = max((one.spec.startup_timeout for one in records), default=0.0)
                deadline = clock.monotonic() + startup + self._parts.pace.revive
            hopeless = next((one for one in down if _given_up(one)), None)
            if hopeless is not None:
                raise GpumodError(f"{hopeless.id} is down and is not started again: {hopeless.reason}")
            if clock.monotonic() >= deadline:
                words = "; ".join(f"{one.id} is {one.state}: {one.reason}" for one in down) or "it is gone"
                raise GpumodError(f"{aim.target} did not become ready again: {words}")
            await self._attendant.attend(clock.sleep(self._parts.pace.look))

    async def _do(self, case: Case, aim: Aim, bench: TargetBench) -> None:
        await self._tell(aim, case.key)
        began = self._parts.clock.monotonic()
        try:
            sample = await self._attendant.attend(self._suite.run(case, self._parameters, bench))
        except Interrupted:
            await bench.abandon()
            raise
        if sample.outcome in _CUT:
            # Who takes the box cuts requests: that says nothing about the target.
            await self._attendant.look()
        await self._checkpoint(replace(sample, target=aim.target, case=case.key), began)
        if sample.outcome in _CUT:  # that an engine has died is known a moment later
            await self._attendant.attend(self._parts.clock.sleep(self._parts.pace.look))
        if ready_record(aim, await self._attendant.look()) is None:
            await self._come_back(aim)

    async def _come_back(self, aim: Aim) -> None:
        """Have a target ready again: a visit may have left the box elsewhere, or an engine has died."""
        desired = await self._parts.desired()
        if desired is None or not desired.same(aim.desired):
            raise Interrupted
        await self.revived(aim)

    async def _checkpoint(self, sample: Sample, began: float) -> None:
        job, attendant = self._attendant.job, self._attendant
        if not await self._parts.store.add_sample(job.id, job.attempt, sample):
            await attendant.beat()
            return
        progress = attendant.progress
        seconds = progress.seconds + self._parts.clock.monotonic() - began
        attendant.progress = replace(progress, done=progress.done + 1, seconds=seconds)

    async def _tell(self, aim: Aim, case: str) -> None:
        """Keep and publish how far the job is, not more often than every two seconds."""
        now, attendant = self._parts.clock.monotonic(), self._attendant
        attendant.progress = replace(attendant.progress, total=self._total(), target=aim.target, case=case)
        if now - self._told >= _TELL_EVERY:
            self._told = now
            await attendant.beat()
            publish_progress(self._parts, attendant.job.id, attendant.progress)

    def _total(self) -> int:
        """All cases; a target whose number is not known yet is taken to have as many as the largest."""
        largest = max(self._cases.values())
        return sum(self._cases.get(target, largest) for target in self._attendant.job.request.targets)

    async def _keep(
        self, aim: Aim, captured: dict[str, object], integrity: Integrity, context: int | None
    ) -> None:
        status = await self._attendant.look()
        job = self._attendant.job
        samples = await self._parts.store.samples(job.id, aim.target)
        captured["host_load_at_end"] = host_of(status) | {"load_max": integrity.load}
        captured["displays"] = sorted(integrity.displays)
        captured["memory"] = {
            card: {"first": integrity.idle[card], "peak": peak} for card, peak in integrity.peak.items()
        }
        if provenance_of(aim, status)["services"] != captured["services"]:
            integrity.note("changed", f"{aim.target} was launched anew, or differently, meanwhile")
        captured["services"] = await completed(captured["services"], aim.service, context)
        now = self._parts.clock.now()
        result = Result(
            job=job.id,
            target=aim.target,
            suite=self._suite.name,
            suite_version=self._suite.version,
            suite_hash=self._suite.content_hash,
            parameters=self._parameters,
            provenance=captured,
            metrics=self._suite.metrics(samples, self._parameters),
            outcomes=Counter(sample.outcome.value for sample in samples),
            started=min((sample.at for sample in samples), default=now),
            ended=now,
            integrity=integrity.sentences,
            label=job.request.label,
        )
        if not await self._parts.store.save_result(result, job.attempt):
            raise Lost


def publish_progress(parts: WorkerParts, job: str, progress: Progress) -> None:
    """Tell how far a job is, and when it may be done."""
    left = progress.seconds_left
    share = f"{progress.done} of {progress.total}" if progress.total else str(progress.done)
    eta = f", about {format_duration(left)} to go" if left is not None else ""
    parts.events.publish(
        EventKind.JOB,
        job,
        f"job {job}: {share} samples, {progress.case} on {progress.target}{eta}",
        state="running",
        done=progress.done,
        total=progress.total,
        target=progress.target,
        case=progress.case,
        seconds_left=left,
    )


def _given_up(record: ServiceRecord) -> bool:
    """Whether the supervisor will not start it again by itself."""
    if record.state is not ServiceState.FAILED:
        return False
    return record.spec.restart.when is RestartWhen.NEVER or record.reason.startswith("crash loop")
