"""Legs of a matrix: every suite on every target, each a job of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer

from gpumod.cli.job_options import parameters
from gpumod.cli.session import Session
from gpumod.client.job_calls import Job, Work
from gpumod.core.errors import ErrorCode, GpumodError, InvalidRequestError, NotFoundError
from gpumod.core.job import JobState

SUITES: Final = ("speed", "stress", "quality", "soak", "coding")
_QUICK: Final[Mapping[str, Mapping[str, object]]] = {
    "speed": {"repeats": 3, "depths": [512], "concurrency": [2]},
    "stress": {"context": 8192},
    "quality": {"packs": ["toolcall-15"]},
    "soak": {"sessions": 4},
    "coding": {"iterations": 3},
}


@dataclass(slots=True)
class Leg:
    """A suite on a target.

    Args:
        job: None where it could not be queued.
        refused: why it could not be.
    """

    suite: str
    target: str
    job: Job | None
    refused: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.suite} on {self.target}"

    @property
    def done(self) -> bool:
        """Whether it has a whole result."""
        return self.job is not None and self.job.state is JobState.DONE


@dataclass(frozen=True, slots=True)
class Plan:
    """What a matrix measures.

    Args:
        given: parameters by suite, in place of those of a full or quick run.
    """

    targets: Sequence[str]
    suites: Sequence[str]
    quick: bool
    given: Mapping[str, Mapping[str, object]]
    label: str

    def parameters(self, suite: str) -> dict[str, object]:
        """A suite's parameters."""
        return {**(_QUICK.get(suite, {}) if self.quick else {}), **self.given.get(suite, {})}


def suites_of(text: str) -> list[str]:
    """`speed,coding` as names.

    Raises:
        typer.BadParameter: there is none, or one twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} is no list of suites such as speed,coding")
    return names


def given_parameters(pairs: Iterable[str], suites: Sequence[str]) -> dict[str, dict[str, object]]:
    """`SUITE.NAME=VALUE` pairs by suite.

    Raises:
        typer.BadParameter: one is none, or its suite is not measured.
    """
    found: dict[str, dict[str, object]] = {}
    for name, value in parameters(pairs).items():
        suite, dot, key = name.partition(".")
        if not dot or not key or suite not in suites:
            raise typer.BadParameter(f"{name!r} is not SUITE.NAME of one of {', '.join(suites)}")
        found.setdefault(suite, {})[key] = value
    return found


def submit(session: Session, plan: Plan) -> list[Leg]:
    """Queue every leg: suite by suite, so that targets are measured close together.

    A leg waits for the target's leg before it: one that cannot be measured at all is not tried again.
    A suite that cannot run on this machine is left out, with the reason.

    Raises:
        GpumodError: a leg makes no sense; those that were queued are cancelled again.
    """
    legs: list[Leg] = []
    before: dict[str, str] = {}
    try:
        # One by one into the list: what was queued before an error is known.
        legs.extend(
            _leg(session, plan, suite, target, before) for suite in plan.suites for target in plan.targets
        )
    except GpumodError:
        for leg in legs:
            if leg.job is not None:
                session.client.cancel_job(leg.job.id)
        raise
    if not any(leg.job for leg in legs):
        raise InvalidRequestError("; ".join(dict.fromkeys(leg.refused for leg in legs)))
    return legs


def _leg(session: Session, plan: Plan, suite: str, target: str, before: dict[str, str]) -> Leg:
    work = Work(suite=suite, targets=[target], parameters=plan.parameters(suite), label=plan.label)
    after = [before[target]] if target in before else []
    try:
        job = session.client.submit_job(work, after=after)
    except GpumodError as error:
        if error.code is ErrorCode.INVALID_REQUEST and error.facts.get("suite") == suite:
            return Leg(suite, target, None, error.detail)
        raise
    before[target] = job.id
    return Leg(suite, target, job)


def collect(session: Session, label: str) -> list[Leg]:
    """The legs that were queued under a label, in the order of their queueing.

    Raises:
        NotFoundError: there is none.
    """
    jobs = [job for job in session.client.jobs((), limit=1000) if job.request.label == label]
    if not jobs:
        raise NotFoundError(f"no job has the label {label!r}")
    return [Leg(job.request.suite, target, job) for job in reversed(jobs) for target in job.request.targets]


def command_of(plan: Plan) -> str:
    """What measures the same again."""
    words: list[Any] = ["gpumodctl", "bench", "matrix", *plan.targets, "--suites", ",".join(plan.suites)]
    words += ["--quick"] if plan.quick else []
    for suite, values in plan.given.items():
        for name, value in values.items():
            words += ["-p", f"{suite}.{name}={_text(value)}"]
    return shlex.join(map(str, words))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
