"""Resolves a mode file against the presets it names."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpumod.config.mode_file import ModeFile
from gpumod.config.overlay import laid_over
from gpumod.config.preset_checks import judge
from gpumod.config.problems import (
    Finding,
    close_to,
    dotted,
    findings_of,
    known_keys,
    located,
    validate_or_prune,
)
from gpumod.config.request_file import RouteFile
from gpumod.config.sources import Source
from gpumod.config.specs import service_spec
from gpumod.core.names import ModeId
from gpumod.core.spec import Mode, OnFailure, Problem, RequestShape, ServiceSpec

RESERVED: Final = {"blank": "is built in", "last": "stands for the last mode in `boot:`"}
"""Ids that no mode of a user may have."""

_KEYS: Final = known_keys(ModeFile)


@dataclass(frozen=True, slots=True)
class Presets:
    """What modes may name: values of sound presets, and why others cannot be used."""

    values: Mapping[str, dict[str, Any]]
    unusable: Mapping[str, str]
    others: Collection[str] = ()
    """Ids to suggest besides: shipped presets that nobody names yet."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else the services of a mode have to agree with."""

    env: Mapping[str, str]
    daemon_ports: Collection[int] = ()


def named_presets(value: Mapping[str, Any]) -> Iterator[str]:
    """The presets that a mode file names, sound or not."""
    services = value.get("services")
    for entry in services if isinstance(services, list) else ():
        preset = entry.get("preset", entry.get("id")) if isinstance(entry, dict) else entry
        if isinstance(preset, str):
            yield preset


def resolve_mode(source: Source, presets: Presets, around: Surroundings) -> tuple[Mode | None, list[Problem]]:
    """The mode that a file describes, None when anything is wrong, and all that is wrong."""
    file, error, wrong = validate_or_prune(ModeFile.model_validate, source.value)
    found = findings_of(error, source.value, keys=_KEYS) if error else []
    if source.id in RESERVED:
        found.append(Finding(("id",), f"no mode may have the id {source.id}: it {RESERVED[source.id]}"))
    broken = {one.location[1] for one in found if one.location[0] == "services" and len(one.location) > 1}
    resolver = _Resolver(presets, around)
    services = source.value.get("services")
    for index, entry in enumerate(services if isinstance(services, list) else ()):
        if index in broken:
            resolver.expect(entry, index)
        else:
            found += resolver.service(index, {"id": entry} if isinstance(entry, str) else entry)
    found += _together(resolver.services, resolver.ids, around)
    found += _routes(source.value.get("routes"), resolver)
    found += _changes(file) if file is not None else ()
    problems = [located(source.document, one) for one in found]
    if file is None or wrong or not source.sound or not all(problem.warning for problem in problems):
        return None, problems
    mode = Mode(
        id=ModeId(file.id),
        description=file.description or "",
        services=tuple(resolver.services.values()),
        routes=tuple((name, resolver.services[index].id) for name, index in _targets(file, resolver)),
        on_failure=file.on_failure or OnFailure.RESTORE,
        shapes=tuple((name, route.shape()) for name, route in (file.routes or {}).items() if _shapes(route)),
        on_demand=file.on_demand,
        idle=file.idle.idle() if file.idle else None,
    )
    return mode, problems


