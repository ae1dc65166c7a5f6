"""Every request of the REST API as a value: what to send, and what type the answer has.

Both clients only carry these out, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from gpumod.client.naming import name, segment
from gpumod.core.cards import CardsReading
from gpumod.core.errors import GpumodError
from gpumod.core.events import Event
from gpumod.core.lease import Lease
from gpumod.core.names import CardId
from gpumod.core.plan import CardBudget, Plan, Refusal
from gpumod.core.preflight import ServicePreflight
from gpumod.core.service import ServiceRecord
from gpumod.core.spec import Catalog, Mode, OnFailure, Problem, ServiceSpec
from gpumod.core.switch import BoxStatus, SwitchRecord

T = TypeVar("T")
Verb = Literal["start", "stop", "restart"]

BASE: Final = "/gpumod/v1"
ANSWER: Final = 10.0
"""Seconds that the daemon may take to answer what it answers from memory."""
PLANNING: Final = 60.0
"""Seconds for what reads cards and files first."""


@dataclass(frozen=True)
class Cards(CardsReading):
    """A look at the hardware, and the budgets on it."""

    budgets: tuple[CardBudget, ...] = ()
    overcommitted: tuple[CardId, ...] = ()


@dataclass(frozen=True, slots=True)
class Preflight:
    """Whether a preset or mode would start now: the plan, or every reason why not.

    `services` has each service's memory, part by part, in either case.
    """

    fits: bool
    plan: Plan | None = None
    reasons: tuple[Refusal, ...] | None = None
    services: tuple[ServicePreflight, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """What a dry run answers."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class LogAnswer:
    """The last lines of a log."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a followed log; `offset` is where in the file it ends, to go on from there."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `seconds` bounds the wait for its answer; None waits as long as it takes."""

    method: str
    path: str
    answer: type[T]
    params: Mapping[str, str | int | float | bool | list[str]] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    seconds: float | None = ANSWER
    headers: Mapping[str, str] = field(default_factory=dict)

    def read(self, value: object) -> T:
        """The answer's JSON as its type.

        Raises:
            GpumodError: it is of another shape, as from another version of gpumod.
        """
        return decode(self.answer, value)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def decode(kind: type[T], value: object) -> T:
    """JSON as a core value.

    Raises:
        GpumodError: it is of another shape, as from another version of gpumod.
    """
    try:
        decoded: T = _adapter(cast("Hashable", kind)).validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise GpumodError(
            f"the daemon's answer is not understood ({where}: {first['msg']}): are gpumodctl and gpumodd "
            "of the same version?"
        ) from error
    return decoded


def encode(value: object) -> Any:
    """A core value as JSON, the same as the API writes it."""
    return _adapter(cast("Hashable", type(value))).dump_python(value, mode="json")


def refusals(error: GpumodError) -> tuple[Refusal, ...]:
    """The reasons that a RefusedError carries; empty for other errors."""
    return decode(tuple[Refusal, ...], error.facts.get("reasons", ()))


# --- requests -------------------------------------------------------------------------------


def status() -> Call[BoxStatus]:
    """What the box is like."""
    return Call("GET", "status", BoxStatus)


def cards() -> Call[Cards]:
    """A look at the cards."""
    return Call("GET", "cards", Cards)


def services() -> Call[tuple[ServiceRecord, ...]]:
    """All services."""
    return Call("GET", "services", tuple[ServiceRecord, ...])


def service(id_: str) -> Call[ServiceRecord]:
    """One service."""
    return Call("GET", f"services/{segment(id_, 'service')}", ServiceRecord)


def act(verb: Verb, id_: str, *, preset: str | None, force: bool, wait: bool) -> Call[SwitchRecord]:
    """Start, stop or restart one service."""
    preset = None if preset is None else name(preset, "preset")
    body = given(preset=preset, force=force, wait=wait)
    return Call(
        "POST",
        f"services/{segment(id_, 'service')}/{verb}",
        SwitchRecord,
        body=body,
        seconds=None if wait else PLANNING,
    )


def logs(id_: str, lines: int) -> Call[LogAnswer]:
    """The last lines of a service's log."""
    return Call("GET", f"services/{segment(id_, 'service')}/logs", LogAnswer, {"lines": lines})


def follow_logs(id_: str) -> Call[LogLine]:
    """A service's log from now on, as a stream."""
    return Call("GET", f"services/{segment(id_, 'service')}/logs", LogLine, {"follow": True}, seconds=None)


