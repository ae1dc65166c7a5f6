"""What the numbers of `switch` are. Most are measured on each way: `@there` and `@back`."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula
from gpumod.core.plan import StepKind

_SPAN: Final = "Times are the journal's; where several such steps ran at once, that time counts once."


def _of(kind: StepKind, doing: str) -> Formula:
    definition = f"Seconds in which at least one step `{kind.value}` of the switch ran: {doing}. {_SPAN}"
    return Formula(f"switch.{kind.value}.v1", "s", definition, larger_is_better=False)


TOTAL: Final = Formula(
    "switch.total.v1", "s",
    "Seconds from the beginning of the switch to its end in the journal, all steps and what is between them.",
    larger_is_better=False,
)  # fmt: skip
AWAY: Final = Formula(
    "switch.unavailable.v1", "s",
    "Seconds, over both ways, in which the target could not be asked: from the first step `close` of the "
    "switch there to its end, and the whole switch back. The time between the switches is not in it.",
    larger_is_better=False,
)  # fmt: skip
MEMORY: Final = Formula(
    "switch.memory.v1", "bytes",
    "What the target held on all cards together, as the driver lists it: before the switch there, and after "
    "the switch back.",
)  # fmt: skip
STEPS: Final = {
    StepKind.CLOSE: _of(StepKind.CLOSE, "the admission of a service is closed"),
    StepKind.DRAIN: _of(StepKind.DRAIN, "it is waited for requests in flight"),
    StepKind.STOP: _of(StepKind.STOP, "the engine ends, by the stages of its stop"),
    StepKind.RELEASE: _of(StepKind.RELEASE, "it is waited until the memory is proven free"),
    StepKind.START: _of(StepKind.START, "facts are read again and the engine's process is started"),
    StepKind.READY: _of(StepKind.READY, "the engine loads, answers, is warmed up and measured"),
    StepKind.OPEN: _of(StepKind.OPEN, "the admission of a service is opened"),
    StepKind.COMMIT: _of(StepKind.COMMIT, "what the box is now is kept"),
}

FORMULAS: Final = (TOTAL, *STEPS.values(), AWAY, MEMORY)
