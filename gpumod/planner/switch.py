"""The one function that decides: from facts and a target to a plan, or to every reason why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpumod.core.facts import Facts
from gpumod.core.footprint import Footprint
from gpumod.core.names import BLANK, CardId, ServiceId
from gpumod.core.plan import Plan, Refusal, RefusalCode, Refused, StartOrder, Step, StepKind, Target
from gpumod.core.service import Desired
from gpumod.core.spec import ServiceSpec
from gpumod.planner.budget import budgets, budgets_after
from gpumod.planner.cards import class_footprints, footprint_on
from gpumod.planner.checks import (
    active_leases,
    dependency_refusals,
    driver_refusals,
    lease_refusals,
    placeable,
    port_refusals,
    start_refusals,
    unkillable_refusals,
)
from gpumod.planner.diff import Diff, compare
from gpumod.planner.loading import LoadingOrder, host_refusals, order_loading
from gpumod.planner.nofit import NoRoom
from gpumod.planner.order import Start, Work, make_steps, needs_resuming, start_sequence, starts_alone
from gpumod.planner.packing import NODE_LIMIT, Nodes, SearchLimitError
from gpumod.planner.placement import Movable, Placement, Table, card_table, item_for, place
from gpumod.planner.recharge import new_charges, outgrown, recharged
from gpumod.planner.undo import backing_for
from gpumod.planner.warn import warnings_for


def plan_switch(facts: Facts, target: Target, *, node_limit: int = NODE_LIMIT) -> Plan | Refused:
    """What to do to reach a target, or everything that stands in the way.

    Equal inputs give equal answers, in whatever order their parts come. `facts.findings` has an entry for
    every service of the target.

    Args:
        facts: what is known now.
        target: what the box should be.
        node_limit: how many nodes the search for room may visit before it refuses with `search_limit`.
    """
    return _Planner(facts, target, node_limit).decide()


_NOWHERE = Placement({}, frozenset())


@dataclass(frozen=True, slots=True)
class _Room:
    """What the search for room came to: a placement, or refusals."""

    placement: Placement = _NOWHERE
    refusals: tuple[Refusal, ...] = ()


class _Planner:
    def __init__(self, facts: Facts, target: Target, node_limit: int) -> None:
        self._former = facts
        self._facts = recharged(facts, target)
        self._target = target
        self._limit = node_limit
        self._specs = {spec.id: spec for spec in target.services}

    def decide(self) -> Plan | Refused:
        facts, target = self._facts, self._target
        unmoved = compare(facts, target)
        unmoved = unmoved.moving(outgrown(facts, self._former, unmoved), target)
        reasons = driver_refusals(facts, target)
        room = _Room() if reasons else self._find_room(unmoved)
        moved = room.placement.moved
        diff = unmoved.moving(moved, target)
        orders = self._orders(diff, room.placement)
        reasons += start_refusals(facts, diff.starting)
        reasons += room.refusals
        reasons += host_refusals(facts, self._loading(diff, orders), diff.leaving_ids)
        reasons += port_refusals(facts, diff)
        reasons += dependency_refusals(target)
        reasons += unkillable_refusals(diff, facts.services)
        reasons += lease_refusals(facts, target, diff, moved)
        if reasons:
            return Refused(target, tuple(dict.fromkeys(reasons)))
        return self._plan(diff, orders, moved)

    # --- room -------------------------------------------------------------------------------------

    def _find_room(self, diff: Diff) -> _Room:
        """Room on the cards. Services that cannot be placed anyhow have refusals of their own."""
        table = card_table(self._facts)
        starting = tuple(spec for spec in diff.starting if placeable(self._facts, spec))
        items = tuple(item_for(self._facts, table, spec) for spec in starting)
        nodes = Nodes(self._limit)
        try:
            for movable in self._movable(table, diff):
                found = place(table, items, movable, diff.leaving_ids, nodes)
                if found is not None:
                    return _Room(found)
        except SearchLimitError:
            return _Room(refusals=(self._gave_up(starting),))
        return _Room(refusals=tuple(NoRoom(self._facts, table, starting, items, diff.leaving_ids).refusals()))

    def _movable(self, table: Table, diff: Diff) -> list[list[Movable]]:
        """Kept services that may move: first without those under a lease, then, to say so, with them."""
        leased = {name for lease in active_leases(self._facts, self._target) for name in lease.services}
        movable = [
            Movable(one, item_for(self._facts, table, spec))
            for one in diff.kept
            if not (spec := self._specs[one.record.id]).cards.exact
            and one.record.id not in self._target.stay
            and all(table.position(card) is not None for card in one.record.cards)
        ]
        free = [one for one in movable if one.item.id not in leased]
        return [free, movable] if len(free) < len(movable) else [free]

    def _gave_up(self, starting: tuple[ServiceSpec, ...]) -> Refusal:
        names = ", ".join(spec.id for spec in starting)
        detail = (
            f"the search for room for {names} was given up after {self._limit} steps without an answer; "
            "name the cards of some of them with cards:"
        )
        return Refusal(RefusalCode.SEARCH_LIMIT, detail)

    # --- starts -----------------------------------------------------------------------------------

    def _orders(self, diff: Diff, placement: Placement) -> tuple[StartOrder, ...]:
        orders = []
        for spec in diff.starting:
            cards = placement.cards.get(spec.id)
            footprint = self._footprint(spec, cards)
            if footprint is not None:
                divided = _divided(footprint, placement.splits.get(spec.id, ()))
                port = self._facts.findings[spec.id].port
                orders.append(StartOrder(spec, cards or (), port, divided))
        return tuple(orders)

    def _footprint(self, spec: ServiceSpec, cards: tuple[CardId, ...] | None) -> Footprint | None:
        if cards is not None:
            found = [self._facts.reading.card(card) for card in cards]
            return footprint_on(self._facts, spec, [card for card in found if card is not None])
        # Without a place only what it takes of the host can be judged.
        known = class_footprints(self._facts, spec)
        return replace(known[0][1], cards=()) if known else None

    def _loading(self, diff: Diff, orders: tuple[StartOrder, ...]) -> LoadingOrder:
        starts = start_sequence((Start(order) for order in orders), diff.leaving)
        still = [one for one in diff.kept if one.record.state.is_starting]
        return order_loading(self._facts, [start.order for start in starts], diff.leaving_ids, still)

    # --- the plan ---------------------------------------------------------------------------------

    def _plan(self, diff: Diff, orders: tuple[StartOrder, ...], moved: frozenset[ServiceId]) -> Plan:
        facts, target = self._facts, self._target
        resumes = tuple(one for one in diff.kept if needs_resuming(one))
        work = Work(
            facts,
            stops=diff.leaving,
            starts=tuple(Start(order, alone=starts_alone(facts, order.spec.id)) for order in orders),
            resumes=resumes,
            commit=bool(diff.leaving or orders or resumes) or not _is_desired(facts.desired, target),
        )
        steps = make_steps(work)
        return Plan(
            target=target,
            steps=steps,
            keeps=tuple(one.record.id for one in diff.kept),
            stops=_services(steps, StepKind.STOP),
            starts=_services(steps, StepKind.START),
            moves=tuple(sorted(moved)),
            before=budgets(facts),
            after=budgets_after(facts, diff.leaving_ids, orders),
            backing=backing_for(diff.leaving),
            charges=new_charges(self._former, diff),
            warnings=warnings_for(facts, target, diff, orders),
        )


def _divided(footprint: Footprint, split: tuple[int, ...]) -> Footprint:
    """The footprint with so many layers on each card, where that was chosen."""
    if footprint.spread is None or not split:
        return footprint
    return replace(footprint, cards=footprint.spread.cards(split), split=split)


def _services(steps: tuple[Step, ...], kind: StepKind) -> tuple[ServiceId, ...]:
    return tuple(step.service for step in steps if step.kind is kind and step.service is not None)


def _is_desired(desired: Desired | None, target: Target) -> bool:
    """Whether the journal already has the target as what the box should be."""
    present = desired or Desired(mode=BLANK)
    return (
        present.mode == target.mode
        and sorted(present.removed) == sorted(target.removed)
        and {spec.id: spec for spec in present.added} == {spec.id: spec for spec in target.added}
    )
