"""Plans of the fake box: one card for each service, the emptiest first, and no search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gpumod.core.errors import NotFoundError
from gpumod.core.lease import Lease
from gpumod.core.names import CardId, ModeId, PresetId, ServiceId
from gpumod.core.plan import (
    Holder,
    Plan,
    Refusal,
    RefusalCode,
    Refused,
    StartOrder,
    Step,
    StepKind,
    Target,
)
from gpumod.core.service import ServiceRecord
from gpumod.core.spec import Catalog, OnFailure
from gpumod.core.switch import SwitchRequest
from gpumod.core.units import format_size
from gpumod.testing.switching_catalog import budgets, footprint_of, foreign_on, port_of, size_of


@dataclass(frozen=True, slots=True)
class Present:
    """What the box is like when a plan is made."""

    catalog: Catalog
    mode: ModeId
    running: tuple[ServiceRecord, ...]
    leases: tuple[Lease, ...]


def plan(request: SwitchRequest, present: Present) -> Plan | Refused:
    """What a switch would do.

    Raises:
        NotFoundError: no such mode, preset or service.
    """
    target = _target(request, present)
    wanted = {spec.id: spec for spec in target.services}
    running = {record.id for record in present.running}
    stops = tuple(sorted((running - wanted.keys()) | (running & set(target.restart))))
    starts = tuple(sorted((wanted.keys() - running) | (wanted.keys() & set(target.restart))))
    reasons = _leased(stops, target, present.leases)
    kept = tuple(record for record in present.running if record.id not in stops)
    placed: dict[ServiceId, CardId] = {}
    free = {budget.card: budget.available for budget in budgets(kept)}
    for service in starts:
        need = size_of(wanted[service])
        best = max(free, key=lambda card: free[card])
        if need > free[best]:
            reasons += (_does_not_fit(service, best, need, free[best], kept),)
        free[best] -= need
        placed[service] = best
    if reasons:
        return Refused(target, reasons)
    orders = {
        service: StartOrder(wanted[service], (card,), port_of(service), footprint_of(wanted[service]))
        for service, card in placed.items()
    }
    return Plan(
        target=target,
        steps=_steps(stops, orders, commit=target.mode != present.mode),
        keeps=tuple(sorted(record.id for record in kept)),
        stops=stops,
        starts=starts,
        before=budgets(present.running),
        after=tuple(
            replace(
                budget,
                available=free[budget.card],
                charged=budget.charged + budget.available - free[budget.card],
            )
            for budget in budgets(kept)
        ),
        warnings=("footprints are made up: this box is a fake",),
    )


def _target(request: SwitchRequest, present: Present) -> Target:
    if request.mode is not None:
        mode = present.catalog.mode(request.mode)
        if mode is None:
            raise NotFoundError(f"no mode {request.mode}", {"mode": request.mode})
        return Target(mode.id, mode.services, request.on_failure or mode.on_failure, force=request.force)
    specs = {record.id: record.spec for record in present.running}
    restart: tuple[ServiceId, ...] = ()
    if request.start is not None:
        preset = present.catalog.preset(request.preset or PresetId(request.start))
        if preset is None:
            raise NotFoundError(f"no preset {request.preset or request.start}")
        specs.setdefault(request.start, replace(preset, id=request.start))
    for service in (request.stop, request.restart):
        if service is not None and service not in specs:
            raise NotFoundError(f"no service {service} runs", {"service": service})
    if request.stop is not None:
        del specs[request.stop]
    if request.restart is not None:
        restart = (request.restart,)
    on_failure = request.on_failure or OnFailure.RESTORE
    return Target(present.mode, tuple(specs.values()), on_failure, force=request.force, restart=restart)


def _leased(stops: tuple[ServiceId, ...], target: Target, leases: tuple[Lease, ...]) -> tuple[Refusal, ...]:
    if target.force:
        return ()
    return tuple(
        Refusal(
            RefusalCode.LEASED,
            f"{lease.holder} holds {service} for another {lease.until - time.time():.0f} s: wait, "
            "or use --force",
            service=service,
        )
        for lease in leases
        for service in lease.services
        if service in stops
    )


def _does_not_fit(
    service: ServiceId, card: CardId, need: int, have: int, kept: tuple[ServiceRecord, ...]
) -> Refusal:
    holders = tuple(
        Holder(record.reserved(card), record.id) for record in kept if record.reserved(card)
    ) + tuple(
        Holder(process.used, None, process.pid, process.command, process.user) for process in foreign_on(card)
    )
    return Refusal(
        RefusalCode.DOES_NOT_FIT,
        f"{service} needs {format_size(need)}, and {card} has {format_size(have)} left",
        service,
        card,
        need,
        have,
        holders,
        would_fit="a smaller context or quantisation",
    )


def _steps(
    stops: tuple[ServiceId, ...], orders: Mapping[ServiceId, StartOrder], *, commit: bool
) -> tuple[Step, ...]:
    wanted: list[Step] = []
    for service in stops:
        wanted += [Step(0, kind, service=service) for kind in (StepKind.CLOSE, StepKind.DRAIN, StepKind.STOP)]
    for service, order in orders.items():
        cards, need = order.cards, order.footprint.cards
        wanted += [
            Step(0, StepKind.RELEASE, service=service, cards=cards, gone=stops, need=need),
            Step(0, StepKind.START, service=service, cards=cards, order=order),
            Step(0, StepKind.READY, service=service, cards=cards),
            Step(0, StepKind.OPEN, service=service),
        ]
    if wanted or commit:
        wanted.append(Step(0, StepKind.COMMIT))
    return tuple(
        replace(step, index=index, after=(index - 1,) if index else ()) for index, step in enumerate(wanted)
    )
