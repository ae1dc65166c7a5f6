"""From a wish to a target: which services there shall be, fully resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gpumod.core.errors import InvalidRequestError, NotFoundError
from gpumod.core.names import BLANK, ModeId, PresetId, ServiceId
from gpumod.core.near import hint
from gpumod.core.plan import Refusal, RefusalCode, Refused, Target
from gpumod.core.service import Desired, ServiceRecord
from gpumod.core.spec import BLANK_MODE, Catalog, Mode, OnFailure, ServiceSpec
from gpumod.core.states import ServiceState
from gpumod.core.switch import SwitchRequest

_DOWN = frozenset({ServiceState.STOPPED, ServiceState.FAILED})


def resolve_target(
    catalog: Catalog,
    desired: Desired | None,
    request: SwitchRequest,
    running: Sequence[ServiceRecord] | None = None,
) -> Target | Refused:
    """What a request wants the box to be.

    A mode is taken as its file has it: what was added or removed by hand is over, so that a switch to the
    present mode repairs it. Starting, stopping or restarting one service changes that one thing: services
    that run stay as they run, also if their files have changed since, and members that are down stay down.

    Args:
        catalog: the presets and modes in use.
        desired: what the box should be now; None in a new state directory.
        request: the wish.
        running: the records of all services; None stands for "all that is desired runs".

    Raises:
        InvalidRequestError: not exactly one of mode, start, stop and restart.
        NotFoundError: no such mode, preset or service.
    """
    wishes = [one for one in (request.mode, request.start, request.stop, request.restart) if one is not None]
    asked = len(wishes) + (request.exactly is not None)
    if asked != 1 or (request.preset is not None and request.start is None):
        raise InvalidRequestError(
            "ask for exactly one of mode, start, stop and restart; a preset goes with start alone"
        )
    if request.mode is not None:
        return _mode_target(catalog, request.mode, request)
    if request.exactly is not None:
        target = desired_target(catalog, request.exactly)
        if isinstance(target, Refused):
            return target
        return replace(target, on_failure=request.on_failure or target.on_failure, force=request.force)
    present = _Present(catalog, desired or Desired(mode=BLANK), running)
    if request.stop is not None:
        return present.without(request.stop, request)
    if request.restart is not None:
        return present.with_restarted(request.restart, request)
    return present.with_started(ServiceId(wishes[0]), request)


def desired_target(catalog: Catalog, desired: Desired | None) -> Target | Refused:
    """The desired state as a target: its mode as the files have it, with what was changed by hand."""
    desired = desired or Desired(mode=BLANK)
    mode = known_mode(catalog, ModeId(desired.mode))
    if mode is None:
        return _unusable_mode(catalog, ModeId(desired.mode))
    return Target(
        mode=mode.id,
        services=tuple(wanted_services(mode, desired).values()),
        on_failure=mode.on_failure,
        added=desired.added,
        removed=desired.removed,
    )


def known_mode(catalog: Catalog, mode_id: ModeId) -> Mode | None:
    """The mode of that id; blank always is one."""
    return catalog.mode(mode_id) or (BLANK_MODE if mode_id == BLANK else None)


def wanted_services(mode: Mode | None, desired: Desired) -> dict[ServiceId, ServiceSpec]:
    """A mode's services with what was added and removed by hand, by id."""
    members = {spec.id: spec for spec in mode.services} if mode else {}
    wanted = members | {spec.id: spec for spec in desired.added}
    return {name: spec for name, spec in wanted.items() if name not in desired.removed}