class _Resolver:
    """Services of one mode, by their place in the file."""

    def __init__(self, presets: Presets, around: Surroundings) -> None:
        self._presets = presets
        self._around = around
        self.services: dict[int, ServiceSpec] = {}
        self.ids: dict[str, int] = {}

    def expect(self, entry: object, index: int) -> None:
        """Note the id of an entry that is broken, so that others may refer to it."""
        service_id = entry.get("id") if isinstance(entry, dict) else entry
        if isinstance(service_id, str):
            self.ids.setdefault(service_id, index)

    def service(self, index: int, entry: Mapping[str, Any]) -> Iterator[Finding]:
        """Resolve one entry whose structure is right."""
        at, service_id = ("services", index), str(entry["id"])
        preset_id = str(entry.get("preset") or service_id)
        if service_id in self.ids:
            yield Finding(
                (*at, "id"), f"the mode has a service {service_id} already", "give it an id of its own"
            )
        self.ids.setdefault(service_id, index)
        if reason := self._presets.unusable.get(preset_id):
            yield Finding((*at, "preset"), f"preset {preset_id} is disabled: {reason}")
            return
        if preset_id not in self._presets.values:
            known = {*self._presets.values, *self._presets.others}
            yield Finding((*at, "preset"), f"there is no preset {preset_id}", close_to(preset_id, known))
            return
        override = {key: value for key, value in entry.items() if key != "preset"}
        judgement = judge(
            laid_over(self._presets.values[preset_id], override), has_home=bool(self._around.env.get("HOME"))
        )
        for finding in judgement.findings:
            overridden = finding.location[0] in override
            if overridden:
                yield Finding((*at, *finding.location), finding.detail, finding.suggestion, finding.warning)
            elif not finding.warning:
                detail = f"with preset {preset_id}, {dotted(finding.location)}: {finding.detail}"
                yield Finding(at, detail, finding.suggestion)
        if judgement.preset is not None:
            self.services[index] = service_spec(judgement.preset, preset_id=preset_id, env=self._around.env)


def _together(
    services: Mapping[int, ServiceSpec], ids: Mapping[str, int], around: Surroundings
) -> Iterator[Finding]:
    """What services of one mode must agree on."""
    ports: dict[int, str] = {}
    names: dict[str, str] = {}
    own = {name for spec in services.values() for name in (str(spec.id), spec.name)}
    for index, spec in services.items():
        at = ("services", index)
        for name in dict.fromkeys((str(spec.id), spec.name, *spec.aliases)):
            # Several services may share an alias, and requests for it; an id or a served name is one's own.
            if names.setdefault(name, spec.id) != spec.id and name in own:
                yield Finding(
                    at,
                    f"services {names[name]} and {spec.id} both answer to the name {name}",
                    "override `aliases:` or `served_name:` of one of them",
                )
        if spec.port is not None:
            if spec.port in around.daemon_ports:
                yield Finding(at, f"port {spec.port} is the daemon's own")
            if spec.port in ports:
                yield Finding(at, f"services {ports[spec.port]} and {spec.id} both have port {spec.port}")
            ports.setdefault(spec.port, spec.id)
        for other in spec.depends_on:
            if other not in ids:
                yield Finding(
                    at, f"{spec.id} depends on {other}, which is not in this mode", close_to(other, ids)
                )
    yield from _cycles(services)


def _cycles(services: Mapping[int, ServiceSpec]) -> Iterator[Finding]:
    graph = {str(spec.id): [str(other) for other in spec.depends_on] for spec in services.values()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # graphlib lists each node before those that depend on it.
        circle = list(reversed(error.args[1]))
        index = next(index for index, spec in services.items() if spec.id == circle[0])
        yield Finding(
            ("services", index), f"services depend on each other in a circle: {' -> '.join(circle)}"
        )


def _routes(routes: object, resolver: _Resolver) -> Iterator[Finding]:
    """Routes as the file has them: they can be judged even where something else is wrong."""
    owners = {
        name: spec.id for spec in resolver.services.values() for name in (spec.id, spec.name, *spec.aliases)
    }
    for name, route in routes.items() if isinstance(routes, dict) else ():
        target = route.get("service") if isinstance(route, dict) else route
        if not isinstance(target, str):
            continue
        if target not in resolver.ids:
            suggestion = close_to(target, resolver.ids)
            yield Finding(("routes", name), f"{target} is not a service of this mode", suggestion)
        elif owners.get(name, target) != target:
            yield Finding(("routes", name), f"{name} is a name of service {owners[name]} already")


def _targets(file: ModeFile, resolver: _Resolver) -> Iterable[tuple[str, int]]:
    return ((name, resolver.ids[route.service]) for name, route in (file.routes or {}).items())


def _shapes(route: RouteFile) -> bool:
    """Whether a route changes requests."""
    return route.shape() != RequestShape()


def _changes(file: ModeFile) -> Iterator[Finding]:
    for name, route in (file.routes or {}).items():
        if wrong := route.forbidden():
            yield Finding(("routes", name), wrong)
