"""`job submit|list|show|cancel|retry|logs`: benchmarks that wait for their turn."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Annotated

import typer

from gpumod.cli import job_options
from gpumod.cli.command import command, group
from gpumod.cli.commands import schedules
from gpumod.cli.job_arguments import (
    After,
    BeginWindow,
    JobName,
    NotBefore,
    Param,
    Targets,
    Timeout,
    Timezone,
    Wait,
)
from gpumod.cli.job_progress import follow_job
from gpumod.cli.job_view import job_blocks, job_phrase, jobs_blocks, progress_phrase, sample_line
from gpumod.cli.layout import line
from gpumod.cli.outcome import ExitCode, printable, say
from gpumod.cli.session import Session
from gpumod.client.job_calls import Job, Work
from gpumod.core.job import JobState

_Dedupe = Annotated[
    bool, typer.Option("--dedupe", help="If the same job is queued or running already, take that one.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    jobs = group("Benchmark jobs: queued, run one at a time, and the box is put back afterwards.")
    command(jobs, "submit")(submit)
    command(jobs, "list")(list_jobs)
    command(jobs, "show")(show_job)
    command(jobs, "cancel")(cancel_job)
    command(jobs, "retry")(retry_job)
    command(jobs, "logs")(job_logs)
    schedules.add_to(jobs)
    app.add_typer(jobs, name="job")


def submit(
    session: Session,
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="What to measure, for example speed.")],
    targets: Targets,
    param: Param = None,
    priority: Annotated[int, typer.Option(help="Larger ones run first.")] = 0,
    after: After = None,
    not_before: NotBefore = None,
    window: BeginWindow = None,
    timezone: Timezone = "UTC",
    label: Annotated[str, typer.Option(help="A name for people.")] = "",
    dedupe: _Dedupe = False,
    wait: Wait = False,
    timeout: Timeout = None,
) -> ExitCode:
    """Queue a benchmark of presets or modes."""
    work = Work(
        suite=suite,
        targets=targets,
        parameters=job_options.parameters(param or ()),
        priority=priority,
        window=job_options.window(window, timezone) if window is not None else None,
        label=label,
    )
    key = _key(work) if dedupe else ""
    before = _unended(session) if dedupe else frozenset()
    job = session.client.submit_job(work, after=after or (), not_before=not_before, dedupe=key)
    return _queued(session, job, wait=wait, timeout=timeout, known=job.id in before)


def _key(work: Work) -> str:
    """The same for the same suite, targets and parameters, in whatever order those were given."""
    same = json.dumps([work.suite, list(work.targets), work.parameters], sort_keys=True)
    return f"same-{hashlib.sha256(same.encode()).hexdigest()[:32]}"


def _unended(session: Session) -> frozenset[str]:
    """The jobs that a further one may be the same as."""
    return frozenset(job.id for job in session.client.jobs((JobState.QUEUED, JobState.RUNNING), limit=1000))


def _queued(
    session: Session, job: Job, *, wait: bool, timeout: float | None, known: bool = False
) -> ExitCode:
    if known and not session.json:
        say(f"gpumodctl: the same job is there already: no other one was queued, this is job {job.id}")
    if wait:
        return follow_job(session, job, timeout)
    return session.emit(job, [line(f"job {job.id} is {job.state}: {job_phrase(job)}")])


def list_jobs(
    session: Session,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", help="Only those in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
) -> ExitCode:
    """List the latest jobs, newest first."""
    found = session.client.jobs(state or (), limit=limit)
    return session.emit(found, jobs_blocks(found, time.time()))


def show_job(session: Session, job: JobName) -> ExitCode:
    """Show one job: how far it is, how long it still takes, what it found out."""
    found = session.client.job(job)
    results = session.client.results(job)
    samples = session.client.samples(job) if results and not session.json else ()
    return session.emit({"job": found, "results": results}, job_blocks(found, results, samples))


def cancel_job(session: Session, job: JobName) -> ExitCode:
    """Cancel a job. One that runs puts the box back first; one that has ended is left."""
    found = session.client.cancel_job(job)
    return session.emit(found, [line(f"job {found.id}: {progress_phrase(found)}")])


def retry_job(
    session: Session,
    job: JobName,
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Forget what it has measured, instead of going on from there.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
) -> ExitCode:
    """Queue an ended job again, from where it was."""
    return _queued(session, session.client.retry_job(job, afresh=afresh), wait=wait, timeout=timeout)


def job_logs(session: Session, job: JobName) -> ExitCode:
    """Show what a job has measured so far, case by case, oldest first."""
    samples = session.client.samples(job)
    if session.json:
        return session.emit(samples, ())
    for sample in samples:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(sample.at))
        sys.stdout.write(printable(f"{at}  {sample_line(sample)}") + "\n")
    return ExitCode.DONE
