"""Whose turn it is: which of the wanted goals a switch leads to next, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpumod.core.names import ServiceId
from gpumod.gateway.demand.rules import Rules
from gpumod.gateway.demand.tickets import Ticket
from gpumod.gateway.demand.values import Goal, Sight


@dataclass(frozen=True, slots=True)
class Turn:
    """The goal whose turn it is; or when to look again, where nobody's is."""

    goal: Goal | None = None
    key: str = ""
    again: float | None = None


def next_turn(
    lines: Iterable[tuple[Goal, Ticket, Ticket]], sight: Sight, settled: float, rules: Rules, now: float
) -> Turn:
    """Which goal is next.

    What takes nothing away comes at once. Else the present mode stays for its residency, and as long as
    requests of at least the same priority are inside what would be stopped, unless somebody has aged: the
    one who waits longest then comes before everybody younger, which bounds the wait of each.

    Args:
        lines: for each goal who waits longest for it, and who comes first by priority.
        sight: the box.
        settled: since when the present mode is what it is.
        rules: residency and ageing.
        now: monotonic seconds.
    """
    ordered = sorted(lines, key=lambda line: _place(line, rules, now))
    for goal, oldest, _ in ordered:
        if not stopped_by(goal, sight):
            return Turn(goal, oldest.wish.key)
    if not ordered:
        return Turn()
    if now < settled + rules.residency:
        return Turn(again=settled + rules.residency)
    for goal, oldest, first in ordered:
        if _aged(oldest, rules, now):
            return Turn(goal, oldest.wish.key)
        inside = [sight.busy[service] for service in stopped_by(goal, sight) if service in sight.busy]
        if not inside or first.wish.priority > max(inside):
            return Turn(goal, first.wish.key)
    return Turn(again=min(oldest.arrived for _, oldest, _ in ordered) + rules.ageing)


def stopped_by(goal: Goal, sight: Sight) -> frozenset[ServiceId]:
    """Running services that going there stops."""
    return sight.stops.get(goal.mode, frozenset()) if goal.mode is not None else frozenset()


def _aged(ticket: Ticket, rules: Rules, now: float) -> bool:
    return now >= ticket.arrived + rules.ageing


def _place(
    line: tuple[Goal, Ticket, Ticket], rules: Rules, now: float
) -> tuple[bool, float, float, str, str]:
    """Aged ones first, by age; then by priority, then by age. The ids make it the same every time."""
    goal, oldest, first = line
    ids = (goal.mode or "", goal.service or "")
    if _aged(oldest, rules, now):
        return (False, oldest.arrived, 0.0, *ids)
    return (True, -first.wish.priority, first.arrived, *ids)
