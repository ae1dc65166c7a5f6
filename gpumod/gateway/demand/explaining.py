"""What a client is told of a switch that it is to decide about. Pure."""

from __future__ import annotations

from typing import Final

from gpumod.core.plan import Plan, Refused, StepKind
from gpumod.core.units import format_duration, format_size
from gpumod.gateway.demand.values import Goal

HEADER: Final = b"x-gpumod-on-demand"
"""With the value `auto`, a request decides for the switch that it would be asked about."""


def facts_of(goal: Goal, plan: Plan | Refused, seconds: float) -> dict[str, object]:
    """The plan with its numbers (bytes, seconds), and how to go on; or why it cannot be."""
    if isinstance(plan, Refused):
        reasons = [reason.detail for reason in plan.reasons]
        said = f"{goal.phrase}, which is refused now: {'; '.join(reasons)}"
        return {"mode": goal.mode, "sentence": said, "reasons": reasons}
    orders = [step.order for step in plan.steps if step.kind is StepKind.START and step.order is not None]
    needed = sum(sum(order.footprint.cards) for order in orders)
    stops = [*plan.stops, *plan.moves]
    return {
        "mode": goal.mode,
        "sentence": (
            f"{goal.phrase}, which stops {', '.join(stops) or 'nothing'}, starts {', '.join(plan.starts)} "
            f"({format_size(needed)}) and takes about {format_duration(seconds)}; "
            f"send the request again with `{HEADER.decode()}: auto`, or POST /gpumod/v1/switches"
        ),
        "stops": stops,
        "starts": list(plan.starts),
        "bytes": needed,
        "expected_seconds": round(seconds, 1),
        "go_on": {
            "header": {HEADER.decode(): "auto"},
            "request": {"method": "POST", "path": "/gpumod/v1/switches", "body": {"mode": goal.mode}},
        },
    }
