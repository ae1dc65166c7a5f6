"""Runs the steps of a plan: as parallel as the plan allows, each journaled before it acts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpumod.core.errors import CancelledSwitchError, GpumodError, StoreError
from gpumod.core.events import EventKind
from gpumod.core.plan import Step, StepKind
from gpumod.core.switch import Phase, StepRecord, StepState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gpumod.core.names import SwitchId
    from gpumod.core.ports import Clock, Events, Store

_log = logging.getLogger(__name__)
_INTERRUPTIBLE = frozenset({StepKind.DRAIN, StepKind.RELEASE, StepKind.READY})
"""Steps that only wait. The others are short or must not be left half done."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of running steps. `error` is the first failure, in the order they happened."""

    done: frozenset[int]
    error: GpumodError | None = None
    failed: Step | None = None

    @property
    def ok(self) -> bool:
        """Whether every step was done."""
        return self.error is None


class StepBook:
    """The journal of one switch: its step records, in memory and on disk."""

    def __init__(self, store: Store, events: Events, clock: Clock, switch: SwitchId) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._switch = switch
        self._records: dict[tuple[Phase, int], StepRecord] = {}

    @property
    def records(self) -> tuple[StepRecord, ...]:
        """All steps, in the order they were planned."""
        return tuple(self._records.values())

    def plan(self, phase: Phase, steps: Sequence[Step]) -> tuple[StepRecord, ...]:
        """Add steps as planned."""
        added = tuple(
            StepRecord(phase, step.index, step.kind, step.phrase, step.service, cards=step.cards)
            for step in steps
        )
        self._records.update({(phase, record.index): record for record in added})
        return added

    async def begin(self, phase: Phase, step: Step) -> None:
        """Write that a step is about to act.

        Raises:
            StoreError: it could not be written, so it must not act.
        """
        await self._write(phase, step, state=StepState.RUNNING, started=self._clock.now())

    async def end(self, phase: Phase, step: Step, state: StepState, detail: str) -> None:
        """Write how a step ended."""
        await self._write(phase, step, state=state, ended=self._clock.now(), detail=detail)

    async def _write(self, phase: Phase, step: Step, **fields: object) -> None:
        record = replace(self._records[phase, step.index], **fields)  # type: ignore[arg-type]
        self._records[phase, step.index] = record
        await self._store.write_step(self._switch, record)
        self._events.publish(
            EventKind.STEP,
            self._switch,
            f"{record.phrase}: {record.state}" + (f" ({record.detail})" if record.detail else ""),
            phase=record.phase.value,
            index=record.index,
            step=record.kind.value,
            service=record.service,
            state=record.state.value,
            seconds=record.seconds,
            detail=record.detail,
        )


class Executor:
    """Runs one phase of a switch. `act` does a step and answers with a sentence."""

    def __init__(self, act: Callable[[Step], Awaitable[str]], book: StepBook) -> None:
        self._act = act
        self._book = book
        self._stop: GpumodError | None = None
        self._wake = asyncio.Event()

    def interrupt(self, reason: CancelledSwitchError) -> None:
        """Begin no further step and give up waiting ones."""
        self._stop = self._stop or reason
        self._wake.set()

    @property
    def stopped(self) -> GpumodError | None:
        """Why it has begun to give up, if it has."""
        return self._stop

    @property
    def interrupted(self) -> bool:
        """Whether it has begun to give up."""
        return self._stop is not None

    async def run(self, phase: Phase, steps: Sequence[Step]) -> Outcome:
        """Run steps until all are done or one has failed.

        On a failure no further step begins, waiting steps are given up, and acting steps (a stop,
        a start) are let finish: what they did is then known.
        """
        waiting = {step.index: step for step in steps}
        done: set[int] = set()
        tasks: dict[asyncio.Task[str], Step] = {}
        failed: Step | None = None
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            while True:
                if self._stop is None:
                    for step in [one for one in waiting.values() if done.issuperset(one.after)]:
                        del waiting[step.index]
                        tasks[asyncio.create_task(self._step(phase, step), name=step.phrase)] = step
                else:
                    self._give_up_waiting(tasks)
                if not tasks:
                    break
                watched = {*tasks, wake} if self._stop is None else set(tasks)
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in [one for one in tasks if one.done()]:
                    step = tasks.pop(task)
                    error = _error_of(task, step)
                    if error is None:
                        done.add(step.index)
                    elif self._stop is None:
                        self._stop, failed = error, step
        finally:
            wake.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(wake, *tasks, return_exceptions=True)
        if waiting and self._stop is None:
            self._stop = GpumodError("defect in gpumod: the plan's steps wait for each other")
        await self._skip(phase, tuple(waiting.values()))
        return Outcome(frozenset(done), self._stop, failed)

    async def _step(self, phase: Phase, step: Step) -> str:
        await self._book.begin(phase, step)
        try:
            detail = await self._act(step)
        except asyncio.CancelledError:
            await asyncio.shield(self._book.end(phase, step, StepState.FAILED, "given up"))
            raise
        except GpumodError as error:
            await self._book.end(phase, step, StepState.FAILED, error.detail)
            raise
        except Exception as error:
            await self._book.end(phase, step, StepState.FAILED, f"defect: {error!r}")
            raise
        await self._book.end(phase, step, StepState.DONE, detail)
        return detail

    @staticmethod
    def _give_up_waiting(tasks: dict[asyncio.Task[str], Step]) -> None:
        for task, step in tasks.items():
            if step.kind in _INTERRUPTIBLE and not task.cancelling():
                task.cancel()

    async def _skip(self, phase: Phase, steps: Sequence[Step]) -> None:
        """Journal what was not begun; a journal that cannot be written loses nothing by that."""
        with contextlib.suppress(StoreError):
            for step in steps:
                await self._book.end(phase, step, StepState.SKIPPED, "")


def _error_of(task: asyncio.Task[str], step: Step) -> GpumodError | None:
    if task.cancelled():
        return CancelledSwitchError(f"{step.phrase}: given up")
    error = task.exception()
    if error is None or isinstance(error, GpumodError):
        return error
    _log.error("defect in step %s", step.phrase, exc_info=error)
    return GpumodError(f"{step.phrase}: defect in gpumod: {error!r}")
