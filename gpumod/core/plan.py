"""Plans, their steps, and refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gpumod.core.footprint import Footprint
from gpumod.core.names import CardId, ModeId, ServiceId
from gpumod.core.service import Launch
from gpumod.core.spec import OnFailure, ServiceSpec


class StepKind(StrEnum):
    """What a step does. Each kind is a crash point that the tests kill the daemon at."""

    CLOSE = "close"
    """Close the service's admission."""
    DRAIN = "drain"
    """Wait until the engine has no request in flight, or the deadline."""
    STOP = "stop"
    """Walk the engine's stop ladder until no process of the service is left."""
    RELEASE = "release"
    """Wait until the memory is proven free."""
    START = "start"
    """Re-read facts, reserve, and start the service's processes."""
    READY = "ready"
    """Wait until this service answers; warm it up; measure it."""
    OPEN = "open"
    """Open the service's admission."""
    COMMIT = "commit"
    """The target is what the box is now."""


@dataclass(frozen=True, slots=True)
class StartOrder:
    """How to start a service: where, with what, charged how much.

    `launch` is set when a former service is put back exactly as it ran; otherwise the engine
    composes it at the start.
    """

    spec: ServiceSpec
    cards: tuple[CardId, ...]
    port: int
    footprint: Footprint
    launch: Launch | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One act of a plan. It may begin when every step in `after` is done.

    For RELEASE, `gone` names the services whose processes must have left `cards`, and `need` is
    what must be free there, in the order of `cards`, for the service about to start.
    """

    index: int
    kind: StepKind
    after: tuple[int, ...] = ()
    service: ServiceId | None = None
    cards: tuple[CardId, ...] = ()
    gone: tuple[ServiceId, ...] = ()
    need: tuple[int, ...] = ()
    order: StartOrder | None = None

    @property
    def phrase(self) -> str:
        """The step in words."""
        name = self.service or ""
        match self.kind:
            case StepKind.CLOSE:
                return f"close admission to {name}"
            case StepKind.DRAIN:
                return f"drain {name}"
            case StepKind.STOP:
                return f"stop {name}"
            case StepKind.RELEASE:
                return f"prove that memory is free on {', '.join(self.cards)}"
            case StepKind.START:
                return f"start {name}"
            case StepKind.READY:
                return f"wait until {name} is ready"
            case StepKind.OPEN:
                return f"open admission to {name}"
            case StepKind.COMMIT:
                return "commit"


@dataclass(frozen=True, slots=True)
class CardBudget:
    """A card's budget before and after a plan, in bytes.

    `foreign` is what processes that are not ours hold; `available` what is left after all charges.
    """

    card: CardId
    total: int
    headroom: int
    foreign: int
    charged: int
    available: int


@dataclass(frozen=True, slots=True)
class Target:
    """What a plan should reach: a mode's services with overrides, fully resolved."""

    mode: ModeId
    services: tuple[ServiceSpec, ...]
    on_failure: OnFailure = OnFailure.RESTORE
    force: bool = False
    restart: tuple[ServiceId, ...] = ()
    """Services to stop and start even if nothing about them changed."""
    stay: tuple[ServiceId, ...] = ()
    """Services that are not moved to make room for others: rather is the target refused."""
    added: tuple[ServiceSpec, ...] = ()
    removed: tuple[ServiceId, ...] = ()
    """The overrides on the mode that `services` already contain."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, step by step, and what it was decided from.

    `backing` says how to put back what the plan stops: undoing needs no new decision. `charges` has what
    services that stay are charged from now on, where their files declare another size.
    """

    target: Target
    steps: tuple[Step, ...]
    keeps: tuple[ServiceId, ...] = ()
    stops: tuple[ServiceId, ...] = ()
    starts: tuple[ServiceId, ...] = ()
    moves: tuple[ServiceId, ...] = ()
    before: tuple[CardBudget, ...] = ()
    after: tuple[CardBudget, ...] = ()
    backing: tuple[StartOrder, ...] = ()
    charges: tuple[tuple[ServiceId, Footprint], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the box already is what the target asks for."""
        return not self.steps


class RefusalCode(StrEnum):
    """Why a plan cannot be."""

    DOES_NOT_FIT = "does_not_fit"
    HOST_MEMORY = "host_memory"
    SEARCH_LIMIT = "search_limit"
    PORT_TAKEN = "port_taken"
    FILE_MISSING = "file_missing"
    BINARY_MISSING = "binary_missing"
    UNKNOWN_PRESET = "unknown_preset"
    UNKNOWN_MODE = "unknown_mode"
    DISABLED = "disabled"
    CARD_LOST = "card_lost"
    CARD_UNKNOWN = "card_unknown"
    CARD_UNMANAGED = "card_unmanaged"
    DRIVER = "driver"
    """The driver does not answer for any card; only blank can be planned."""
    NO_SUCH_CARD = "no_such_card"
    NO_CARDS = "no_cards"
    LEASED = "leased"
    CONTRADICTION = "contradiction"
    DECLARED_TOO_SMALL = "declared_too_small"
    DECLARED_SHAPE = "declared_shape"
    NOT_BUILT = "not_built"
    DEPENDENCY = "dependency"
    UNKILLABLE = "unkillable"
    LANDMINE = "landmine"
    """The launch is known not to work: on none of the cards that it could have."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds memory of a card: a service of ours or a foreign process."""

    size: int | None
    service: ServiceId | None = None
    pid: int | None = None
    command: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why not, with its numbers. `detail` is one sentence that says what to do."""

    code: RefusalCode
    detail: str
    service: ServiceId | None = None
    card: CardId | None = None
    need: int | None = None
    have: int | None = None
    holders: tuple[Holder, ...] = ()
    would_fit: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A target that cannot be reached, with every reason."""

    target: Target
    reasons: tuple[Refusal, ...] = field(default=())
