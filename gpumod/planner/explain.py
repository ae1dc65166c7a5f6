"""A plan or its refusal in plain text, for people."""

from __future__ import annotations

from collections.abc import Iterable

from gpumod.core.plan import CardBudget, Plan, Refusal, Refused, StartOrder, StepKind
from gpumod.core.units import format_size


def explain(decision: Plan | Refused) -> tuple[str, ...]:
    """What would happen and what each card has before and after, or every reason why not."""
    lines = _refused(decision) if isinstance(decision, Refused) else _planned(decision)
    return tuple(lines)


def _refused(refused: Refused) -> Iterable[str]:
    count = len(refused.reasons)
    yield f"mode {refused.target.mode}: refused, for {count} reason{'s' * (count != 1)}"
    for reason in refused.reasons:
        yield f"  {refusal_words(reason)}"


def refusal_words(reason: Refusal) -> str:
    """A refusal in one line: its code, its sentence, and what would fit."""
    would_fit = f" ({reason.would_fit})" if reason.would_fit else ""
    return f"{reason.code}: {reason.detail}{would_fit}"


def _planned(plan: Plan) -> Iterable[str]:
    if plan.empty:
        yield f"mode {plan.target.mode}: nothing to do, the box already is as asked"
        return
    yield f"mode {plan.target.mode}:"
    yield from (f"  keep    {name}" for name in plan.keeps)
    yield from (f"  stop    {name}" for name in plan.stops if name not in plan.starts)
    for order in (step.order for step in plan.steps if step.kind is StepKind.START):
        if order is not None:
            yield _start(plan, order)
    yield from _cards(plan)
    yield "steps:"
    for step in plan.steps:
        after = f"  (after {', '.join(str(index + 1) for index in step.after)})" if step.after else ""
        yield f"  {step.index + 1:>2}. {step.phrase}{after}"
    yield from (f"warning: {sentence}" for sentence in plan.warnings)


def _start(plan: Plan, order: StartOrder) -> str:
    name = order.spec.id
    verb = "move" if name in plan.moves else "restart" if name in plan.stops else "start"
    sizes = zip(order.footprint.cards, order.cards, strict=True)
    where = ", ".join(f"{format_size(size)} on {card}" for size, card in sizes) or "no card"
    return f"  {verb:<7} {name}: {where} ({order.footprint.source})"


def _cards(plan: Plan) -> Iterable[str]:
    if plan.after:
        yield "cards:"
    before = {budget.card: budget for budget in plan.before}
    for budget in plan.after:
        yield f"  {budget.card}: {_budget(before.get(budget.card), budget)}"


def _budget(before: CardBudget | None, after: CardBudget) -> str:
    was = f"{format_size(before.charged)} -> " if before is not None else ""
    return (
        f"charged {was}{format_size(after.charged)} of {format_size(after.total)}, "
        f"foreign {format_size(after.foreign)}, left {format_size(after.available)}"
    )
