"""Waiting for a job: told as it goes on, answered with how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final

from gpumod.cli.job_view import job_blocks, job_phrase, progress_phrase, unmeasured
from gpumod.cli.outcome import ExitCode, print_json, printable, say
from gpumod.cli.screen import terminal_width
from gpumod.cli.session import Session
from gpumod.client.calls import encode
from gpumod.client.job_calls import Job
from gpumod.core.errors import GpumodError, TimedOutError, UnreachableError
from gpumod.core.job import JobState, Result
from gpumod.core.units import format_duration

_LOOK: Final = 0.25
"""Seconds between two looks at a running job, at first; jobs take minutes, so looks become rarer."""
_SELDOM: Final = 2.0
_LOST: Final = 20.0
"""Seconds that a daemon may be away while a job is waited for: it takes the job up when it is back."""


def follow_job(session: Session, job: Job, timeout: float | None) -> ExitCode:
    """Wait for a job and answer with what it found out.

    Raises:
        TimedOutError: the time to wait is over; the job goes on.
        UnreachableError: the daemon went away and did not come back.
        GpumodError: the job failed or was cancelled.
    """
    ended = wait_for(session, job, timeout)
    if ended is None:
        return ExitCode.INTERRUPTED
    results = session.client.results(ended.id)
    samples = () if session.json else session.client.samples(ended.id)
    session.emit({"job": ended, "results": results}, job_blocks(ended, results, samples))
    return measured_code(results)


def measured_code(results: Sequence[Result]) -> ExitCode:
    """How a job that is done counts: one that found out nothing about a target has failed, and says so."""
    targets = unmeasured(results)
    if targets:
        say(f"gpumodctl: no case of {', '.join(targets)} was answered by the model")
    return ExitCode.FAILED if targets else ExitCode.DONE


def wait_for(session: Session, job: Job, timeout: float | None) -> Job | None:
    """Wait until a job is done; None after Ctrl-C, which has been answered then.

    Raises:
        TimedOutError: the time to wait is over; the job goes on.
        UnreachableError: the daemon went away and did not come back.
        GpumodError: the job failed or was cancelled.
    """
    watch = Watch(session, job)
    try:
        job = watch.until_ended(timeout)
    except KeyboardInterrupt:
        _left_running(session, watch.job)
        return None
    if job.state is not JobState.DONE:
        reason = job.reason or "no reason was recorded"
        how = "failed" if job.state is JobState.FAILED else "was cancelled"
        raise GpumodError(f"job {job.id} {how}: {reason}", {"job": encode(job)})
    return job


class Watch:
    """A job that is watched until it ends. `job` is how it was last seen."""

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._told = ""
        self._live = sys.stderr.isatty()
        self._away_since: float | None = None
        self.job = job

    def until_ended(self, timeout: float | None) -> Job:
        """Wait, and tell of progress on stderr.

        Raises:
            TimedOutError: the time to wait is over; the job goes on.
            UnreachableError: the daemon went away and did not come back.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _LOOK
        try:
            self._tell()
            while not self.job.state.ended:
                left = pause if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise self._still_going(timeout or 0.0)
                time.sleep(min(left, pause))
                pause = min(_SELDOM, pause * 1.2)
                self._look()
                self._tell()
        finally:
            if self._live and self._told:
                sys.stderr.write("\n")
        return self.job

    def _still_going(self, timeout: float) -> TimedOutError:
        return TimedOutError(
            f"job {self.job.id} has not ended after {format_duration(timeout)} and goes on; "
            f"`gpumodctl job show {self.job.id}` tells how it stands",
            {"job": encode(self.job)},
        )

    def _look(self) -> None:
        """Ask once. The daemon may be away for a while: it takes the job up when it is back."""
        try:
            self.job = self._session.client.job(self.job.id)
            self._away_since = None
        except UnreachableError as error:
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > _LOST:
                raise UnreachableError(
                    f"the daemon went away while job {self.job.id} was waited for, and is not back after "
                    f"{_LOST:g} s; it takes the job up when it is started again ({error.detail})",
                    {"job": encode(self.job)},
                ) from error

    def _tell(self) -> None:
        """A line on stderr when something has changed; on a terminal, one line that changes."""
        if self._session.json:
            return
        told = f"{job_phrase(self.job)}: {progress_phrase(self.job)}"
        if not self._live:
            # The time to go would be news at each look.
            told = told.partition(", about ")[0]
        if told == self._told:
            return
        self._told = told
        if self._live:
            # A line that is wrapped could not be written over.
            sys.stderr.write(f"\r\x1b[K{printable(told)[: terminal_width() - 1]}")
            sys.stderr.flush()
        else:
            say(told)


def _left_running(session: Session, job: Job) -> None:
    """Tell that a job goes on although nobody waits for it any more."""
    if session.json:
        print_json(encode(job))
    say(
        f"gpumodctl: no longer waiting; job {job.id} goes on. `gpumodctl job show {job.id}` tells how it "
        f"stands, `gpumodctl job cancel {job.id}` ends it."
    )
