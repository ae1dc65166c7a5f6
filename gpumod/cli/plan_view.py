"""A plan for people: what changes, the steps, and the budgets before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.cli.layout import Block, Cell, Column, Row, Table, Text, line
from gpumod.cli.outcome import short_cards
from gpumod.cli.status_view import labelled
from gpumod.core.plan import CardBudget, Plan, Step, StepKind
from gpumod.core.units import format_size

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def plan_blocks(plan: Plan, said: Collection[str] = ()) -> list[Block]:
    """The whole plan, without the warnings that were said already."""
    blocks: list[Block] = []
    if plan.empty:
        blocks.append(line("nothing to do: the box is already there", "good"))
    changes = (("keep", plan.keeps), ("move", plan.moves), ("stop", plan.stops), ("start", plan.starts))
    blocks += [labelled(label, Cell(", ".join(names))) for label, names in changes if names]
    blocks += [labelled("warning", Cell(warning, "warn")) for warning in plan.warnings if warning not in said]
    if plan.steps:
        blocks += [Text(()), line("STEPS", "head"), _steps(plan.steps)]
    if plan.after:
        blocks += [Text(()), line("BUDGETS", "head"), _budgets(plan.before, plan.after)]
    return blocks


def _steps(steps: Sequence[Step]) -> Table:
    columns = (Column("", right=True), Column("step", shrinks=True), Column("after"))
    rows = tuple(
        Row((Cell(str(step.index)), Cell(short_cards(step.phrase) + _detail(step)), Cell(_after(step))))
        for step in steps
    )
    return Table(columns, rows)


def _after(step: Step) -> str:
    return ", ".join(str(index) for index in step.after)


def _detail(step: Step) -> str:
    """What a step needs, in numbers."""
    if step.kind is StepKind.RELEASE and step.need:
        return f" ({', '.join(format_size(size) for size in step.need)})"
    if step.kind is StepKind.START and step.order:
        order = step.order
        places = ", ".join(
            f"{short_cards(card)}: {format_size(size)}"
            for card, size in zip(order.cards, order.footprint.cards, strict=False)
        )
        return f" on {places} ({order.footprint.source}), port {order.port}"
    return ""


def _budgets(before: Sequence[CardBudget], after: Sequence[CardBudget]) -> Table:
    columns = tuple(
        Column(title, right=title != "card") for title in ("card", "total", "foreign", "ours", "available")
    )
    former = {budget.card: budget for budget in before}
    return Table(columns, tuple(_budget(former.get(budget.card, budget), budget) for budget in after))


def _budget(before: CardBudget, after: CardBudget) -> Row:
    return Row(
        (
            Cell(short_cards(after.card)),
            Cell(format_size(after.total)),
            Cell(format_size(after.foreign)),
            Cell(_change(before.charged, after.charged)),
            Cell(_change(before.available, after.available)),
        )
    )


def _change(before: int, after: int) -> str:
    return format_size(after) if before == after else f"{format_size(before)} -> {format_size(after)}"
