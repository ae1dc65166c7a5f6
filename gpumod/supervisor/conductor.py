"""Conducts one switch: its steps, and what follows when one of them fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from gpumod.core.errors import CancelledSwitchError, GpumodError, StoreError
from gpumod.core.names import BLANK
from gpumod.core.plan import Plan, Step, StepKind
from gpumod.core.service import Desired
from gpumod.core.spec import OnFailure
from gpumod.core.switch import Phase, SwitchRecord, SwitchState
from gpumod.core.units import format_duration
from gpumod.planner.undo import plan_blank, unplan
from gpumod.supervisor.executor import Executor, Outcome, StepBook

if TYPE_CHECKING:
    from gpumod.core.ports import Events
    from gpumod.supervisor.hands import Hands
    from gpumod.supervisor.memory import BoxMemory
    from gpumod.supervisor.parts import Parts

_log = logging.getLogger(__name__)


class Conductor:
    """One switch from its first step to its end, journaled throughout."""

    def __init__(
        self, parts: Parts, events: Events, hands: Hands, memory: BoxMemory, record: SwitchRecord, plan: Plan
    ) -> None:
        self._parts = parts
        self._hands = hands
        self._memory = memory
        self._record = record
        self._plan = plan
        self._book = StepBook(parts.store, events, parts.clock, record.id)
        self._executor = Executor(self._act, self._book)
        self._phase = Phase.DO
        self._preempted = False
        self._committing = False
        self._book.plan(Phase.DO, plan.steps)

    @property
    def record(self) -> SwitchRecord:
        """The switch as it stands, with its steps."""
        return replace(self._record, steps=self._book.records)

    @property
    def leaving(self) -> bool:
        """Whether it no longer goes for its target: it was cancelled or is being undone."""
        return self._executor.interrupted or self._record.state is not SwitchState.RUNNING

    def join(self) -> None:
        """One more caller waits for the same end."""
        self._record = replace(self._record, joined=self._record.joined + 1)

    def cancel(self, reason: str, *, preempt: bool = False) -> None:
        """Stop going forward; undo, unless something else is about to clear the box anyway.

        What is being undone already goes on, and what is being cleared is what a pre-emption wants.
        """
        if self._phase is Phase.DO or (preempt and self._phase is Phase.UNDO):
            self._preempted = self._preempted or preempt
            self._executor.interrupt(CancelledSwitchError(reason))

    async def keep_cancel(self) -> None:
        """Write that it is being undone, so that a daemon that comes after this one does not finish it."""
        error = self._executor.stopped
        if error is None or self._committing or self._preempted or self._record.state.ended:
            return
        await self._update(state=SwitchState.UNDOING, reason=error.detail)

    async def run(self, deadline: float | None) -> SwitchRecord:
        """Run the switch to its end. Never raises: the record says how it ended."""
        timer = asyncio.create_task(self._watch_deadline(deadline))
        try:
            outcome = await self._executor.run(Phase.DO, self._plan.steps)
        finally:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)
        if self._record.state is SwitchState.COMMITTED:
            # Whatever came after the commit, a cancellation or a full disk, is too late to change it.
            self._memory.trouble = ""
        else:
            await self._undo_safely(outcome)
            await self._hands.loose_ends.tie()
        return self.record

    async def _undo_safely(self, outcome: Outcome) -> None:
        try:
            await self._after_failure(outcome)
        except Exception as error:  # noqa: BLE001 - a defect must not leave a switch that never ends
            _log.exception("defect while undoing switch %s", self._record.id)
            self._memory.trouble = f"undoing switch {self._record.id} failed: {error!r}"
            await self._end(SwitchState.FAILED, "unknown: a defect in gpumod", self._memory.trouble, None)

    async def _act(self, step: Step) -> str:
        if step.kind is StepKind.COMMIT:
            return await self._commit()
        return await self._hands.act(step)

    async def _commit(self) -> str:
        self._committing = True
        target = self._plan.target
        desired = Desired(target.mode, target.added, target.removed, self._parts.clock.now())
        await self._end(SwitchState.COMMITTED, f"in mode {target.mode}", "", desired)
        await self._hands.world.take_specs(target.services)
        await self._hands.world.take_charges(self._plan.charges)
        return f"mode {target.mode}"

    async def _watch_deadline(self, deadline: float | None) -> None:
        seconds = min(deadline or self._parts.bounds.switch, self._parts.bounds.switch)
        await self._parts.clock.sleep(seconds)
        self.cancel(f"not done within its deadline of {format_duration(seconds)}")

    async def _after_failure(self, outcome: Outcome) -> None:
        """Leave the box in a known state and say which (invariant 4)."""
        error = outcome.error or GpumodError("no reason given")
        reason = error.detail
        wish = self._record.request.on_failure or self._plan.target.on_failure
        if wish is OnFailure.RESTORE and not self._hands_off(error):
            undone = await self._undo(outcome, reason)
            if undone.ok:
                left = f"restored: in mode {self._record.source}"
                await self._end(SwitchState.ROLLED_BACK, left, reason, None)
                return
            error = undone.error or GpumodError("no reason given")
            reason = f"{reason}; restoring failed too: {error.detail}"
        if self._hands_off(error):
            why = "pre-empted" if self._preempted else error.detail
            await self._end(SwitchState.FAILED, f"as it is: {why}", reason, None)
        elif wish is OnFailure.KEEP:
            target = self._plan.target
            kept = Desired(target.mode, target.added, target.removed, self._parts.clock.now())
            await self._end(SwitchState.FAILED, f"as it is, in mode {target.mode}", reason, kept)
        else:
            await self._blank(reason)

    def _hands_off(self, error: GpumodError) -> bool:
        """Without a journal no further act is allowed; and who pre-empts clears the box anyway."""
        return self._preempted or isinstance(error, StoreError)

    async def _undo(self, outcome: Outcome, reason: str) -> Outcome:
        """Put back what the switch had changed."""
        self._phase = Phase.UNDO
        await self._update(state=SwitchState.UNDOING, reason=reason)
        facts = await self._hands.finder.now()
        return await self._run_steps(unplan(self._plan, outcome.done, facts))

    async def _blank(self, reason: str) -> None:
        """The last resort: nothing of ours runs."""
        self._phase = Phase.BLANK
        await self._update(state=SwitchState.UNDOING, reason=reason)
        facts = await self._hands.finder.now()
        cleared = await self._run_steps(plan_blank(facts))
        if cleared.ok:
            desired = Desired(BLANK, since=self._parts.clock.now())
            await self._end(SwitchState.FAILED, "blank: nothing of ours runs", reason, desired)
            return
        error = cleared.error or GpumodError("no reason given")
        await self._end(SwitchState.FAILED, f"unknown: {error.detail}", reason, None)

    async def _run_steps(self, steps: tuple[Step, ...]) -> Outcome:
        self._book.plan(self._phase, steps)
        steps = tuple(step for step in steps if step.kind is not StepKind.COMMIT)
        self._executor = Executor(self._act, self._book)
        if self._preempted and self._phase is Phase.UNDO:
            self._executor.interrupt(CancelledSwitchError("pre-empted"))
        return await self._executor.run(self._phase, steps)

    async def _update(self, **fields: object) -> None:
        self._record = replace(self._record, **fields)  # type: ignore[arg-type]
        with contextlib.suppress(StoreError):
            await self._parts.store.update_switch(self._record)

    async def _end(self, state: SwitchState, left: str, reason: str, desired: Desired | None) -> None:
        """Write the end. A failing disk keeps no end but a commit from being known in memory."""
        ended = replace(self._record, state=state, left=left, reason=reason, ended=self._parts.clock.now())
        try:
            if desired is None:
                await self._parts.store.update_switch(ended)
            else:
                await self._parts.store.commit_switch(ended, desired)
                self._memory.desired = desired
        except StoreError as error:
            if state is SwitchState.COMMITTED:
                raise
            _log.error("the end of switch %s could not be written: %s", ended.id, error.detail)
        self._record = ended
