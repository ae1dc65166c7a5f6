"""What the files offer for a model: modes, policies, and what a switch there takes away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gpumod.core.names import ModeId, PresetId, ServiceId
from gpumod.core.spec import Catalog, Mode, OnDemand, ServiceSpec
from gpumod.core.switch import SwitchRecord
from gpumod.gateway.demand.values import Option
from gpumod.gateway.naming import answering, offers


def options(
    catalog: Catalog,
    model: str,
    limit: OnDemand,
    default: OnDemand,
    *,
    idled: ModeId | None = None,
    decided: bool = False,
) -> tuple[Option, ...]:
    """The modes that serve a model, each with what a request may do about it.

    Args:
        catalog: the files.
        model: as the client named it.
        limit: the most that the request's key permits.
        default: what holds for modes that do not say.
        idled: the mode that an idle policy has left for blank: requests bring it back, unless its file or
            the key says otherwise.
        decided: whether the client has decided for the switch that it would be asked about.
    """
    found = dict.fromkeys(offer.mode for offer in offers(catalog, model))

    def policy(mode: Mode) -> OnDemand:
        own = mode.on_demand or (OnDemand.AUTO if mode.id == idled else default)
        least = min(limit, own, key=lambda one: one.rank)
        return OnDemand.AUTO if decided and least is OnDemand.ASK else least

    return tuple(
        Option(mode.id, policy(mode), frozenset(spec.id for spec in mode.services))
        for mode in catalog.modes
        if mode.id in found
    )


def stops(catalog: Catalog, running: Mapping[ServiceId, ServiceSpec]) -> dict[ModeId, frozenset[ServiceId]]:
    """For each mode the running services that a switch to it stops, or starts anew."""
    return {mode.id: _stopped(mode, running) for mode in catalog.modes}


def _stopped(mode: Mode, running: Mapping[ServiceId, ServiceSpec]) -> frozenset[ServiceId]:
    wanted = {spec.id: spec for spec in mode.services}
    return frozenset(
        service
        for service, spec in running.items()
        if service not in wanted or wanted[service].preset != spec.preset
    )


def brought(catalog: Catalog, record: SwitchRecord, models: Iterable[str]) -> frozenset[str]:
    """Which of the models a running switch brings."""
    request = record.request
    started = request.start or request.restart
    if started is not None:
        spec = _named(catalog, record.target, started, request.preset)
        arriving = Mode(record.target, services=(spec,) if spec else ())
    else:
        mode = catalog.mode(record.target) or Mode(record.target)
        added = request.exactly.added if request.exactly else ()
        removed = request.exactly.removed if request.exactly else ()
        kept = tuple(spec for spec in mode.services if spec.id not in removed)
        arriving = Mode(mode.id, services=(*kept, *added), routes=mode.routes)
    if request.stop is not None:
        return frozenset()
    return frozenset(model for model in models if answering(arriving, model))


def _named(
    catalog: Catalog, mode_id: ModeId, service: ServiceId, preset: PresetId | None
) -> ServiceSpec | None:
    """A service as it is about to start: from the mode, else from its preset."""
    mode = catalog.mode(mode_id)
    member = next((spec for spec in mode.services if spec.id == service), None) if mode else None
    if member is not None and preset is None:
        return member
    fresh = catalog.preset(preset or PresetId(service))
    return replace(fresh, id=service) if fresh is not None else None