def modes() -> Call[tuple[Mode, ...]]:
    """All modes."""
    return Call("GET", "modes", tuple[Mode, ...])


def mode(id_: str) -> Call[Mode]:
    """One mode."""
    return Call("GET", f"modes/{segment(id_, 'mode')}", Mode)


def presets() -> Call[tuple[ServiceSpec, ...]]:
    """All presets."""
    return Call("GET", "presets", tuple[ServiceSpec, ...])


def preset(id_: str) -> Call[ServiceSpec]:
    """One preset."""
    return Call("GET", f"presets/{segment(id_, 'preset')}", ServiceSpec)


def switch(
    mode: str,
    *,
    wait: bool,
    force: bool,
    on_failure: OnFailure | str | None,
    deadline: float | None,
    idempotency_key: str | None,
) -> Call[SwitchRecord]:
    """Switch to a mode."""
    body = given(mode=name(mode, "mode"), force=force, wait=wait, on_failure=on_failure, deadline=deadline)
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call(
        "POST", "switches", SwitchRecord, body=body, seconds=None if wait else PLANNING, headers=headers
    )


def plan(mode: str, *, force: bool, on_failure: OnFailure | str | None) -> Call[PlanAnswer]:
    """What a switch would do."""
    body = given(mode=name(mode, "mode"), dry_run=True, force=force, on_failure=on_failure)
    return Call("POST", "switches", PlanAnswer, body=body, seconds=PLANNING)


def switches(limit: int) -> Call[tuple[SwitchRecord, ...]]:
    """The latest switches."""
    return Call("GET", "switches", tuple[SwitchRecord, ...], {"limit": limit})


def switch_record(id_: str, wait: float) -> Call[SwitchRecord]:
    """One switch, after it has ended or `wait` seconds have passed."""
    return Call(
        "GET", f"switches/{segment(id_, 'switch')}", SwitchRecord, {"wait": wait}, seconds=wait + ANSWER
    )


def cancel(id_: str) -> Call[SwitchRecord]:
    """Ask a switch to stop and undo itself."""
    return Call("POST", f"switches/{segment(id_, 'switch')}/cancel", SwitchRecord, body={})


def preflight(target: str, *, fit_context: bool, oracle: bool) -> Call[Preflight]:
    """Whether a preset or mode would start now."""
    body = {"name": name(target, "preset or mode"), "fit_context": fit_context, "oracle": oracle}
    return Call("POST", "preflight", Preflight, body=body, seconds=PLANNING)


def leases() -> Call[tuple[Lease, ...]]:
    """The leases that hold now."""
    return Call("GET", "leases", tuple[Lease, ...])


def take_lease(holder: str, seconds: float, services: Sequence[str] | None, purpose: str) -> Call[Lease]:
    """Claim services."""
    named = None if services is None else [name(one, "service") for one in services]
    body = given(holder=holder, seconds=seconds, services=named, purpose=purpose or None)
    return Call("POST", "leases", Lease, body=body)


def renew_lease(id_: str, seconds: float) -> Call[Lease]:
    """Move the end of a lease."""
    return Call("POST", f"leases/{segment(id_, 'lease')}/renew", Lease, body={"seconds": seconds})


def release_lease(id_: str) -> Call[Lease]:
    """Give a lease back."""
    return Call("DELETE", f"leases/{segment(id_, 'lease')}", Lease)


def events(after: int) -> Call[tuple[Event, ...]]:
    """The events kept after a number."""
    return Call("GET", "events", tuple[Event, ...], {"after": after, "once": True})


def follow_events(after: int | None) -> Call[Event]:
    """Events as a stream."""
    return Call("GET", "events", Event, {} if after is None else {"after": after}, seconds=None)


def problems() -> Call[tuple[Problem, ...]]:
    """What is wrong in the daemon's files."""
    return Call("GET", "config/problems", tuple[Problem, ...])


def reload() -> Call[Catalog]:
    """Read the files again."""
    return Call("POST", "config/reload", Catalog, body={}, seconds=PLANNING)


def schema() -> Call[dict[str, Any]]:
    """The JSON Schema of the files."""
    return Call("GET", "config/schema", dict[str, Any])


def version() -> Call[dict[str, Any]]:
    """Versions of the daemon and the API, and the folder of the daemon's files."""
    return Call("GET", "version", dict[str, Any])


def given(**members: object) -> dict[str, object]:
    """A body without what was not given, so that the daemon's defaults hold."""
    return {key: value for key, value in members.items() if value is not None}
