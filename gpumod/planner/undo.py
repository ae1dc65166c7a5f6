"""Taking a plan back, and the way out that always exists: blank."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gpumod.core.facts import Facts, RunningService
from gpumod.core.plan import Plan, StartOrder, Step, StepKind
from gpumod.planner.diff import by_id, is_there, was_at_work
from gpumod.planner.order import Start, Work, make_steps, needs_resuming, starts_alone


def backing_for(leaving: Iterable[RunningService]) -> tuple[StartOrder, ...]:
    """How to put back what a plan stops: where it ran, as it ran."""
    return tuple(
        StartOrder(record.spec, record.cards, record.launch.port, record.footprint, record.launch)
        for one in by_id(leaving)
        if was_at_work(one) and (record := one.record).launch is not None and record.footprint is not None
    )


def unplan(plan: Plan, done: Collection[int], facts: Facts) -> tuple[Step, ...]:
    """The steps that take back a plan of which some steps are done.

    What the plan started is stopped, half started or not; its memory is proven free; what the plan stopped
    is started again from `plan.backing`. What was closed and not signalled yet is opened again. There is
    no commit: the former state is what the journal still has.

    Args:
        plan: the plan that failed.
        done: indexes of its steps that were done.
        facts: what is there now; a step that began and was not done shows in them.
    """
    present = {one.record.id: one for one in facts.services if is_there(one)}
    stopped = {step.service for step in plan.steps if step.kind is StepKind.STOP and step.index in done}
    former = {order.spec.id: order for order in plan.backing}
    # Of a service that is both stopped and started, what is there is new once its stop is done.
    new = {name for name in plan.starts if name in present and (name in stopped or name not in plan.stops)}
    there = {name for name in former if name in present and name not in new}
    intact = {name for name in there if was_at_work(present[name])}
    return make_steps(
        Work(
            facts,
            stops=by_id(present[name] for name in new | there - intact),
            starts=tuple(
                Start(order, alone=starts_alone(facts, name))
                for name, order in sorted(former.items())
                if name not in intact
            ),
            resumes=by_id(present[name] for name in intact if needs_resuming(present[name])),
        )
    )


def plan_blank(facts: Facts) -> tuple[Step, ...]:
    """The steps that stop everything of ours; possible whatever the cards and the driver say.

    Memory is proven free on the cards that can still be asked. There is no commit.
    """
    return make_steps(Work(facts, stops=by_id(one for one in facts.services if is_there(one))))
