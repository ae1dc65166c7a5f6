"""Waiting for a switch: shown step by step while it runs, told as it ended."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Self

from gpumod.cli.layout import lay_out, line
from gpumod.cli.outcome import ExitCode, print_json, say
from gpumod.cli.status_view import step_phrase, step_time, switch_blocks
from gpumod.client.calls import encode
from gpumod.core.errors import (
    CancelledSwitchError,
    GpumodError,
    MemoryHeldError,
    StartFailedError,
    StopFailedError,
    TimedOutError,
    UnreachableError,
)
from gpumod.core.plan import StepKind
from gpumod.core.switch import StepRecord, StepState, SwitchRecord, SwitchState
from gpumod.core.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from rich.live import Live

    from gpumod.cli.session import Session

_LOOK: Final = 0.25
"""Seconds that one question about a running switch waits for its end; also how often its steps are shown."""
_BRIEF: Final = 1.0
"""Seconds that a step may run before a line says so; its end is always told."""
_LOST: Final = 20.0
"""Seconds that a daemon may be away while a switch is waited for: it takes the switch up when it is back."""

_PERHAPS: Final = "`gpumodctl status` tells whether the switch has begun"

_FAILURES: Final[Mapping[StepKind, type[GpumodError]]] = {
    StepKind.STOP: StopFailedError,
    StepKind.RELEASE: MemoryHeldError,
    StepKind.START: StartFailedError,
    StepKind.READY: StartFailedError,
}


class PlainProgress(AbstractContextManager["PlainProgress"]):
    """A line on stderr for every step that begins or ends."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], StepState] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, record: SwitchRecord) -> None:
        """Tell what has changed since the last look."""
        for step in record.steps:
            key = (step.phase, step.index)
            if step.state is self._seen.get(key, StepState.PLANNED) or _is_brief(step):
                continue
            self._seen[key] = step.state
            shown = encode(step)
            took = f", {step_time(shown, time.time())}" if step.started and step.ended else ""
            detail = f": {step.detail}" if step.detail and step.ended is not None else ""
            say(f"{step_phrase(shown)} - {step.state}{took}{detail}")


def _is_brief(step: StepRecord) -> bool:
    """Whether a step began only just now: most end before anybody can read that they run."""
    return step.state is StepState.RUNNING and time.time() - (step.started or 0.0) < _BRIEF


class LiveProgress(AbstractContextManager["LiveProgress"]):
    """All steps with their times, redrawn in place on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live: Live = Live(console=self._console, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, record: SwitchRecord) -> None:
        """Draw the switch as it is now."""
        from rich.console import Group

        from gpumod.cli.screen import styled

        lines = lay_out(switch_blocks(encode(record), time.time()), self._console.width)
        self._live.update(Group(*(styled(line) for line in lines)))


class NoProgress(AbstractContextManager["NoProgress"]):
    """For programs, which read the answer only."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, record: SwitchRecord) -> None:
        """Say nothing."""


Progress = PlainProgress | LiveProgress | NoProgress


def _progress(session: Session) -> Progress:
    if session.json:
        return NoProgress()
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def carry_out(
    session: Session, begin: Callable[[], SwitchRecord], *, wait: bool, timeout: float | None
) -> ExitCode:
    """Begin a switch, wait for it, and answer with how it ended.

    Raises:
        TimedOutError: the time to wait is over; the switch goes on.
        GpumodError: the switch did not begin, or did not reach its target.
    """
    record = _begun(begin)
    if not wait and not record.state.ended:
        begun = "joined" if record.joined else "begun"
        return session.emit(record, [line(f"switch {record.id} {begun}: {record.request.phrase}")])
    followed = _Followed(session, record)
    try:
        record = followed.until_ended(timeout)
    except KeyboardInterrupt:
        return left_running(session, followed.record)
    if record.state is not SwitchState.COMMITTED:
        raise _failure(record)
    return session.emit(record, [line(_success(record))])


def _begun(begin: Callable[[], SwitchRecord]) -> SwitchRecord:
    """Begin; who gives up before the answer is there cannot know whether it has begun."""
    try:
        return begin()
    except TimedOutError as error:
        raise TimedOutError(f"{error.detail}; {_PERHAPS}", error.facts) from error
    except KeyboardInterrupt:
        say(f"gpumodctl: {_PERHAPS}")
        raise


class _Followed:
    """A switch that is watched until it ends. `record` is how it was last seen."""

    def __init__(self, session: Session, record: SwitchRecord) -> None:
        self._session = session
        self._away_since: float | None = None
        self.record = record

    def until_ended(self, timeout: float | None) -> SwitchRecord:
        deadline = None if timeout is None else time.monotonic() + timeout
        with _progress(self._session) as progress:
            progress.update(self.record)
            while not self.record.state.ended:
                left = _LOOK if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise self._still_running(timeout or 0.0)
                self._look(min(left, _LOOK))
                progress.update(self.record)
        return self.record

    def _look(self, wait: float) -> None:
        """Ask once. The daemon may be away for a while: it takes the switch up when it is back."""
        try:
            self.record = self._session.client.switch_record(self.record.id, wait=wait)
            self._away_since = None
        except UnreachableError as error:
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > _LOST:
                raise UnreachableError(
                    f"the daemon went away while switch {self.record.id} ran, and is not back after "
                    f"{_LOST:g} s; it takes the switch up when it is started again ({error.detail})",
                    {"switch": encode(self.record)},
                ) from error
            time.sleep(wait)

    def _still_running(self, timeout: float) -> TimedOutError:
        return TimedOutError(
            f"switch {self.record.id} has not ended after {format_duration(timeout)} and goes on; "
            f"`gpumodctl switches show {self.record.id}` tells how it stands",
            {"switch": encode(self.record)},
        )


def follow(session: Session, record: SwitchRecord, timeout: float | None) -> SwitchRecord:
    """The record of a switch when it has ended.

    Raises:
        TimedOutError: the time to wait is over; the switch goes on.
    """
    return _Followed(session, record).until_ended(timeout)


def left_running(session: Session, record: SwitchRecord) -> ExitCode:
    """Tell that a switch goes on although nobody waits for it any more."""
    if session.json:
        print_json(encode(record))
    say(
        f"gpumodctl: no longer waiting; switch {record.id} goes on. "
        f"`gpumodctl switches show {record.id}` tells how it stands, "
        f"`gpumodctl switches cancel {record.id}` undoes it."
    )
    return ExitCode.INTERRUPTED


def _success(record: SwitchRecord) -> str:
    took = format_duration((record.ended or record.started) - record.started)
    if not record.steps:
        why = record.reason.removeprefix("nothing to do: ") or "the box is already there"
        return f"{record.request.phrase}: nothing to do, {why}"
    done = f"in mode {record.target}" if record.request.mode else record.request.phrase + ": done"
    return f"{done} after {took} (switch {record.id})"


def _failure(record: SwitchRecord) -> GpumodError:
    """The error of a switch that ended elsewhere than it should, by the step that failed first."""
    failed = next((step for step in record.steps if step.state is StepState.FAILED), None)
    kind = _FAILURES.get(failed.kind, GpumodError) if failed else CancelledSwitchError
    how = "was rolled back" if record.state is SwitchState.ROLLED_BACK else "failed"
    reason = record.reason or (failed.detail if failed else "") or "no reason was recorded"
    facts: dict[str, Any] = {"switch": encode(record), "left": record.left}
    left = f". The box was left: {record.left}" if record.left else ""
    return kind(f"{record.request.phrase} {how} (switch {record.id}): {reason}{left}", facts)
