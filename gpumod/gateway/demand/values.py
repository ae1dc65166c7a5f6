"""What the brain of the queue is told, what it answers, and the words of both. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gpumod.core.names import ModeId, ServiceId, SwitchId
from gpumod.core.spec import OnDemand
from gpumod.core.switch import SwitchRequest

TicketId = int
"""Names one waiting request; never used again."""


@dataclass(frozen=True, slots=True, order=True)
class Goal:
    """What a switch that requests ask for leads to: a mode, or a service of the present mode that idled."""

    mode: ModeId | None = None
    service: ServiceId | None = None

    def request(self, by: str) -> SwitchRequest:
        """The goal as a wish that `Switching` understands."""
        return SwitchRequest(mode=self.mode, start=self.service, by=by)

    @property
    def phrase(self) -> str:
        """The goal in words."""
        return self.request("").phrase


@dataclass(frozen=True, slots=True)
class Option:
    """A mode that serves a model, and what the request may do about it."""

    mode: ModeId
    policy: OnDemand
    services: frozenset[ServiceId] = frozenset()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for.

    Args:
        model: as the client named it.
        key: whose request it is.
        priority: larger ones wait less.
        options: every mode that serves the model, in any order.
        starts: whether the request may start what idleness has stopped; one that only looks may not.
    """

    model: str
    key: str = ""
    priority: int = 0
    options: tuple[Option, ...] = ()
    starts: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands at this moment.

    Args:
        service: admits requests for it now.
        expected: whether a service of it will admit by itself: it starts, or will be started again.
        present: whether a service of it still holds memory, draining for one.
        revive: a service of the present mode that was stopped because nobody asked for it.
        down: why a service of the present mode is down and stays so, unless a running switch changes that;
            empty where none is.
    """

    service: ServiceId | None = None
    expected: bool = False
    present: bool = False
    revive: ServiceId | None = None
    down: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A switch under way, and the models that it brings."""

    id: SwitchId
    phrase: str = ""
    brings: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sight:
    """What the box is like, as far as waiting requests are concerned.

    Args:
        standing: of each model that is waited for.
        stops: for each mode, which running services a switch to it would stop.
        busy: services with requests inside, and the highest priority among these.
    """

    mode: ModeId
    switch: Running | None = None
    standing: Mapping[str, Standing] = field(default_factory=dict)
    stops: Mapping[ModeId, frozenset[ServiceId]] = field(default_factory=dict)
    busy: Mapping[ServiceId, int] = field(default_factory=dict)


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A request came that no service takes now."""

    ticket: TicketId
    wish: Wish


@dataclass(frozen=True, slots=True)
class Gone:
    """Its client went away."""

    ticket: TicketId


@dataclass(frozen=True, slots=True)
class Seen:
    """The box was looked at."""

    sight: Sight


@dataclass(frozen=True, slots=True)
class Began:
    """A switch that was asked for has begun, or was joined."""

    attempt: int
    switch: SwitchId


@dataclass(frozen=True, slots=True)
class Declined:
    """A switch that was asked for cannot be.

    Args:
        reasons: one sentence each.
        passing: whether all of them pass by themselves: leases.
    """

    attempt: int
    reasons: tuple[str, ...]
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """A switch that was asked for has to wait for another one."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Broke:
    """Asking for a switch failed."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A switch has ended, whoever asked for it. `reason` is why it failed, empty where it did not.

    Args:
        mode: where it was to lead; None for a change of single services.
        service: which service it was to start.
    """

    switch: SwitchId
    reason: str = ""
    mode: ModeId | None = None
    service: ServiceId | None = None

    @property
    def goal(self) -> Goal:
        """Where it was to lead."""
        return Goal(self.mode, self.service)


@dataclass(frozen=True, slots=True)
class Explained:
    """What a switch to a goal would do, for those that are to decide about it."""

    goal: Goal
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The daemon ends: nobody waits any longer."""


Event = Asked | Gone | Seen | Began | Declined | Busy | Broke | Ended | Explained | Tick | Closed


# --- instructions -------------------------------------------------------------------------------


class Why(StrEnum):
    """Why a waiting request is answered without an engine."""

    FULL = "queue_full"
    LATE = "waited_too_long"
    NEVER = "model_not_available"
    ASK = "switch_needed"
    REFUSED = "switch_refused"
    SWITCH_FAILED = "switch_failed"
    DOWN = "service_down"
    CLOSING = "shutting_down"
    LOST = "engine_lost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer without an engine.

    Args:
        goal: what would serve the request, where something would.
        passing: whether asking again later may help.
        after: seconds until it makes sense to ask again, where that is known.
    """

    why: Why
    detail: str
    goal: Goal | None = None
    passing: bool = True
    after: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pass:
    """Let a request in."""

    ticket: TicketId
    service: ServiceId


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer a request."""

    ticket: TicketId
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Begin:
    """Ask for a switch; the result carries the attempt's number."""

    attempt: int
    goal: Goal
    key: str


@dataclass(frozen=True, slots=True)
class Explain:
    """Find out what a switch would do."""

    goal: Goal


Instruction = Pass | Fail | Begin | Explain
