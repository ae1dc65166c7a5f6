"""From a job, its results and its samples to the document. Pure."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from gpumod.bench.formulas import AT
from gpumod.bench.redaction import redacted
from gpumod.bench.report.document import (
    Report,
    ReportFact,
    ReportJob,
    ReportMetric,
    ReportSample,
    ReportTarget,
)
from gpumod.bench.report.provenance import facts, left_out, not_measured, sent
from gpumod.bench.report.quantities import within
from gpumod.bench.report.shapes import shape_of
from gpumod.bench.report.texts import jsonable, plain
from gpumod.core.job import JobState

if TYPE_CHECKING:
    from pydantic import JsonValue

    from gpumod.core.job import JobRecord, JobRequest, Metric, Result, Sample


def build(job: JobRecord, results: Iterable[Result], samples: Iterable[Sample]) -> Report:
    """The report of a job, whether it has ended or not.

    Args:
        job: the job.
        results: those of the job, in any order.
        samples: those of the job, in the order of their ends.
    """
    by_target = {one.target: one for one in results if one.job == job.id}
    taken: dict[str, list[Sample]] = {}
    for sample in samples:
        taken.setdefault(sample.target, []).append(sample)
    names = dict.fromkeys([*job.request.targets, *by_target, *taken])
    return Report(
        job=_job(job),
        warnings=_warnings(job),
        reproduce=command(job.request),
        targets=[_target(job.request, name, by_target.get(name), taken.get(name, [])) for name in names],
    )


def command(request: JobRequest) -> str:
    """What submits the same job again. When it may begin is left out: it is of that day."""
    words = ["gpumodctl", "job", "submit"]
    for name, value in _object(redacted(request.parameters)).items():
        words += ["--param", f"{plain(name)}={_parameter(value)}"]
    if request.label:
        words.append(f"--label={plain(request.label)}")
    names = [plain(one) for one in (request.suite, *request.targets)]
    words += ["--", *names] if any(one.startswith("-") for one in names) else names
    return shlex.join(words)


def _parameter(value: JsonValue) -> str:
    """As `--param` reads it: JSON, or a text that is not JSON."""
    if isinstance(value, str) and value == plain(value, len(value)):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _job(job: JobRecord) -> ReportJob:
    request = job.request
    return ReportJob(
        id=_text(job.id),
        state=job.state.value,
        reason=_text(job.reason),
        label=_text(request.label),
        by=_text(request.by),
        suite=_text(request.suite),
        targets=[_text(one) for one in request.targets],
        parameters=_object(redacted(request.parameters)),
        attempt=job.attempt,
        created=within(job.created, None) or 0.0,
        started=within(job.started, None),
        ended=within(job.ended, None),
        schedule=job.schedule,
    )


def _warnings(job: JobRecord) -> list[str]:
    if job.state is JobState.DONE:
        return []
    why = f": {plain(job.reason)}" if job.reason else ""
    if job.state.ended:
        return (
            [f"the job {job.state.value}{why}"]
            if job.state is JobState.FAILED
            else [f"the job was cancelled{why}"]
        )
    return [f"the job has not ended, it is {job.state.value}: what follows is what there is so far"]


def _target(request: JobRequest, name: str, result: Result | None, samples: Sequence[Sample]) -> ReportTarget:
    outcomes = Counter(one.outcome.value for one in samples) if result is None else Counter(result.outcomes)
    provenance = _object(redacted(result.provenance)) if result else {}
    told = [*facts(result), *sent(samples)] if result else sent(samples)
    return ReportTarget(
        target=_text(name),
        complete=result is not None,
        suite_version=_text(result.suite_version) if result else "",
        suite_hash=_text(result.suite_hash) if result else "",
        parameters=_object(redacted(result.parameters if result else request.parameters)),
        started=within(result.started, None) if result else None,
        ended=within(result.ended, None) if result else None,
        integrity=[plain(one, 2000) for one in result.integrity] if result else [],
        notes=_notes(result, samples, outcomes),
        metrics=[_metric(result.suite, one) for one in result.metrics] if result else [],
        outcomes={
            _text(key): outcomes[key] for key in sorted(outcomes, key=lambda key: (-outcomes[key], key))
        },
        facts=[ReportFact(name=plain(key), value=plain(value, 8000)) for key, value in told],
        provenance=provenance,
        samples=[_sample(one) for one in samples],
    )


def _notes(result: Result | None, samples: Sequence[Sample], outcomes: Mapping[str, int]) -> list[str]:
    found = []
    if result is None:
        found.append(f"no result was kept for this target; it has {len(samples)} samples")
    elif sum(outcomes.values()) != len(samples):
        found.append(
            f"the numbers are from {sum(outcomes.values())} samples, and {len(samples)} are kept: "
            "the job was repeated since, or its samples were deleted"
        )
    if ignored := left_out(samples):
        found.append(f"the engine cannot be told {', '.join(ignored)}: these settings were not sent")
    return [*found, *(f"left out: {sentence}" for sentence in not_measured(samples))]


def _metric(suite: str, metric: Metric) -> ReportMetric:
    formula, _, setting = metric.formula.partition(AT)
    scale = shape_of(suite).scale(formula, metric.unit)
    return ReportMetric(
        formula=_text(formula),
        setting=_text(setting),
        value=within(metric.value, None),
        unit=_text(metric.unit),
        low=within(metric.low, scale),
        high=within(metric.high, scale),
        count=metric.count,
        larger_is_better=metric.larger_is_better,
        definition=definitions().get(formula, ""),
        by_case={_text(case): within(value, None) for case, value in metric.by_case.items()},
    )


@cache
def definitions() -> Mapping[str, str]:
    """What the formulas of all suites are, by their ids."""
    from gpumod.bench.formulas_page import formulas

    return {one.id: one.definition for those in formulas().values() for one in those}


def _sample(sample: Sample) -> ReportSample:
    return ReportSample(
        case=_text(sample.case),
        outcome=sample.outcome.value,
        score=within(sample.score, None),
        numbers={_text(key): within(value, None) for key, value in sample.numbers.items()},
        details=_object(redacted(sample.details)),
        at=within(sample.at, None) or 0.0,
        seconds=max(0.0, within(sample.seconds, None) or 0.0),
    )


def _text(text: str) -> str:
    return str(jsonable(text))


def _object(value: object) -> dict[str, JsonValue]:
    found = jsonable(value)
    return found if isinstance(found, dict) else {}
