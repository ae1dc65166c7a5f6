"""What requests carry, and answers that are not a core value alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gpumod.core.cards import CardsReading
from gpumod.core.names import NAME_PATTERN
from gpumod.core.plan import CardBudget, Plan, Refusal
from gpumod.core.preflight import ServicePreflight
from gpumod.core.spec import OnFailure

NAME = NAME_PATTERN
TEXT = r"^[^\x00-\x1f\x7f]*$"
"""One line of text."""
DAY = 86400.0

Name = Annotated[str, Field(pattern=NAME)]
Wait = Annotated[
    bool | Annotated[float, Field(ge=0, le=DAY)],
    Field(description="Answer once the switch has ended: `true`, or at most so many seconds."),
]
Force = Annotated[bool, Field(description="Go past leases; `blank` also pre-empts a running switch.")]
Seconds = Annotated[float, Field(gt=0, le=30 * DAY)]


Position = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""An event's number, or an offset into a log."""


class Body(BaseModel):
    """The JSON object of a request. Unknown members are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Nothing(Body):
    """An empty object."""


class ActBody(Body):
    """How to stop or restart a service."""

    force: Force = False
    wait: Wait = False


class StartBody(ActBody):
    """How to start a service."""

    preset: Annotated[
        Name | None, Field(description="Start it from this preset instead of the one of its own name.")
    ] = None


class SwitchBody(Body):
    """A wish to switch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"mode": "code", "wait": True}]})

    mode: Name
    dry_run: Annotated[bool, Field(description="Only answer what would be done.")] = False
    wait: Wait = False
    force: Force = False
    # JSON has no enumerations, so the member's strictness would refuse every value.
    on_failure: Annotated[
        OnFailure | None,
        Field(strict=False, description="What a failed switch leaves; by default what the mode says."),
    ] = None
    deadline: Annotated[
        float | None, Field(gt=0, le=DAY, description="Seconds after which the switch is undone.")
    ] = None


class PreflightBody(Body):
    """What to check."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "code", "fit_context": True}]})

    name: Annotated[Name, Field(description="A preset or a mode.")]
    fit_context: Annotated[
        bool, Field(description="Also find the largest context with which each service fits now.")
    ] = False
    oracle: Annotated[
        bool, Field(description="Also ask the engines' own estimators, where they have one.")
    ] = False


class LeaseBody(Body):
    """A claim."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"holder": "nightly-eval", "seconds": 3600, "purpose": "evaluation"}]}
    )

    holder: Annotated[str, Field(min_length=1, max_length=128, pattern=TEXT)]
    seconds: Seconds
    services: Annotated[
        list[Name] | None, Field(max_length=64, description="By default those of the present mode.")
    ] = None
    purpose: Annotated[str, Field(max_length=500, pattern=TEXT)] = ""


class RenewBody(Body):
    """The new end of a lease, from now."""

    seconds: Seconds


# --- answers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CardsAnswer(CardsReading):
    """The latest look at the hardware, and the budgets on it."""

    budgets: tuple[CardBudget, ...] = ()
    overcommitted: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanAnswer:
    """What a switch would do."""

    plan: Plan


@dataclass(frozen=True)
class PreflightAnswer:
    """Whether it would start: with the plan, or with every reason why not; and what each service takes."""

    fits: bool
    plan: Plan | None = None
    reasons: tuple[Refusal, ...] | None = None
    services: tuple[ServicePreflight, ...] = ()


@dataclass(frozen=True)
class LogAnswer:
    """The last lines of a log."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class VersionAnswer:
    """Which daemon this is: its version, that of this API, and the folder of the files that it reads."""

    version: str
    api: str
    config_dir: str = ""


@dataclass(frozen=True)
class ReadyAnswer:
    """Whether the daemon is alive or ready; the reason if not."""

    status: str
    reason: str = ""
