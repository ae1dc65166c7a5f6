"""Numbers of one switch, from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpumod.bench.formulas import AT
from gpumod.bench.suites.switch.formulas import AWAY, STEPS, TOTAL
from gpumod.core.plan import StepKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpumod.core.switch import StepRecord, SwitchRecord


def of_switch(switch: SwitchRecord, way: str) -> dict[str, float]:
    """Seconds by formula id at this way; a kind of step that the switch did not have has none."""
    found = {f"{TOTAL.id}{AT}{way}": _total(switch)}
    for kind, formula in STEPS.items():
        steps = [step for step in switch.steps if step.kind is kind]
        if steps:
            found[f"{formula.id}{AT}{way}"] = seconds_of(steps)
    return found


def unavailable(there: SwitchRecord, back: SwitchRecord) -> dict[str, float]:
    """For how long the target could not be asked."""
    closed = [
        step.started for step in there.steps if step.kind is StepKind.CLOSE and step.started is not None
    ]
    if not closed or there.ended is None:
        return {}
    return {AWAY.id: there.ended - min(closed) + _total(back)}


def seconds_of(steps: Sequence[StepRecord]) -> float:
    """Seconds in which at least one of these steps ran."""
    spans = sorted(
        (one.started, one.ended) for one in steps if one.started is not None and one.ended is not None
    )
    total, until = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def account(switch: SwitchRecord) -> dict[str, object]:
    """The switch for a reader of the report: every step with what was seen in it, as JSON values."""
    return {
        "switch": switch.id,
        "from": switch.source,
        "to": switch.target,
        "steps": [
            {
                "kind": step.kind.value,
                "phase": step.phase.value,
                "service": step.service,
                "seconds": step.seconds,
                "detail": step.detail,
            }
            for step in switch.steps
        ],
    }


def _total(switch: SwitchRecord) -> float:
    return 0.0 if switch.ended is None else switch.ended - switch.started
