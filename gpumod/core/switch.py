"""Switches as they are asked for and as they are recorded, and what the box is like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gpumod.core.cards import CardsReading
from gpumod.core.lease import Lease
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId, SwitchId
from gpumod.core.plan import CardBudget, StepKind
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.spec import OnFailure

RECOVERY: Final = "recovery"
RESTART: Final = "restart policy"
DAEMON_NAMES: Final = frozenset({RECOVERY, RESTART})
"""Who asks for a switch when the daemon itself does."""
ON_DEMAND: Final = "on demand"
"""Who asks for a switch when requests for a model do; the name of their key follows."""
IDLE: Final = "idle"
"""Who asks for a switch when nobody asks for a service any more."""


def is_automatic(by: str) -> bool:
    """Whether a policy or the daemon's recovery asked for a switch, which gives way to anybody's own wish."""
    return by in {IDLE, RECOVERY} or by.partition(":")[0] == ON_DEMAND


@dataclass(frozen=True, slots=True)
class SwitchRequest:
    """A wish to change the box: go to a mode, or change single services.

    Exactly one of `mode`, `start`, `stop`, `restart`, `exactly` is given. `preset` starts the service from
    another preset than its id names. `exactly` is a mode with what is added to it and removed from it, as
    a job asks for it. `deadline` bounds the whole switch in seconds.
    """

    mode: ModeId | None = None
    start: ServiceId | None = None
    stop: ServiceId | None = None
    restart: ServiceId | None = None
    preset: PresetId | None = None
    force: bool = False
    on_failure: OnFailure | None = None
    deadline: float | None = None
    by: str = ""
    exactly: Desired | None = None

    def same_wish(self, other: SwitchRequest) -> bool:
        """Whether both ask for the same end."""
        return (self.mode, self.start, self.stop, self.restart, self.preset, self.exactly) == (
            other.mode,
            other.start,
            other.stop,
            other.restart,
            other.preset,
            other.exactly,
        )

    @property
    def phrase(self) -> str:
        """The wish in words."""
        if self.mode is not None:
            return f"switch to {self.mode}"
        if self.exactly is not None:
            return f"switch to {self.exactly.phrase}"
        for verb, service in (("start", self.start), ("stop", self.stop), ("restart", self.restart)):
            if service is not None:
                return f"{verb} {service}"
        return "nothing"


class SwitchState(StrEnum):
    """How a switch stands or ended."""

    RUNNING = "running"
    UNDOING = "undoing"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in this switch."""
        return self not in {SwitchState.RUNNING, SwitchState.UNDOING}


class Phase(StrEnum):
    """Which part of a switch a step belongs to."""

    DO = "do"
    UNDO = "undo"
    BLANK = "blank"
    """The last resort: stop everything of ours."""


class StepState(StrEnum):
    """How a step stands."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step as the journal has it. `detail` says what was seen, with numbers."""

    phase: Phase
    index: int
    kind: StepKind
    phrase: str
    service: ServiceId | None = None
    generation: int | None = None
    cards: tuple[CardId, ...] = ()
    state: StepState = StepState.PLANNED
    started: float | None = None
    ended: float | None = None
    detail: str = ""

    @property
    def seconds(self) -> float | None:
        """How long the step took, None while it runs."""
        return None if self.started is None or self.ended is None else self.ended - self.started


@dataclass(frozen=True, slots=True)
class SwitchRecord:
    """One switch as the journal has it.

    `left` says in which state the box was left: the mode's id, and whether it is restored, blank,
    as it is, or unknown.
    """

    id: SwitchId
    request: SwitchRequest
    source: ModeId
    target: ModeId
    state: SwitchState
    started: float
    ended: float | None = None
    reason: str = ""
    left: str = ""
    steps: tuple[StepRecord, ...] = ()
    joined: int = 0
    """How many identical requests joined this one."""


class BoxState(StrEnum):
    """What the box is like, compared with what it should be."""

    SETTLED = "settled"
    SWITCHING = "switching"
    MODIFIED = "modified"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BoxStatus:
    """Everything that `gpumodctl status` shows."""

    state: BoxState
    reason: str
    mode: ModeId
    at: float
    version: str
    reading: CardsReading
    services: tuple[ServiceRecord, ...] = ()
    budgets: tuple[CardBudget, ...] = ()
    leases: tuple[Lease, ...] = ()
    switch: SwitchRecord | None = None
    overcommitted: tuple[CardId, ...] = ()
    notes: tuple[str, ...] = ()
    """What the daemon did at its start, errors of cards since then, and files that are disabled."""
