"""What waiting requests are told that no engine answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpumod.core.names import ModeId
from gpumod.core.units import format_duration
from gpumod.gateway.demand.tickets import State
from gpumod.gateway.demand.values import Goal, Verdict, Why

_WAITED_FOR = {
    State.EXPECTING: "its service to be ready",
    State.SEEING: "the end of a switch",
    State.RIDING: "the switch that brings it",
    State.ASKING: "the plan of a switch",
}


def full(limit: int, goal: Goal | None, *, of_key: bool) -> Verdict:
    """The queue takes no more."""
    whose = " with this key" if of_key else ""
    detail = f"{limit} requests{whose} wait already, as many as may: ask again later"
    return Verdict(Why.FULL, detail, goal, facts={"waiting": limit, "limit": limit})


def late(model: str, waited: float, state: State, goal: Goal | None) -> Verdict:
    """A request waited as long as it may."""
    waited_for = _WAITED_FOR.get(state, f"its turn to {goal.phrase}" if goal else "the box to be looked at")
    detail = f"{model} did not come within {format_duration(waited)}: the request waited for {waited_for}"
    return Verdict(Why.LATE, detail, goal, facts={"waited": waited})


def never(model: str, modes: Sequence[ModeId], *, looks: bool = False) -> Verdict:
    """No request may bring the model, or this one may not because it only looks at an engine."""
    if not modes:
        detail = f"{model} does not run, and no mode has it: start it with `gpumodctl service start`"
        return Verdict(Why.NEVER, detail, passing=False, facts={"modes": []})
    named = ", ".join(modes)
    whose = "a request that only looks (GET) does" if looks else "requests do"
    detail = (
        f"{model} is served in mode {named}, and {whose} not switch there: `gpumodctl switch {modes[0]}` does"
    )
    return Verdict(Why.NEVER, detail, Goal(modes[0]), passing=False, facts={"modes": list(modes)})


def ask(model: str, goal: Goal, facts: Mapping[str, object]) -> Verdict:
    """The client is to decide."""
    said = facts.get("sentence") or goal.phrase
    detail = f"{model} needs another mode: {said}"
    return Verdict(Why.ASK, detail, goal, passing=False, facts=facts)


def refused(model: str, goal: Goal, reasons: Sequence[str], *, passing: bool) -> Verdict:
    """The planner does not allow the switch."""
    detail = f"{model} needs to {goal.phrase}, which is refused: {'; '.join(reasons)}"
    return Verdict(Why.REFUSED, detail, goal, passing=passing, facts={"reasons": list(reasons)})


def switch_failed(model: str, reason: str, after: float | None = None) -> Verdict:
    """The switch that would have brought the model has failed."""
    return Verdict(Why.SWITCH_FAILED, f"the switch that brings {model} has failed: {reason}", after=after)


def down(model: str, reason: str) -> Verdict:
    """The service that answers to the model is down, and nothing starts it by itself."""
    return Verdict(Why.DOWN, f"{model} is in the present mode, but down: {reason}")


def closing() -> Verdict:
    """The daemon ends."""
    return Verdict(Why.CLOSING, "the daemon is ending: ask again once it is back", after=2.0)


def lost(model: str, times: int) -> Verdict:
    """The engine went away, again."""
    detail = f"the engine of {model} went away before it answered, {times} times: ask again"
    return Verdict(Why.LOST, detail)