class _Present:
    """The present state, to be changed in one service."""

    def __init__(self, catalog: Catalog, desired: Desired, running: Sequence[ServiceRecord] | None) -> None:
        self._catalog = catalog
        self._desired = desired
        self._mode = known_mode(catalog, ModeId(desired.mode))
        self._members = {spec.id: spec for spec in self._mode.services} if self._mode else {}
        self._wanted = wanted_services(self._mode, desired)
        self._added = {spec.id: spec for spec in desired.added}
        records = running or ()
        self._records = {record.id: record for record in records}
        self._up = (
            dict(self._wanted)
            if running is None
            else {record.id: record.spec for record in records if self._is_up(record)}
        )

    def without(self, service: ServiceId, request: SwitchRequest) -> Target:
        """The present state with a service stopped."""
        known = {*self._up, *self._records, *self._wanted, *self._members}
        if service not in known and self._catalog.preset(PresetId(service)) is None:
            raise _not_found("service", service, known)
        services = {name: spec for name, spec in self._up.items() if name != service}
        member = service in self._members or (self._mode is None and service not in self._added)
        return self._target(services, service, request, removed={service} if member else set())

    def with_started(self, service: ServiceId, request: SwitchRequest) -> Target | Refused:
        """The present state with a service running; one that runs is left as it is."""
        if request.preset is not None:
            spec = self._from_preset(request.preset, service)
        else:
            spec = self._up.get(service) or self._fresh(service)
        if isinstance(spec, Refusal):
            return Refused(self._target(self._up, service, request), (spec,))
        return self._with(spec, request)

    def with_restarted(self, service: ServiceId, request: SwitchRequest) -> Target | Refused:
        """The present state with a service stopped and started, from its files as they are now."""
        known = {*self._up, *self._records, *self._wanted, *self._members}
        if service not in known:
            raise _not_found("running service", service, known)
        spec = self._fresh(service)
        if isinstance(spec, Refusal):
            return Refused(self._target(self._up, service, request), (spec,))
        return self._with(spec, request, restart=(service,) if service in self._up else ())

    # --- which spec -------------------------------------------------------------------------------

    def _fresh(self, service: ServiceId) -> ServiceSpec | Refusal:
        """A service as the files have it now; as it was recorded where they do not have it any more."""
        stored = self._added.get(service)
        if stored is None and service in self._members:
            return self._members[service]
        record = self._records.get(service)
        stored = stored or (record.spec if record else None)
        preset = self._catalog.preset(stored.preset if stored else PresetId(service))
        if preset is not None:
            return replace(preset, id=service)
        return stored or self._no_preset(PresetId(service))

    def _from_preset(self, preset_id: PresetId, service: ServiceId) -> ServiceSpec | Refusal:
        preset = self._catalog.preset(preset_id)
        return self._no_preset(preset_id) if preset is None else replace(preset, id=service)

    def _no_preset(self, preset_id: PresetId) -> Refusal:
        reason = dict(self._catalog.disabled).get(preset_id)
        if reason is None:
            raise _not_found("preset", preset_id, (spec.preset for spec in self._catalog.presets))
        return _disabled("preset", preset_id, reason, ServiceId(preset_id))

    # --- which target -----------------------------------------------------------------------------

    def _with(self, spec: ServiceSpec, request: SwitchRequest, restart: tuple[ServiceId, ...] = ()) -> Target:
        services = self._up | {spec.id: spec}
        waiting = [spec]
        while waiting:
            for name in waiting.pop().depends_on:
                if name not in services and name in self._wanted:
                    services[name] = self._wanted[name]
                    waiting.append(services[name])
        return self._target(services, spec.id, request, restart=restart)

    def _target(
        self,
        services: Mapping[ServiceId, ServiceSpec],
        changed: ServiceId,
        request: SwitchRequest,
        *,
        removed: set[ServiceId] | None = None,
        restart: tuple[ServiceId, ...] = (),
    ) -> Target:
        """A target and the overrides on the mode that lead to it."""
        others = {name: spec for name, spec in self._added.items() if name != changed}
        by_hand = {
            name: spec for name, spec in services.items() if name not in others and self._is_override(spec)
        }
        added = others | by_hand
        return Target(
            mode=ModeId(self._desired.mode),
            services=tuple(spec for _, spec in sorted(services.items())),
            on_failure=request.on_failure or OnFailure.RESTORE,
            force=request.force,
            restart=restart,
            added=tuple(spec for _, spec in sorted(added.items())),
            removed=tuple(sorted((set(self._desired.removed) - {changed}) | (removed or set()))),
        )

    def _is_override(self, spec: ServiceSpec) -> bool:
        if self._mode is None:
            # Which services were members cannot be told any more; what was not added by hand was one.
            return spec.id not in self._records
        member = self._members.get(spec.id)
        return member is None or member.preset != spec.preset

    def _is_up(self, record: ServiceRecord) -> bool:
        if record.state is ServiceState.STOPPING:
            return record.id in self._wanted
        return record.state not in _DOWN


def _mode_target(catalog: Catalog, mode_id: ModeId, request: SwitchRequest) -> Target | Refused:
    mode = known_mode(catalog, mode_id)
    if mode is not None:
        return Target(
            mode=mode.id,
            services=mode.services,
            on_failure=request.on_failure or mode.on_failure,
            force=request.force,
        )
    if mode_id not in dict(catalog.disabled):
        raise _not_found("mode", mode_id, {BLANK, *(mode.id for mode in catalog.modes)})
    return _unusable_mode(catalog, mode_id)


def _unusable_mode(catalog: Catalog, mode_id: ModeId) -> Refused:
    reason = dict(catalog.disabled).get(mode_id)
    if reason is not None:
        return Refused(Target(mode_id, ()), (_disabled("mode", mode_id, reason),))
    detail = f"mode {mode_id} is not in the files any more; switch to another mode or put its file back"
    return Refused(Target(mode_id, ()), (Refusal(RefusalCode.UNKNOWN_MODE, detail),))


def _disabled(kind: str, name: str, reason: str, service: ServiceId | None = None) -> Refusal:
    detail = f"{kind} {name} is disabled: {reason}; `gpumodctl config check` shows every mistake"
    return Refusal(RefusalCode.DISABLED, detail, service)


def _not_found(kind: str, name: str, known: Iterable[str]) -> NotFoundError:
    there = sorted(set(known))
    return NotFoundError(f"no {kind} is called {name}; {hint(name, there)}", {"name": name, "known": there})
